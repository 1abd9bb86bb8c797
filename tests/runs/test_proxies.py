"""Proxies in a run: found wherever they are, asked for by what a port speaks, and led on to mail servers."""

from dataclasses import replace

import pytest
from tests.ports import free_port
from tests.runs.checking import (
    LOOPBACK,
    asyncio_run,
    check,
    check_world,
    hurried,
    saying_first,
    world,
)

from relaywatch.demo.population import BEHIND_PROXY
from relaywatch.model.evidence import Fact, Weakness
from relaywatch.model.places import Endpoint, Service, Transport
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.runs.port_plan import proxy_ports, relay_ports, untold_doors
from relaywatch.runs.proxies import SpeakingDoor
from relaywatch.runs.settings import LocalSink
from relaywatch.script.probe import load_probes

PROXIES = tuple(name for name, probe in load_probes().items() if probe.weakness is Weakness.OPEN_PROXY)
EVERY = ()
"""All probes, as a user has them who names none."""


def looking(**more):
    """Settings of a run whose canaries listen at one port without privilege alone."""
    sink = LocalSink(address=LOOPBACK, port=free_port(), canary_ports=())
    return hurried(**{"sink": sink, "probes": EVERY} | more)


def only_line(told, weakness=Weakness.OPEN_PROXY):
    (line,) = (line for line in told.lines if line.weakness is weakness)
    return line


@pytest.mark.parametrize(
    ("name", "probe", "advisory"),
    [
        ("proxy", "http-connect", "RW-2001"),
        ("connect-only", "http-connect", "RW-2001"),
        ("forward-only", "http-forward", "RW-2005"),
        ("odd-line-ends", "http-connect", "RW-2002"),
        ("misrouting", "http-misrouting", "RW-2006"),
        ("socks", "socks5-connect", "RW-2008"),
        ("telnet-gateway", "telnet-gateway", "RW-2012"),
    ],
)
def test_an_open_proxy_is_found_at_a_port_that_tells_nothing(name, probe, advisory):
    line = only_line(check_world(looking(), name))

    (finding,) = line.findings
    assert (Verdict.OPEN, probe, advisory) == (line.verdict, finding.probe, finding.advisory)
    assert Proof.CANARY_REACHED is finding.proof
    assert finding.exit_address in {"127.0.0.1", "127.0.0.9"}
    assert finding.destination_ports


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("proxy-for-users", Verdict.CLOSED, Reason.AUTH_REQUIRED),
        ("socks-for-users", Verdict.CLOSED, Reason.AUTH_REQUIRED),
        ("web-server", Verdict.CLOSED, None),
        ("welcomes-all", Verdict.CLOSED, None),
        ("captive-portal", Verdict.CLOSED, None),
        ("tunnel-to-nowhere", Verdict.ACCEPTING, Reason.DECEPTIVE),
        ("socks-to-nowhere", Verdict.ACCEPTING, Reason.DECEPTIVE),
    ],
)
def test_what_is_none_is_never_called_open(name, verdict, reason):
    line = only_line(check_world(looking(), name))

    assert verdict is line.verdict
    assert reason is None or reason in line.reasons


class TestWhichWeakness:
    """A port that was named is asked for what it speaks, and has one line."""

    def test_a_mail_server_at_any_port_is_asked_for_mail_alone(self):
        told = check_world(looking(), "closed")

        assert [(Weakness.OPEN_RELAY, Verdict.CLOSED)] == [
            (line.weakness, line.verdict) for line in told.lines
        ]

    def test_a_proxy_is_not_asked_for_mail(self):
        told = check_world(looking(chain_ports=()), "web-server")

        assert [Weakness.OPEN_PROXY] == [line.weakness for line in told.lines]

    def test_a_dead_port_has_one_line(self):
        told = check_world(looking(), "dead-port")

        assert [Verdict.ABSENT] == [line.verdict for line in told.lines]

    def test_a_probe_that_was_named_is_tried_whatever_the_port_is(self):
        told = check_world(looking(probes=("smtp-relay",)), "web-server")

        assert [Weakness.OPEN_RELAY] == [line.weakness for line in told.lines]

    def test_a_proxy_probe_that_was_named_is_tried_at_a_named_port_if_none_fits(self):
        told = check_world(looking(probes=("socks4", "socks5-connect")), "web-server")

        assert ["recognition", "socks5-connect", "socks4"] == [attempt.probe for attempt in told.attempts]
        assert Verdict.OPEN is not only_line(told).verdict

    def test_where_one_fits_the_others_that_were_named_are_not_tried(self):
        told = check_world(looking(probes=("socks4", "http-connect")), "web-server")

        assert ["recognition", "http-connect"] == [attempt.probe for attempt in told.attempts]

    def test_a_port_of_the_plan_gives_no_reason_to_try_a_probe_that_does_not_fit(self):
        door = SpeakingDoor(endpoint=Endpoint(LOOPBACK, 8080), services=frozenset({Service.HTTP}))

        assert () == door.transports_for(load_probes()["sni-proxy"])
        assert (Transport.TLS,) == door.transport_asked_for(load_probes()["sni-proxy"])
        assert (Transport.PLAIN,) == door.transport_asked_for(load_probes()["socks4"])
        assert () == door.transport_asked_for(load_probes()["http3-connect"])

    def test_what_speaks_neither_is_absent(self):
        async def scene():
            async with await saying_first(b"MYSQL 8.0\n") as server:
                return await check([f"127.0.0.1:{server.port}"], looking())

        told = asyncio_run(scene())

        assert [(Weakness.OPEN_PROXY, Verdict.ABSENT)] == [
            (line.weakness, line.verdict) for line in told.lines
        ]


class TestChains:
    """Through an open proxy to a mail server that trusts it, and nobody else."""

    def chained(self, *names, **more):
        async def scene():
            settings = looking(probes=("http-connect", "smtp-relay"), **more)
            async with world(settings, BEHIND_PROXY, *names) as places:
                chained = replace(settings, chain_ports=(places[BEHIND_PROXY].port,))
                return await check([f"127.0.0.1:{places[name].port}" for name in names], chained)

        return asyncio_run(scene())

    def test_mail_arrives_through_the_proxy_and_the_server_behind_it(self):
        told = self.chained("proxy")

        line = only_line(told, Weakness.OPEN_RELAY)
        (finding,) = line.findings
        assert (Verdict.OPEN, "RW-2020", "http-connect") == (line.verdict, finding.advisory, finding.via)
        assert Proof.DELIVERED is finding.proof
        assert finding.through.endswith(" to 127.0.0.1")
        assert Verdict.OPEN is only_line(told).verdict
        for report in told.reports:
            assert {report.line.weakness} == {attempt.weakness for attempt in report.attempts}
            tokens = {seen.token for attempt in report.attempts for seen in attempt.observations}
            assert report.arrivals
            assert {arrival.token for arrival in report.arrivals} <= tokens

    def test_both_legs_are_in_the_transcript(self):
        told = self.chained("proxy")

        (chained,) = (attempt for attempt in told.attempts if attempt.door.via)
        said = b"".join(entry.data for entry in chained.transcript)
        assert (
            said.index(b"CONNECT 127.0.0.1")
            < said.index(b"200 Connection established")
            < said.index(b"RCPT TO")
        )

    def test_a_closed_proxy_leads_nowhere(self):
        told = self.chained("proxy-for-users")

        assert [Verdict.CLOSED] == [line.verdict for line in told.lines]
        assert not any(attempt.door.via for attempt in told.attempts)

    def test_our_own_sink_behind_the_proxy_is_no_relay(self):
        settings = looking(probes=("http-connect", "smtp-relay"))
        told = check_world(replace(settings, chain_ports=(settings.sink.port,)), "proxy")

        assert [Weakness.OPEN_PROXY] == [line.weakness for line in told.lines]
        assert not any(attempt.door.via for attempt in told.attempts)

    def test_no_message_goes_without_leave(self):
        told = self.chained("proxy", no_mail=True)

        line = only_line(told, Weakness.OPEN_RELAY)
        assert (Verdict.ACCEPTING, (Reason.NOT_SENT,)) == (line.verdict, line.reasons)
        assert 0 == told.messages()


class TestPortPlan:
    def test_every_usual_tcp_door_of_a_proxy_probe_is_in_the_plan(self):
        planned = {port.number for port in proxy_ports()}
        missing = {
            (name, port)
            for name, probe in load_probes().items()
            if probe.weakness is Weakness.OPEN_PROXY
            for port, transport in probe.default_doors
            if transport in {"plain", "tls"} and port not in planned
            if (port, transport) not in untold_doors(probe, None, is_wanted=False)
        }

        assert set() == missing

    def test_ports_are_planned_once_and_each_has_its_source(self):
        numbers = [port.number for port in proxy_ports()]

        assert len(numbers) == len(set(numbers))
        assert all(port.usual and port.source for port in proxy_ports())
        assert set(numbers).isdisjoint(relay_ports(load_probes()["smtp-relay"]))

    def test_doors_that_can_not_be_recognised_are_tried_at_named_ports_only_if_meant(self):
        probe = load_probes()["turn-udp"]
        usual = untold_doors(probe, None, is_wanted=False)

        assert usual
        assert () == untold_doors(probe, [12345], is_wanted=False)
        assert {12345} == {port for port, _ in untold_doors(probe, [12345], is_wanted=True)}
        assert set(untold_doors(probe, [3478], is_wanted=False)) <= set(usual)


def test_what_a_port_speaks_is_told_as_an_event():
    told = check_world(looking(), "socks")

    assert "socks5" in {seen.detail for seen in told.observed(Fact.SPEAKS)}


def test_our_own_sink_is_none_of_the_targets_ports():
    settings = looking()

    async def scene():
        return await check(["127.0.0.1"], replace(settings, ports=(settings.sink.port,)))

    told = asyncio_run(scene())

    assert {Verdict.ABSENT} == {line.verdict for line in told.lines}
    assert not told.attempts
