"""Chains in real runs: through streams, past our own sink, and home through proxies that lead nowhere else."""

import asyncio
import contextlib
import logging
from dataclasses import replace

import pytest
from tests.http2_proxy import http2_proxy
from tests.http3_proxy import http3_proxy
from tests.ports import free_port
from tests.runs.checking import LOOPBACK, asyncio_run, check, hurried, saying, world
from tests.runs.elsewhere import serving_sink

from relaywatch.demo.population import BEHIND_PROXY
from relaywatch.demo.proxies import SOURCE
from relaywatch.demo.server import Listener
from relaywatch.model.evidence import AttemptStatus, Fact, Weakness
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.runs.settings import LocalSink
from relaywatch.script.chains import OUR_SINK

UNTRIED = {AttemptStatus.NO_LISTENER, AttemptStatus.NO_ANSWER}
NO_HTTP = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
NO_SOCKS = b"\x05\x02\x00\x01" + bytes(6)


def looking(**more):
    """Settings of a run whose canaries listen at one port without privilege alone."""
    sink = LocalSink(address=LOOPBACK, port=free_port(), canary_ports=())
    return hurried(**{"sink": sink, "probes": ()} | more)


def of(told, weakness):
    return [line for line in told.lines if line.weakness is weakness]


class Inward:
    """A proxy for anybody that leads to the places that it is told alone."""

    def __init__(self, *ports, refusal=NO_HTTP, home=("127.0.0.1",)):
        self.ports, self.refusal, self.home = set(ports), refusal, home
        self.asked = []

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, EOFError, ValueError):
            await self._serve(reader, writer)

    async def _serve(self, reader, writer):
        first = await reader.readexactly(1)
        if first == b"\x05" and self.refusal is NO_SOCKS:
            await reader.readexactly(2)
            writer.write(b"\x05\x00")
            *_, kind = await reader.readexactly(4)
            host = ".".join(map(str, await reader.readexactly(4))) if kind == 1 else "a name"
            if kind == 3:
                await reader.readexactly((await reader.readexactly(1))[0])
            port, yes = int.from_bytes(await reader.readexactly(2)), b"\x05\x00\x00\x01" + bytes(6)
        elif self.refusal is NO_SOCKS:
            return
        else:
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, *_ = head.split()
            if method != "CONNECT":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            port, yes = int(port), b"HTTP/1.1 200 Connection established\r\n\r\n"
        self.asked.append((host, port))
        if port not in self.ports or host not in self.home:
            writer.write(self.refusal)
            return
        there = await asyncio.open_connection(host, port, local_addr=(SOURCE, 0))
        writer.write(yes)
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    @staticmethod
    async def _pump(source, to):
        while data := await source.read(4096):
            to.write(data)
        to.close()


class TestWays:
    """Whatever leads to our canary leads to a mail server: a stream of HTTP/2 or HTTP/3, an odd line end."""

    def test_through_http2(self):
        async def scene():
            settings = looking(probes=("http2-connect", "smtp-relay"))
            async with world(settings, BEHIND_PROXY) as places, Listener(http2_proxy) as proxy:
                chained = replace(settings, chain_ports=(places[BEHIND_PROXY].port,))
                return await check([f"127.0.0.1:{proxy.port}"], chained)

        self.assert_relays(asyncio_run(scene()), "http2-connect")

    def test_through_http3(self):
        logging.getLogger("quic").setLevel(logging.CRITICAL)

        async def scene():
            settings = looking(probes=("http3-connect", "smtp-relay"))
            async with world(settings, "open") as places, http3_proxy() as proxy:
                chained = replace(settings, chain_ports=(places["open"].port,))
                return await check([f"127.0.0.1:{proxy.port}"], chained)

        self.assert_relays(asyncio_run(scene()), "http3-connect")

    def test_in_the_way_that_evades_the_proxys_filter(self):
        async def scene():
            settings = looking(probes=("http-connect", "smtp-relay"))
            async with world(settings, BEHIND_PROXY, "odd-line-ends") as places:
                chained = replace(settings, chain_ports=(places[BEHIND_PROXY].port,))
                return await check([f"127.0.0.1:{places['odd-line-ends'].port}"], chained)

        self.assert_relays(asyncio_run(scene()), "http-connect")

    def assert_relays(self, told, via):
        [line] = of(told, Weakness.OPEN_RELAY)
        [finding] = line.findings
        assert (Verdict.OPEN, "RW-2020", via) == (line.verdict, finding.advisory, finding.via)
        assert Proof.DELIVERED is finding.proof
        [proxy] = of(told, Weakness.OPEN_PROXY)
        assert Verdict.OPEN is proxy.verdict


@pytest.fixture
def sink_elsewhere(tmp_path):
    with serving_sink(tmp_path) as served:
        yield served


class TestOurOwnSink:
    """Behind the proxy answers nobody but ourselves: that is no relay of the target's."""

    def told(self, sink_elsewhere):
        choice, mail = sink_elsewhere

        async def scene():
            settings = looking(probes=("http-connect", "smtp-relay"))
            async with world(settings, "proxy") as places:
                elsewhere = replace(settings, sink=choice, sink_unproved_ok=True, chain_ports=(mail,))
                return await check([f"127.0.0.1:{places['proxy'].port}"], elsewhere)

        return asyncio_run(scene())

    def test_a_sink_at_every_address_is_told_from_the_targets_mail(self, sink_elsewhere):
        told = self.told(sink_elsewhere)

        assert [(Weakness.OPEN_PROXY, Verdict.OPEN)] == [(line.weakness, line.verdict) for line in told.lines]
        assert [OUR_SINK] == [seen.detail for seen in told.observed(Fact.NOTE) if seen.detail == OUR_SINK]
        assert b"VRFY " in told.said()
        assert b"MAIL FROM" not in told.said()

    def test_one_that_is_too_busy_to_say_so_is_found_out_by_the_message(self, sink_elsewhere, monkeypatch):
        """The question gets no answer, and the message comes to us from nobody but ourselves."""
        monkeypatch.setattr("relaywatch.runs.chains.past_our_sink", lambda script: script)

        told = self.told(sink_elsewhere)

        assert [Weakness.OPEN_PROXY] == [line.weakness for line in told.lines]
        assert 1 == told.messages()

    def test_without_either_it_would_be_taken_for_a_relay(self, sink_elsewhere, monkeypatch):
        """The trap is real: what relaywatch must not say is what it would say."""
        monkeypatch.setattr("relaywatch.runs.chains.past_our_sink", lambda script: script)
        monkeypatch.setattr("relaywatch.runs.chains._Chains._led_to_ourselves", lambda *_: False)

        [line] = of(self.told(sink_elsewhere), Weakness.OPEN_RELAY)

        assert Verdict.OPEN is line.verdict


def silent():
    """Takes connections, and hangs up at the first word."""

    async def serve(reader, _writer):
        await reader.read(1)

    return Listener(serve, hosts=("127.0.0.1",))


class Parent:
    """A proxy that leads to another host's proxy, on whose loopback another mail server is."""

    def __init__(self, port):
        self.port = port

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b":25252 " not in head:
                writer.write(NO_HTTP)
                return
            there = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(SOURCE, 0))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(Inward._pump(reader, there[1]), Inward._pump(there[0], writer))


class TestHome:
    """A proxy that leads to none of our canaries, and to the mail server beside it."""

    def told(self, refusal, *, leads=True, probes=(), **more):
        async def scene():
            settings = looking(probes=probes, **more)
            async with world(settings, BEHIND_PROXY) as places:
                behind = places[BEHIND_PROXY].port
                self.inward = Inward(*([behind] if leads else []), refusal=refusal)
                async with Listener(self.inward.serve, hosts=("127.0.0.1",)) as proxy:
                    chained = replace(settings, chain_ports=(behind,))
                    return await check([f"127.0.0.1:{proxy.port}"], chained)

        return asyncio_run(scene())

    @pytest.mark.parametrize(("refusal", "via"), [(NO_HTTP, "http-connect"), (NO_SOCKS, "socks5-connect")])
    def test_a_relay_that_trusts_it_is_found(self, refusal, via):
        told = self.told(refusal)

        [relay] = of(told, Weakness.OPEN_RELAY)
        [finding] = relay.findings
        assert (Verdict.OPEN, "RW-2020", via) == (relay.verdict, finding.advisory, finding.via)
        assert Proof.DELIVERED is finding.proof
        [proxy] = of(told, Weakness.OPEN_PROXY)
        assert Verdict.CLOSED is proxy.verdict

    @pytest.mark.parametrize("refusal", [NO_HTTP, NO_SOCKS])
    def test_one_that_leads_nowhere_at_all_has_one_line_and_few_questions(self, refusal):
        told = self.told(refusal, leads=False)

        assert [(Weakness.OPEN_PROXY, Verdict.CLOSED)] == [
            (line.weakness, line.verdict) for line in told.lines
        ]
        chained = [attempt for attempt in told.attempts if attempt.door.via]
        assert [AttemptStatus.NO_LISTENER] == [attempt.status for attempt in chained]

    @pytest.mark.parametrize("has_its_own", [False, True])
    def test_a_strangers_loopback_behind_another_proxy_is_not_asked_of_mail(self, has_its_own):
        """Nobody listens on our own loopback there, or another server than through the proxy."""

        async def scene():
            settings = looking()
            async with world(settings, BEHIND_PROXY, "closed") as places, contextlib.AsyncExitStack() as own:
                if has_its_own:
                    greets = await saying(b"250 mail.alder.example\r\n")
                    greets.port = 25252
                    await own.enter_async_context(greets)
                parent = Parent(places[BEHIND_PROXY].port)
                async with Listener(parent.serve, hosts=("127.0.0.1",)) as proxy:
                    chained = replace(settings, chain_ports=(25252,))
                    return await check([f"127.0.0.1:{proxy.port}"], chained)

        told = asyncio_run(scene())

        assert [(Weakness.OPEN_PROXY, Verdict.CLOSED)] == [
            (line.weakness, line.verdict) for line in told.lines
        ]
        assert {"mail.papaya.example"} <= {seen.reply for seen in told.observed(Fact.NOTE)}
        assert b"MAIL FROM" not in told.said()

    def test_a_yes_that_nobody_stands_behind_is_no_evidence(self):
        """It is heard of nobody, and must not make the mail of the host itself doubtful."""

        async def scene():
            settings = looking()
            async with world(settings, "closed") as places, silent() as mute:
                inward = Inward(mute.port)
                async with Listener(inward.serve, hosts=("127.0.0.1",)) as proxy:
                    chained = replace(
                        settings, chain_ports=(mute.port,), ports=(proxy.port, places["closed"].port)
                    )
                    return await check(["127.0.0.1"], chained)

        told = asyncio_run(scene())

        assert any(attempt.door.via and attempt.status not in UNTRIED for attempt in told.attempts)
        [relay] = of(told, Weakness.OPEN_RELAY)
        assert (Verdict.CLOSED, ()) == (relay.verdict, relay.reasons)

    def test_a_web_server_is_not_asked(self):
        told = self.told(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")

        assert [Weakness.OPEN_PROXY] == [line.weakness for line in told.lines]
        assert not any(attempt.door.via for attempt in told.attempts)

    def test_nobody_is_sent_through_a_proxy_whose_users_have_credentials(self):
        no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        told = self.told(no)

        [line] = told.lines
        assert (Verdict.CLOSED, (Reason.AUTH_REQUIRED,)) == (line.verdict, line.reasons)
        assert not any(attempt.door.via for attempt in told.attempts)


class TestLines:
    """Whose line says what of mail servers behind a proxy that was named."""

    def told(self, *names, chain=None, ports=("proxy",), **more):
        async def scene():
            settings = looking(**more)
            async with world(settings, *names) as places:
                port = places[chain].port if chain else free_port()
                chained = replace(settings, chain_ports=(port,))
                named = tuple(places[name].port for name in ports)
                return await check(["127.0.0.1"], replace(chained, ports=named))

        return asyncio_run(scene())

    def test_nobody_behind_it_is_nothing_to_tell_of(self):
        told = self.told("proxy")

        assert [Weakness.OPEN_PROXY] == [line.weakness for line in told.lines]
        assert any(attempt.door.via for attempt in told.attempts)

    def test_who_asked_for_that_probe_is_told_that_nobody_is_there(self):
        told = self.told("proxy", probes=("http-connect", "smtp-relay"))

        assert [Verdict.ABSENT] == [line.verdict for line in of(told, Weakness.OPEN_RELAY)]

    def test_who_asked_for_relays_too_is_told_of_that_door(self):
        told = self.told("proxy", "closed", ports=("proxy", "closed"))

        lines = of(told, Weakness.OPEN_RELAY)
        assert [Verdict.CLOSED] == [line.verdict for line in lines]
        assert ["", "http-connect"] == sorted(door.via or "" for line in lines for door in line.doors)

    def test_a_closed_mail_server_behind_it_is_worth_a_line(self):
        told = self.told("proxy", "closed", chain="closed")

        assert [Verdict.CLOSED] == [line.verdict for line in of(told, Weakness.OPEN_RELAY)]

    def test_no_more_cases_are_asked_than_planned(self):
        told = self.told(
            "proxy",
            "closed",
            chain="closed",
            sink=LocalSink(
                address=LOOPBACK, port=free_port(), canary_ports=tuple(free_port() for _ in range(6))
            ),
        )

        doors = [door for line in told.lines for door in line.doors]
        assert doors
        assert [] == [door for door in doors if door.asked > door.planned]
