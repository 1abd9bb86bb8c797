"""Messages: how many, for whom, with what leave, and what comes of them late."""

import asyncio
import threading
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.ports import free_port
from tests.runs.checking import (
    LOOPBACK,
    PATIENCE,
    asyncio_run,
    check,
    check_world,
    deliver,
    hurried,
    world,
)
from tests.runs.naming import serving

from relaywatch.demo.population import policy
from relaywatch.demo.server import Listener, MailServer
from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.resolve import Resolver
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import ArrivalKind, Fact
from relaywatch.model.places import Endpoint, address_literal
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.runs.allowance import BODIES_IN_VAIN
from relaywatch.runs.reporting import EventKind
from relaywatch.runs.settings import LocalSink, RemoteSinkChoice
from relaywatch.runs.sinks import OpenedSink, Sinks
from relaywatch.runs.target import narrowed
from relaywatch.script.brief import Identity, Leave, SinkNames
from relaywatch.sink.keys import generate_keys
from relaywatch.sink.serve import ServeSettings, open_sink
from relaywatch.sink.settings import SinkSettings


@contextmanager
def taken_port():
    """A port of loopback where somebody else listens."""
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestLeave:
    @pytest.mark.parametrize(
        ("circumstances", "mail", "because"),
        [
            ({}, True, ""),
            ({"is_proved": False}, False, "sink-unproved"),
            ({"is_proved": False, "sink_unproved_ok": True}, True, ""),
            ({"no_mail": True}, False, "not-sent"),
            ({"no_mail": True, "is_proved": False, "sink_unproved_ok": True}, False, "not-sent"),
            ({"is_introduced": False}, False, "not-sent: nobody says who checks"),
            ({"is_introduced": False, "sink_unproved_ok": True}, False, "not-sent: nobody says who checks"),
        ],
    )
    def test_what_is_left_of_it(self, circumstances, mail, because):
        given = {"no_mail": False, "is_introduced": True, "is_proved": True, "sink_unproved_ok": False}
        given |= circumstances
        leave = narrowed(Leave(local_mailboxes=True), **given)

        assert (mail, because, True) == (leave.mail, leave.mail_withheld_because, leave.local_mailboxes)

    def test_without_mail_a_yes_is_accepting_and_no_data_is_sent(self):
        told = check_world(hurried(no_mail=True), "open")

        assert (Verdict.ACCEPTING, True) == (told.line.verdict, Reason.NOT_SENT in told.line.reasons)
        assert {Proof.ACCEPTED} == {finding.proof for finding in told.line.findings}
        assert b"RCPT TO:" in told.said()
        assert b"DATA\r\n" not in told.said()
        assert b"BDAT" not in told.said()

    def test_a_sink_that_cannot_listen_is_told_and_no_data_is_sent(self):
        with taken_port() as port:
            settings = hurried(sink=LocalSink(port=port))
            told = check_world(settings, "open")

        assert (Verdict.ACCEPTING, True) == (told.line.verdict, Reason.SINK_UNPROVED in told.line.reasons)
        assert b"DATA\r\n" not in told.said()
        (detail,) = told.details(EventKind.SINK_UNPROVED)
        assert str(port) in detail

    def test_an_address_that_the_user_named_must_be_had(self):
        with taken_port() as port, pytest.raises(UsageError, match=str(port)):
            check_world(hurried(sink=LocalSink(address=LOOPBACK, port=port)), "open")

    def test_a_sink_whose_name_leads_nowhere_is_unproved(self):
        with serving({}) as nameserver:
            sink = LocalSink(address=LOOPBACK, port=free_port(), domain="sink.example")
            told = check_world(hurried(sink=sink, nameservers=(nameserver,)), "open", "closed")

        assert {(Verdict.ACCEPTING, True), (Verdict.CLOSED, False)} == {
            (line.verdict, Reason.SINK_UNPROVED in line.reasons) for line in told.lines
        }
        assert b"DATA\r\n" not in told.said()

    def test_with_leave_it_is_tried_all_the_same_and_what_arrives_is_proof(self):
        with serving({}) as nameserver:
            sink = LocalSink(address=LOOPBACK, port=free_port(), domain="sink.example")
            settings = hurried(sink=sink, nameservers=(nameserver,), sink_unproved_ok=True)
            told = check_world(settings, "open")

        assert [] == told.of(EventKind.SINK_PROVED)
        assert Verdict.OPEN is told.line.verdict


SINK_ZONE = {
    ("sink.example", "MX"): ["10 mx.sink.example."],
    ("mx.sink.example", "A"): ["127.0.0.1"],
    ("mx.sink.example", "AAAA"): ["::1"],
}


class TestSinkByName:
    def test_it_is_proved_by_its_public_name_and_mail_goes_there(self):
        with serving(SINK_ZONE) as nameserver:
            sink = LocalSink(address=LOOPBACK, port=free_port(), domain="sink.example")
            told = check_world(hurried(sink=sink, nameservers=(nameserver,)), "open")

        assert "mx.sink.example" in told.details(EventKind.SINK_PROVED)[0]
        assert Verdict.OPEN is told.line.verdict
        assert f"RCPT TO:<{told.line.findings[0].token}@sink.example>" in told.line.findings[0].command

    def test_an_address_of_its_name_that_is_not_ours_is_left_to_others(self):
        zone = {("sink.example", "A"): ["127.0.0.1"], ("sink.example", "AAAA"): ["2001:db8::25"]}
        with serving(zone) as nameserver:
            sink = LocalSink(address=LOOPBACK, port=free_port(), domain="sink.example")
            told = check_world(hurried(sink=sink, nameservers=(nameserver,)), "open")

        assert Verdict.OPEN is told.line.verdict

    def test_somebody_else_s_host_is_no_proof(self):
        """The domain's mail exchanger is another's server, which takes no mail for our domain."""

        async def scene(nameserver):
            settings = hurried(nameservers=(nameserver,))
            port = settings.sink.port
            sink = LocalSink(address=LOOPBACK, port=port, domain="sink.example")
            async with (
                MailServer(policy("ash"), port=port, hosts=("127.0.0.2",)),
                world(settings, "open") as places,
            ):
                return await check([f"127.0.0.1:{places['open'].port}"], replace(settings, sink=sink))

        with serving(
            SINK_ZONE | {("mx.sink.example", "A"): ["127.0.0.2"], ("mx.sink.example", "AAAA"): []}
        ) as where:
            told = asyncio_run(scene(where))

        (detail,) = told.details(EventKind.SINK_UNPROVED)
        assert "mx.sink.example at 127.0.0.2" in detail
        assert "is that host our sink" in detail
        assert (Verdict.ACCEPTING, True) == (told.line.verdict, Reason.SINK_UNPROVED in told.line.reasons)


LOOPBACK_6 = ip_address("::1")
TO = {
    "loopback": ip_address("127.0.0.9"),
    "private": ip_address("10.0.0.7"),
    "far": ip_address("203.0.113.7"),
    "far, IPv6": ip_address("2001:db8::7"),
}


class TestWhoFindsIt:
    """Mail must never name an address of ours that means another host to the target."""

    @pytest.mark.parametrize(
        ("ours", "found_by"),
        [
            ("127.0.0.1", {"loopback"}),
            ("::1", {"loopback"}),
            ("10.0.0.5", {"loopback", "private"}),
            ("169.254.3.4", {"loopback", "private"}),
            ("fd00::5", {"loopback", "private"}),
            ("198.51.100.25", set(TO)),
            ("2001:db8::25", set(TO)),
        ],
    )
    def test_an_address_literal_by_how_far_it_is_known(self, ours, found_by):
        address = ip_address(ours)
        sink = OpenedSink(
            names=SinkNames(domain=address_literal(address), addresses=(address,)),
            key=b"",
            is_proved=True,
            detail="",
            known_at=(address,),
        )

        facing = {name: sink.facing((target,)) for name, target in TO.items()}

        assert found_by == {name for name, seen in facing.items() if seen.is_proved}
        assert found_by == {name for name, seen in facing.items() if seen.is_reachable}
        assert found_by == {name for name, seen in facing.items() if seen.names.addresses}
        assert all(ours in seen.detail for name, seen in facing.items() if name not in found_by)

    def test_a_host_with_two_addresses_must_find_it_from_both(self):
        sink = replace(LITERAL, known_at=(TO["private"],))

        assert sink.facing((TO["private"],)).is_proved
        assert not sink.facing((TO["private"], TO["far, IPv6"])).is_proved

    def test_a_domain_counts_by_where_it_leads_but_its_literal_by_itself(self):
        """A sink behind a translated address: mail comes by its domain, never by the inner address."""
        names = SinkNames(domain="sink.example", addresses=(TO["private"],))
        sink = replace(LITERAL, names=names, known_at=(TO["far"],))

        facing = sink.facing((TO["far"],))

        assert (True, ()) == (facing.is_proved, facing.names.addresses)

    def test_each_target_s_route_decides_where_none_was_chosen(self):
        """The first target of the list decides nothing for the others."""
        told = []

        async def scene():
            choice = LocalSink(port=free_port())
            sinks = Sinks(ArrivalBoard(), Resolver(hosts={}), Identity(), tell=told.append)
            async with sinks.opened(choice):
                first = await sinks.facing((ip_address("127.0.0.1"),))
                return (
                    first,
                    await sinks.facing((ip_address("127.0.0.9"),)),
                    await sinks.facing((LOOPBACK_6,)),
                )

        near, near_too, other = asyncio_run(scene())

        assert ("[127.0.0.1]", True) == (near.names.domain, near.is_proved)
        assert near.names == near_too.names
        assert ("[IPv6:::1]", True) == (other.names.domain, other.is_proved)
        assert 2 == len(told)

    def test_a_chosen_address_that_the_target_cannot_find_is_told_once(self):
        told = []

        async def scene():
            choice = LocalSink(address=LOOPBACK, port=free_port())
            sinks = Sinks(ArrivalBoard(), Resolver(hosts={}), Identity(), tell=told.append)
            async with sinks.opened(choice):
                return [await sinks.facing((target,)) for target in (TO["far"], TO["far"], LOOPBACK)]

        far, _, near = asyncio_run(scene())

        assert [True, False] == [sink.is_proved for sink in told]
        assert (False, True) == (far.is_reachable, near.is_reachable)
        assert "[127.0.0.1]" != far.names.domain
        assert "127.0.0.1 means another host" in told[1].detail

    def test_no_leave_covers_that(self):
        leave = narrowed(Leave(), no_mail=False, is_introduced=True, is_proved=False, sink_unproved_ok=False)

        assert (False, "sink-unproved") == (leave.mail, leave.mail_withheld_because)


LITERAL = OpenedSink(names=SinkNames(domain="[10.0.0.7]"), key=b"", is_proved=True, detail="")


class TestSinkElsewhere:
    def check(self, tmp_path, name, watch=None, **settings):
        """Check a server of the world that delivers to a sink elsewhere; ``watch`` gets the sink too."""
        key_file = tmp_path / "keys.toml"
        generate_keys(key_file, ["localhost", "127.0.0.1"])
        anywhere = (Endpoint(LOOPBACK, 0),)

        async def scene(nameserver):
            serve = ServeSettings(
                sink=SinkSettings(domain="sink.example", listen=anywhere, journal=tmp_path / "journal"),
                key_file=key_file,
                poll_listen=anywhere,
            )
            async with open_sink(serve) as served:
                choice = RemoteSinkChoice(
                    url=f"https://{served.poll.addresses[0]}", key_file=key_file, domain="sink.example"
                )
                given = {"sink": choice, "nameservers": (nameserver,), "sink_unproved_ok": True} | settings
                local = LocalSink(port=served.sink.addresses[0].port)
                async with world(hurried(sink=local), name) as places:
                    target = f"127.0.0.1:{places[name].port}"
                    seen = None if watch is None else lambda _run, event: watch(served, event)
                    return await check([target], hurried(**given), watch=seen)

        with serving({}) as nameserver:
            return asyncio_run(scene(nameserver))

    def test_its_arrivals_are_proof(self, tmp_path):
        told = self.check(tmp_path, "open", wait=3)

        assert (Verdict.OPEN, Proof.DELIVERED) == (told.line.verdict, told.line.findings[0].proof)
        assert 1 == len(told.of(EventKind.SINK_UNPROVED))

    def test_silence_of_one_that_cannot_be_asked_says_nothing_of_the_target(self, tmp_path):
        def lock_out(served, event):
            """From the first message on the sink refuses the key, and whoever polls hears of it at once."""
            observation = getattr(event, "observation", None)
            if observation is not None and observation.fact is Fact.QUEUED:
                served.poll._poll_key = "another"
                served.poll._wake()

        told = self.check(tmp_path, "accept-then-drop", lock_out, wait=0.5, messages=1)

        assert Verdict.ACCEPTING is told.line.verdict
        assert Reason.SINK_UNPROVED in told.line.reasons
        assert Reason.NOT_DELIVERED not in told.line.reasons
        assert "RW-1031" not in told.line.advisories


class TestAllowance:
    @pytest.mark.parametrize("allowed", [0, 1, 3])
    def test_no_more_messages_than_the_run_may_send(self, allowed):
        told = check_world(hurried(messages=allowed, exhaustive=True, wait=0.05), "accept-then-drop")

        assert allowed == told.messages()
        assert Verdict.ACCEPTING is told.line.verdict
        assert "allowance used up" in "".join(seen.detail for seen in told.observed(Fact.ACCEPTED))

    def test_a_target_that_is_listed_often_is_one_target(self):
        settings = hurried(wait=0.05, exhaustive=True)

        async def scene():
            async with world(settings, "accept-then-drop") as places:
                return await check([f"127.0.0.1:{places['accept-then-drop'].port}"] * 3, settings)

        told = asyncio_run(scene())

        assert (3, Verdict.ACCEPTING) == (told.messages(), told.line.verdict)

    def test_whatever_ports_a_host_is_listed_with_it_gets_no_more(self):
        """As masscan writes a host: once for each port."""
        ports = [free_port("127.0.0.9") for _ in range(3)]

        async def scene():
            async with AsyncExitStack() as stack:
                dropping = policy("ash", trusted_networks=(ip_network("127.0.0.0/8"),))
                for port in ports:
                    await stack.enter_async_context(MailServer(dropping, port=port, hosts=("127.0.0.9",)))
                targets = [f"127.0.0.9:{port}" for port in ports]
                return await check(targets, hurried(wait=0.05, exhaustive=True))

        told = asyncio_run(scene())

        assert (3, Verdict.ACCEPTING) == (told.messages(), told.line.verdict)
        assert sorted(ports) == [door.port for door in told.line.doors]

    @pytest.mark.parametrize("answer", [b"550 5.7.1 rejected by policy\r\n", b"451 4.7.1 not now\r\n"])
    def test_one_that_refuses_every_message_at_its_end_is_not_sent_all_of_them(self, answer):
        bodies = 0

        async def refuse_at_the_end(reader, writer):
            nonlocal bodies
            writer.write(b"220 mail.ash.example ESMTP\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    bodies += 1
                writer.write(answer if verb == b"DATA" else b"250 mail.ash.example\r\n")

        async def scene():
            async with Listener(refuse_at_the_end, hosts=("127.0.0.9",)) as listener:
                patience = replace(PATIENCE, greylist=0.05)
                settings = hurried(wait=0.05, exhaustive=True, patience=patience)
                return await check([f"127.0.0.9:{listener.port}"], settings)

        told = asyncio_run(scene())

        assert BODIES_IN_VAIN == bodies
        assert Verdict.OPEN is not told.line.verdict
        assert {Reason.NOT_SENT, Reason.ACCEPTS_ANYTHING} & set(told.line.reasons)

    def test_nor_does_one_that_delivers_get_more_than_it_takes_to_prove_it(self):
        assert 1 == check_world(hurried(), "open").messages()


class TestMessage:
    @pytest.mark.parametrize(
        ("identity", "words"),
        [
            (Identity(operator="CERT Example"), b"test by CERT Example for this machine, made"),
            (
                Identity(operator="CERT Example", requested_by="Owner"),
                b"test by CERT Example for Owner, made",
            ),
            (Identity(contact="abuse@checker.example"), b"abuse@checker.example"),
            (Identity(ehlo_name="checker.example"), b"EHLO checker.example\r\n"),
        ],
    )
    def test_it_says_who_checks_and_for_whom(self, identity, words):
        said = check_world(hurried(identity=identity), "open").said()

        assert words in b" ".join(said.split(b"\r\n")) + said


def bringing(port, *steps):
    """Watches for the first message that is taken, and brings the sink what the steps say, in order."""
    done = threading.Event()

    def bring(observation):
        for step in steps:
            token = observation.return_token if step == "bounce" else observation.token
            deliver(port, token, is_bounce=step == "bounce")

    def watch(_run, event):
        observation = getattr(event, "observation", None)
        if observation is not None and observation.fact is Fact.QUEUED and not done.is_set():
            done.set()
            asyncio.get_running_loop().run_in_executor(None, bring, observation)

    return watch


class TestLateNews:
    @pytest.mark.parametrize("steps", [("mail",), ("bounce", "mail"), ("mail", "bounce")])
    def test_what_arrives_within_the_wait_proves_in_spite_of_any_bounce(self, steps):
        settings = hurried(wait=3)
        told = check_world(settings, "accept-then-drop", watch=bringing(settings.sink.port, *steps))

        (finding,) = told.line.findings
        assert (Verdict.OPEN, Proof.DELIVERED) == (told.line.verdict, finding.proof)
        kinds = {arrival.kind for arrival in told.reports[0].arrivals}
        assert ArrivalKind.MAIL in kinds
        assert ("bounce" != steps[0]) or ArrivalKind.BOUNCE in kinds

    def test_a_bounce_refutes_its_own_case_and_no_other(self):
        settings = hurried(wait=0.5, messages=1)
        told = check_world(settings, "accept-then-drop", watch=bringing(settings.sink.port, "bounce"))

        assert Verdict.ACCEPTING is told.line.verdict
        assert Reason.BACKSCATTER in told.line.reasons
        assert "RW-1030" in told.line.advisories
        (bounced,) = told.observed(Fact.QUEUED)
        assert bounced.case not in {finding.case for finding in told.line.findings}
