"""UDP channels against real sockets: who is heard, what ICMP says, and how much is kept."""

import asyncio
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from relaywatch.engine.datagrams import DatagramChannel
from relaywatch.engine.driver import Engine
from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Direction
from relaywatch.model.places import Endpoint
from relaywatch.script import ops
from relaywatch.script.link import DatagramLink

from .conftest import Run, brief_for, probe_of
from .hostile import nobody
from .test_connection import Listener


@contextmanager
def answering(behave, address="127.0.0.1", port=0):
    """A UDP server: the behaviour gets its socket, each datagram, and who sent it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        thread = threading.Thread(target=_serve, args=(sock, behave))
        thread.start()
        try:
            yield Endpoint(ip_address(address), sock.getsockname()[1])
        finally:
            with socket.socket(family, socket.SOCK_DGRAM) as last:
                last.sendto(b"the end of the test", sock.getsockname())
            thread.join(10)
            assert not thread.is_alive()


def _serve(sock, behave):
    while True:
        datagram, sender = sock.recvfrom(65536)
        if datagram == b"the end of the test":
            return
        with suppress(OSError):
            behave(sock, datagram, sender)


def echo(sock, datagram, sender):
    sock.sendto(datagram, sender)


def icmp_from_the_host(kind, code, sender, to):
    """An ICMP error about a datagram that was sent, as a router on the way would have it."""
    here, there = (socket.inet_aton(address) for address in (sender[0], to[0]))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0, here, there)
    message = struct.pack("!BBHI", kind, code, 0, 0) + ip + struct.pack("!HHHH", sender[1], to[1], 8, 0)
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message[:2] + struct.pack("!H", checksum) + message[4:], (sender[0], 0))


async def ask(link, words=b"hello"):
    await link.send(words)
    return await link.read(within=5)


class TestDialogue:
    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_datagrams_go_and_come_whole_and_are_written_down(self, attempt, address):
        heard = []

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            heard.extend([await ask(datagrams, words) for words in (b"no\x00\xffend", b"", bytes(60_000))])
            await datagrams.close()

        with answering(echo, address) as endpoint:
            outcome = attempt(script, endpoint)

        spoken = [(entry.direction, entry.data) for entry in outcome.transcript]
        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [b"no\x00\xffend", b"", bytes(60_000)] == heard
        assert address == outcome.source
        assert spoken[0][1].startswith(b"datagrams from ")
        assert spoken[0][1].endswith(f" to {endpoint}".encode())
        assert [
            (Direction.CLIENT, b"no\x00\xffend"),
            (Direction.SERVER, b"no\x00\xffend"),
            (Direction.CLIENT, b""),
            (Direction.SERVER, b""),
        ] == spoken[1:5]

    def test_each_is_an_entry_of_its_own(self, attempt):
        def behave(sock, datagram, sender):
            for words in (b"one", b"two"):
                sock.sendto(words, sender)

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            assert [b"one", b"two"] == [await ask(datagrams), await datagrams.read(within=5)]

        with answering(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        said = [entry.data for entry in outcome.transcript if entry.direction is Direction.SERVER]
        assert [b"one", b"two"] == said

    def test_silence_is_no_error_and_says_nothing(self, attempt):
        heard = []

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            heard.append(await datagrams.read(within=0.15))
            heard.append(await datagrams.read(within=0))

        with answering(lambda *_: None) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [None, None]) == (outcome.status, heard)
        assert 2 == len(outcome.transcript)
        assert 0.15 <= outcome.seconds < 3

    def test_opening_one_is_paced_as_a_connection_is(self, attempt):
        surroundings = Run(delay=0.3)

        async def script(link, brief):
            await DatagramLink().connect()

        with answering(echo) as endpoint:
            outcome = attempt(script, endpoint, surroundings, attempt_seconds=0.2)

        assert AttemptStatus.COMPLETED == outcome.status
        assert [endpoint.address] == surroundings.admitted
        assert outcome.transcript[0].at >= 0.3

    def test_another_source_and_another_port(self, attempt):
        senders = []

        def behave(sock, datagram, sender):
            senders.append(sender[0])
            sock.sendto(b"yes", sender)

        async def script(link, brief):
            beside = DatagramLink(1)
            await beside.connect(
                at=Endpoint(brief.endpoint.address, other.port), source=ip_address("127.0.0.5")
            )
            assert b"yes" == await ask(beside)

        with nobody() as endpoint, answering(behave) as other:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, ["127.0.0.5"]) == (outcome.status, senders)

    def test_what_lies_there_can_be_peeked_at(self, attempt):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            while not await ops.Peek():
                await link.pause(0.01)
            assert b"hello" == await ops.Peek()
            assert b"hello" == await datagrams.read(within=0)
            assert b"" == await ops.Peek()

        with answering(echo) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)

    def test_a_datagram_that_fits_into_no_packet_is_a_bug(self, attempt):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(bytes(70_000))

        with answering(echo) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.BUG == outcome.status
        assert "a datagram of 70000 octets is too long" in outcome.error

    def test_sending_is_bounded_as_all_is(self, attempt):
        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            while True:
                await datagrams.send(b"x")

        with answering(lambda *_: None) as endpoint:
            outcome = attempt(script, endpoint, max_operations=100)

        assert (AttemptStatus.LIMIT, "more than 100 operations") == (outcome.status, outcome.error)

    def test_a_port_that_does_not_exist_is_a_bug(self, attempt):
        async def script(link, brief):
            await DatagramLink().connect()

        outcome = attempt(script, Endpoint(ip_address("127.0.0.1"), 0))

        assert AttemptStatus.BUG == outcome.status
        assert "no such port: 0" in outcome.error


class TestStrangers:
    def test_datagrams_of_another_source_never_reach_the_script(self, attempt):
        heard, refused = [], []

        def behave(sock, datagram, sender):
            host, port = sock.getsockname()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other_port:
                other_port.bind((host, 0))
                other_port.sendto(b"from another port", sender)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other_address:
                    other_address.bind(("127.0.0.2", port))
                    other_address.sendto(b"from another address", sender)
                sock.sendto(b"from the peer", sender)
                other_port.settimeout(0.2)
                try:
                    other_port.connect(sender)
                    other_port.send(b"and again")
                    other_port.recv(1)
                except OSError as failure:
                    refused.append(type(failure))

        async def script(link, brief):
            datagrams = DatagramLink()
            await datagrams.connect()
            await datagrams.send(b"hello")
            while (datagram := await datagrams.read(within=0.3)) is not None:
                heard.append(datagram)

        with answering(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, [b"from the peer"]) == (outcome.status, heard)
        assert b"another" not in b"".join(entry.data for entry in outcome.transcript)
        assert [ConnectionRefusedError] == refused  # the kernel itself holds that nobody listens

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_nor_do_those_that_came_before_the_socket_was_connected(self, run, address):
        """Binding and connecting are two steps, between which anybody can send."""
        owner = Listener()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        async def main(endpoint):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind((address, 0))
            with socket.socket(family, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"early", sock.getsockname())
            sock.connect((address, endpoint.port))
            channel = DatagramChannel(owner, sock, 0)
            channel.send(b"hello")
            for _ in range(200):
                if channel.peek():
                    break
                await asyncio.sleep(0.01)
            taken = channel.take(), channel.take()
            channel.close()
            return taken

        with answering(echo, address) as endpoint:
            assert (b"hello", None) == run(main(endpoint))
        assert b"early" not in owner.notes


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


@contextmanager
def flooding(words):
    """A peer that never stops once it is asked."""
    over = threading.Event()

    def flood(sock):
        _, sender = sock.recvfrom(100)
        while not over.is_set():
            with suppress(OSError):
                sock.sendto(words, sender)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=flood, args=(sock,))
        thread.start()
        try:
            yield Endpoint(ip_address("127.0.0.1"), sock.getsockname()[1])
        finally:
            over.set()
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def unused(address="127.0.0.1"):
    """A UDP port where nobody listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
    yield Endpoint(ip_address(address), port)
