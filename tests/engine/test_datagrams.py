"""UDP channels against real sockets: what goes and comes, and who is heard."""

import asyncio
import socket
from ipaddress import ip_address

import pytest

from relaywatch.engine.datagrams import DatagramChannel
from relaywatch.model.evidence import AttemptStatus, Direction
from relaywatch.model.places import Endpoint
from relaywatch.script import ops
from relaywatch.script.link import DatagramLink

from .conftest import Run
from .datagram_servers import answering, echo
from .hostile import nobody
from .test_connection import Listener


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
