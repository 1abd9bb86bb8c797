"""The doors of one target, and what one teaches for the next."""

import json
from datetime import date
from ipaddress import ip_address, ip_network

import pytest
from tests.runs.checking import LOOPBACK, PATIENCE, asyncio_run, check, check_world, hurried, saying, world

from relaywatch.demo.population import policy
from relaywatch.demo.server import Listener, MailServer
from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.pace import Rates
from relaywatch.model.evidence import AttemptStatus, Fact, Observation
from relaywatch.model.places import Endpoint, Transport
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs.allowance import Allowance
from relaywatch.runs.hosts import Host
from relaywatch.runs.lines import decode_line, encode_line
from relaywatch.runs.lore import Lore
from relaywatch.runs.pacing import Pacing
from relaywatch.runs.sinks import OpenedSink
from relaywatch.runs.workshop import Workshop, missing_of
from relaywatch.script.brief import Identity, SinkNames
from relaywatch.sink.certificate import make_certificate
from relaywatch.targets.parse import parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import LOOPBACK as LOOPBACK_PERMISSION


def check_policy(made, settings=None, **more):
    """Check a server with this policy."""
    given = settings or hurried(**more)

    async def scene():
        async with MailServer(made, Endpoint(LOOPBACK, given.sink.port)) as server:
            return await check([f"127.0.0.1:{server.port}"], given)

    return asyncio_run(scene())


class TestTransports:
    def test_a_closed_port_that_speaks_tls_from_the_start_is_closed(self):
        told = check_policy(policy("ash", implicit_tls=True), patience=PATIENCE)

        assert [(Transport.PLAIN, Verdict.INCONCLUSIVE), (Transport.TLS, Verdict.CLOSED)] == [
            (door.transport, door.verdict) for door in told.line.doors
        ]
        assert (Verdict.CLOSED, ()) == (told.line.verdict, told.line.reasons)

    def test_a_guess_that_fails_leaves_no_door(self):
        told = check_world(hurried(), "silent")

        assert [Transport.PLAIN, Transport.TLS] == [attempt.door.transport for attempt in told.attempts]
        assert [Transport.PLAIN] == [door.transport for door in told.line.doors]
        assert (Verdict.INCONCLUSIVE, (Reason.TIMEOUT,)) == (told.line.verdict, told.line.reasons)

    def test_a_tls_door_that_spoke_before_it_went_wrong_is_one(self):
        """What it said must not get lost."""
        context = make_certificate(["127.0.0.1"]).server_context()

        async def hello_and_rubbish(reader, writer):
            writer.write(b"220 mail.example ESMTP\r\n")
            await reader.readline()
            writer.write(b"250-mail.example\r\n250 PIPELINING\r\n")
            while await reader.readline():
                writer.write(b"rubbish\r\n")

        async def scene():
            async with Listener(hello_and_rubbish, hosts=("127.0.0.1",), tls=context) as listener:
                return await check([f"127.0.0.1:{listener.port}"], hurried())

        told = asyncio_run(scene())

        assert [Transport.PLAIN, Transport.TLS] == [door.transport for door in told.line.doors]
        assert Reason.PROTOCOL_ERROR in told.line.doors[1].reasons
        assert ["PIPELINING"] == [seen.detail for seen in told.observed(Fact.OFFERS)]

    def test_starttls_is_tried_where_it_is_offered(self):
        told = check_policy(policy("ash", offers_starttls=True))

        first, second = told.line.doors
        assert (Transport.PLAIN, Transport.STARTTLS) == (first.transport, second.transport)
        assert (Verdict.CLOSED, Verdict.CLOSED) == (first.verdict, second.verdict)

    def test_everything_is_asked_once_and_at_further_doors_what_is_telling(self):
        told = check_policy(policy("ash", offers_starttls=True))

        assert 0 < told.line.doors[1].planned < told.line.doors[0].planned

    def test_exhaustive_asks_everything_everywhere_and_does_not_stop_at_a_proof(self):
        settings = hurried(exhaustive=True, wait=1, messages=3)
        told = check_policy(
            policy("ash", offers_starttls=True, trusted_networks=(ip_network("127.0.0.0/8"),)), settings
        )

        first, second = told.line.doors
        assert (Verdict.OPEN, 2) == (told.line.verdict, told.line.attempts)
        assert first.asked == first.planned > 1
        assert second.planned >= first.planned


class TestPorts:
    def test_ports_that_the_user_names_are_tried_instead_of_the_usual_ones(self):
        settings = hurried()

        async def scene():
            async with world(settings, "closed", "dead-port") as places:
                ports = tuple(place.port for place in places.places.values())
                return await check(["127.0.0.1"], hurried(ports=ports)), ports

        told, ports = asyncio_run(scene())

        assert sorted(ports) == [door.port for door in told.line.doors]
        assert Verdict.CLOSED is told.line.verdict

    def test_a_port_in_the_target_comes_before_them(self):
        told = check_world(hurried(ports=(9,)), "closed")

        assert 9 not in {door.port for door in told.line.doors}

    def test_the_usual_ones_are_the_probe_s(self):
        told = asyncio_run(check(["127.0.0.77"], hurried()))

        ports = {door.port: door.transport for door in told.line.doors if door.verdict is Verdict.ABSENT}
        assert {25, 465, 587, 2525} >= set(ports)
        assert Transport.TLS is ports.get(465, Transport.TLS)


class TestLearning:
    def test_domains_that_the_user_knows_are_asked_about(self):
        told = check_world(hurried(local_domains=("hosted.example",)), "closed")

        assert b"@hosted.example>" in told.said()

    def test_what_one_door_says_of_itself_is_used_at_the_next(self):
        told = check_policy(policy("ash", offers_starttls=True))

        last = told.attempts[-1]
        assert Transport.STARTTLS is last.door.transport
        assert any(b"mail.ash.example" in entry.data for entry in last.transcript if entry.direction == "C")

    def test_the_software_is_told_with_its_version_apart(self):
        told = check_world(hurried(), "exim-like")

        assert "exim" == told.line.software.name
        assert told.line == decode_line(encode_line(told.line))


class TestUntrustedWords:
    def test_octets_that_are_no_utf_8_end_as_valid_json(self):
        async def scene():
            async with await saying(b"250 ok \xff\xfe\x1b[2J\x00 \xed\xa0\x80\r\n") as listener:
                return await check([f"127.0.0.1:{listener.port}"], hurried(no_mail=True))

        line = asyncio_run(scene()).line
        octets = encode_line(line)

        assert Verdict.ACCEPTING is line.verdict
        assert line == decode_line(octets)
        assert "\\xff\\xfe" in json.loads(octets.decode("utf-8", "strict"))["findings"][0]["reply"]
        assert b"\x1b" not in octets

    def test_a_server_that_says_none_of_it_right_is_a_protocol_error(self):
        async def scene():
            async with await saying(b"\xff\xff\r\n") as listener:
                return await check([f"127.0.0.1:{listener.port}"], hurried())

        told = asyncio_run(scene())

        assert AttemptStatus.PROTOCOL_ERROR is told.attempts[0].status
        assert Reason.PROTOCOL_ERROR in told.line.reasons


class TestPermission:
    """Of a permission that isn't loopback's; nothing is sent here."""

    def workshop(self, tell=lambda _event: None, **settings):
        given = hurried(**settings)
        return Workshop(
            settings=given,
            engine=None,
            board=ArrivalBoard(),
            resolver=None,
            pacing=Pacing(given.rates),
            sinks=None,
            tell=tell,
            probes=(),
            allowance=Allowance(3),
        )

    def runs(self, *permissions, **settings):
        """A target's run under each of the permissions."""
        workshop = self.workshop(**settings)
        sink = OpenedSink(names=SinkNames(domain="sink.example"), key=b"k", is_proved=True, detail="")
        return [workshop.target_run(HOST, permission, Lore(), sink) for permission in permissions]

    def test_an_address_that_says_we_ask_too_much_is_asked_more_slowly(self):
        rates = Rates(overall=1e5, per_address=10, per_network=1e5, burst=1, overall_burst=1e5)
        before, after = self.runs(permission(), permission(), rates=rates)
        patient = [round(before.admit(ADDRESS), 1) for _ in range(2)]

        after.observed(Observation(fact=Fact.RATE_LIMITED))

        assert [0.0, 0.1] == patient
        assert [0.2, 0.4] == [round(after.admit(ADDRESS), 1) for _ in range(2)]

    def test_what_the_dns_could_have_told_is_done_without(self, caplog):
        """There isn't even a resolver."""
        assert Lore() == asyncio_run(self.workshop()._lore(HOST))
        assert "looking up 192.0.2.7 went wrong" in caplog.text

    def test_an_interrupted_run_looks_nothing_up(self, caplog):
        workshop = self.workshop()
        workshop.interruption.set()

        assert Lore() == asyncio_run(workshop._lore(HOST))
        assert "" == caplog.text

    def test_its_leave_and_its_owner_go_with_it(self):
        first, second = self.runs(permission(local_mailboxes=True), permission(local_reverse_paths=True))

        assert (True, False) == (first.leave.local_mailboxes, first.leave.local_reverse_paths)
        assert (False, True) == (second.leave.local_mailboxes, second.leave.local_reverse_paths)
        assert "Example" == first.identity.requested_by

    @pytest.mark.parametrize(
        ("identity", "missing"),
        [
            ({}, ("--contact", "--ehlo-name")),
            ({"contact": "abuse@checker.example"}, ("--ehlo-name",)),
            ({"ehlo_name": "checker.example"}, ("--contact",)),
            ({"contact": "https://checker.example", "ehlo_name": "checker"}, ("--ehlo-name",)),
            ({"contact": "abuse@checker.example", "ehlo_name": "checker.local"}, ("--ehlo-name",)),
            ({"contact": "abuse@checker.example", "ehlo_name": "checker.example"}, ()),
        ],
    )
    def test_no_stranger_gets_mail_before_it_says_who_checks(self, identity, missing):
        told = []
        runs = self.runs(permission(), permission("Other"), tell=told.append, identity=Identity(**identity))

        assert [not missing] * 2 == [run.leave.mail for run in runs]
        assert [" ".join(missing)] * bool(missing) == [event.detail for event in told]
        assert missing == missing_of(Identity(**identity))

    def test_nor_is_that_told_where_no_mail_is_wanted(self):
        told = []
        (run,) = self.runs(permission(), tell=told.append, no_mail=True)

        assert ([], "not-sent") == (told, run.leave.mail_withheld_because)

    def test_the_slowest_of_the_paces_decides(self):
        slow, other = self.runs(permission(rate=0.5), permission())

        assert [0.0, 2.0, 0.0] == [round(run.admit(ADDRESS), 1) for run in (slow, slow, other)]


ADDRESS, NEIGHBOUR = ip_address("192.0.2.7"), ip_address("192.0.2.8")
HOST = Host(target=parse_target("192.0.2.7"), addresses=(ADDRESS,))


def permission(owner="Example", **more):
    network = ip_network("192.0.2.0/24")
    return Permission(networks=(network,), owner=owner, contact="abuse@owner.example", until=date.max, **more)


class TestPacing:
    """Rates of 10 in all, 2 to an address, 4 to a network, without a burst."""

    def delays(self, *asked):
        """For each address under its permission, all at one time: the seconds until it may be connected to."""
        rates = Rates(overall=10, per_address=2, per_network=4, burst=1, overall_burst=1)
        pacing = Pacing(rates)
        return [
            round(max(pace.admit(address, 100.0) for pace in pacing.for_permission(by)), 2)
            for address, by in asked
        ]

    def test_loopback_keeps_the_overall_rate_alone(self):
        assert [0.0, 0.1, 0.2] == self.delays(*[(LOOPBACK, LOOPBACK_PERMISSION)] * 3)

    def test_a_permission_without_a_rate_keeps_them_all(self):
        assert [0.0, 0.5, 1.0] == self.delays(*[(ADDRESS, permission())] * 3)
        assert [0.0, 0.25] == self.delays((ADDRESS, permission()), (NEIGHBOUR, permission()))

    def test_its_own_rate_takes_the_place_of_the_network_s(self):
        fast, slow = permission(rate=20), permission(rate=0.5)

        assert [0.0, 0.1] == self.delays((ADDRESS, fast), (NEIGHBOUR, fast))
        assert [0.0, 0.5] == self.delays((ADDRESS, fast), (ADDRESS, fast))
        assert [0.0, 2.0] == self.delays((ADDRESS, slow), (NEIGHBOUR, slow))

    def test_another_permission_has_its_own(self):
        slow, other = permission(rate=0.5), permission("Other", rate=0.5)

        assert [0.0, 0.1, 2.0] == self.delays((ADDRESS, slow), (NEIGHBOUR, other), (ADDRESS, slow))


def test_the_source_address_is_ours_to_choose():
    told = check_world(hurried(sources=(ip_address("127.0.0.3"),)), "closed")

    assert "127.0.0.3" == told.line.source_address
