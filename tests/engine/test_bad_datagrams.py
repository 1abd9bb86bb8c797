"""UDP channels when ICMP answers, and when peers never stop."""

import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_address

import pytest

from relaywatch.engine.driver import Engine
from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Direction
from relaywatch.model.places import Endpoint
from relaywatch.script.link import DatagramLink

from .conftest import Run, brief_for, probe_of
from .datagram_servers import answering, echo, flooding, icmp_from_the_host, unused
from .test_datagrams import ask


class TestICMP:
    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_nobody_listens(self, attempt, address):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await ask(datagrams)

        with unused(address) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.NO_LISTENER, "nobody listens there") == (outcome.status, outcome.error)
        assert b"nobody listens there" == outcome.transcript[-1].data
        assert outcome.seconds < 3

    def test_it_is_told_once_and_the_channel_goes_on(self, attempt):
        heard = []

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            for _ in range(3):
                with pytest.raises(errors.ConnectRefusedError):
                    await ask(datagrams)
                heard.append(await datagrams.read(within=0.05))
            with answering(echo, port=brief.endpoint.port):
                heard.append(await ask(datagrams, b"now"))

        with unused() as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [None, None, None, b"now"] == heard

    def test_an_error_of_before_costs_no_datagram(self, attempt):
        """The kernel tells it to whoever calls next, and then sends nothing."""
        received, heard = [], []

        def behave(sock, datagram, sender):
            received.append(datagram)
            sock.sendto(b"yes", sender)

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"lost")
            threading.Event().wait(0.05)  # the loop stands still meanwhile, so nobody has asked for the error
            with answering(behave, port=brief.endpoint.port):
                await datagrams.send(b"one")
                await datagrams.send(b"two")
                with suppress(errors.ConnectRefusedError):
                    heard.append(await datagrams.read(within=5))
                while len(heard) < 2:
                    heard.append(await datagrams.read(within=5))
                await datagrams.send(b"three")
                heard.append(await datagrams.read(within=5))

        with unused() as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [b"one", b"two", b"three"] == received
        assert [b"yes"] * 3 == heard

    @pytest.mark.parametrize(
        ("code", "status", "word"),
        [
            (0, AttemptStatus.UNREACHABLE, "ENETUNREACH"),
            (1, AttemptStatus.UNREACHABLE, "EHOSTUNREACH"),
            (3, AttemptStatus.NO_LISTENER, "nobody listens there"),
            (13, AttemptStatus.UNREACHABLE, "EHOSTUNREACH"),
        ],
    )
    def test_what_routers_say_is_told_too(self, attempt, code, status, word):
        def behave(sock, datagram, sender):
            icmp_from_the_host(3, code, sender, sock.getsockname())

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await ask(datagrams)

        try:
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        except PermissionError:
            pytest.skip("only root may speak ICMP")
        with answering(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (status, word) == (outcome.status, outcome.error)

    def test_a_flood_of_it_meets_the_limit(self, attempt):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            while True:
                with suppress(errors.NetworkError):
                    await ask(datagrams)

        with unused() as endpoint:
            outcome = attempt(script, endpoint, max_octets_in=400)

        assert (AttemptStatus.LIMIT, "more than 400 octets came") == (outcome.status, outcome.error)

    def test_no_way_at_all(self, attempt):
        async def script(link, brief):
            await DatagramLink().connect()

        outcome = attempt(script, Endpoint(ip_address("255.255.255.255"), 9))

        assert (AttemptStatus.UNREACHABLE, "EACCES") == (outcome.status, outcome.error)


class TestFloods:
    def test_what_nobody_reads_is_kept_up_to_a_limit_and_dropped_beyond(self, attempt):
        kept = []

        def behave(sock, datagram, sender):
            for number in range(200):
                sock.sendto(b"%d" % number, sender)
                if number % 20 == 0:
                    time.sleep(0.01)

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            await link.pause(0.5)
            while (datagram := await datagrams.read(within=0.05)) is not None:
                kept.append(int(datagram))

        with answering(behave) as endpoint:
            outcome = attempt(script, endpoint)

        notes = [entry.data for entry in outcome.transcript if entry.direction is Direction.NOTE]
        assert AttemptStatus.COMPLETED == outcome.status
        assert list(range(64)) == kept
        assert 1 == notes.count(b"datagrams that nobody has read are too many: more are dropped")

    def test_long_ones_are_kept_by_their_octets(self, attempt):
        kept = []

        def behave(sock, datagram, sender):
            for _ in range(10):
                sock.sendto(bytes(60_000), sender)
                time.sleep(0.01)

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            await link.pause(0.5)
            while (datagram := await datagrams.read(within=0.05)) is not None:
                kept.append(len(datagram))

        with answering(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [60_000] * 4) == (outcome.status, kept)

    @pytest.mark.parametrize("words", [b"", b"x", bytes(1200)])
    def test_an_endless_flood_meets_the_limit_of_octets(self, attempt, words):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            while await datagrams.read(within=5) is not None:
                pass

        with flooding(words) as endpoint:
            outcome = attempt(script, endpoint, max_octets_in=20_000)

        assert (AttemptStatus.LIMIT, "more than 20000 octets came") == (outcome.status, outcome.error)
        assert outcome.seconds < 5

    def test_other_attempts_have_their_turn_meanwhile(self, run):
        async def flooded(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            while await datagrams.read(within=5) is not None:
                pass

        async def calm(link, brief):
            for _ in range(20):
                await link.pause(0.01)

        async def main(endpoint):
            engine = Engine()
            first = engine.attempt(probe_of(flooded), brief_for(endpoint), Run())
            second = engine.attempt(probe_of(calm), brief_for(endpoint), Run())
            outcome = await second
            engine.interrupt()
            return await first, outcome

        with flooding(b"x") as endpoint:
            first, second = run(main(endpoint))

        assert first.status in {AttemptStatus.INTERRUPTED, AttemptStatus.LIMIT}
        assert AttemptStatus.COMPLETED == second.status
        assert second.seconds < 5
