"""The embedded server itself: where it listens, where it delivers, what it bears."""

import asyncio
import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.demo.backdrop import Recorder, recording
from tests.demo.envelopes import PLAIN, Envelope, fresh_mark, offer

from relaywatch.demo.admission import GreylistMemory
from relaywatch.demo.delivery import loopback
from relaywatch.demo.oddities import drip, hang_up, send_a_long_line
from relaywatch.demo.policy import Greylist, GreylistKey
from relaywatch.demo.population import CLOSED, OPEN, POPULATION, policy
from relaywatch.demo.server import CONNECTIONS_LIMIT, LOOPBACK, Listener, MailServer, bind
from relaywatch.demo.world import World, serve_world
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "10.0.0.1"])
def test_next_hop_must_be_on_loopback(address):
    with pytest.raises(UsageError):
        loopback(address, 25)
    family = IPv6Address if ":" in address else IPv4Address
    with pytest.raises(UsageError):
        MailServer(OPEN, Endpoint(family(address), 25))
    with pytest.raises(UsageError):
        World(Endpoint(family(address), 25))


def test_server_listens_on_loopback_only():
    with pytest.raises(UsageError):
        MailServer(OPEN, hosts=("0.0.0.0",))


def test_unknown_inhabitant_is_named():
    with pytest.raises(UsageError, match="atlantis"):
        World(only=["open", "atlantis"])


def test_same_port_serves_both_families():
    async def main():
        async with MailServer(CLOSED) as server:
            return [
                (host, (await asyncio.to_thread(_first_line, host, server.port))[:4]) for host in server.hosts
            ]

    assert {("127.0.0.1", b"220 ")} <= set(asyncio.run(main())) <= {("127.0.0.1", b"220 "), ("::1", b"220 ")}


def test_port_that_is_taken_is_an_error():
    (held,) = bind(("127.0.0.1",), 0)
    held.listen()
    with held, pytest.raises(OSError, match="in use"):
        bind(("127.0.0.1",), held.getsockname()[1])


def test_without_a_next_hop_mail_for_others_is_bounced_nowhere_and_kept_nowhere(caplog):
    async def main():
        async with MailServer(OPEN) as server:
            outcome = await asyncio.to_thread(offer, "127.0.0.1", server.port, PLAIN, fresh_mark(), "")
            await _until(lambda: "can't bounce" in caplog.text)
            return outcome, len(server.mailbox)

    caplog.set_level("INFO")
    outcome, kept = asyncio.run(main())

    assert outcome.taken
    assert 0 == kept
    assert "no next hop is known, and the domain is no address literal" in caplog.text


@pytest.mark.parametrize("literal", ["[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_without_a_next_hop_literals_off_loopback_are_refused(caplog, literal):
    async def main():
        async with MailServer(OPEN) as server:
            away = Envelope("<>", (f"<{{mark}}@{literal}>",))
            await asyncio.to_thread(offer, "127.0.0.1", server.port, away, fresh_mark(), "")
            await _until(lambda: "can't deliver" in caplog.text)

    caplog.set_level("INFO")
    asyncio.run(main())

    assert "delivers to loopback only" in caplog.text


def test_dead_next_hop_is_tried_again_and_then_the_message_comes_to_nothing(caplog):
    (held,) = bind(("127.0.0.1",), 0)

    async def main():
        hop = loopback("127.0.0.1", held.getsockname()[1])
        async with MailServer(OPEN, hop) as server:
            await asyncio.to_thread(offer, "127.0.0.1", server.port, Envelope("<>"), fresh_mark(), "")
            await _until(lambda: "can't deliver" in caplog.text)

    caplog.set_level("INFO")
    with held:
        asyncio.run(main())

    assert "refused" in caplog.text.lower()


def test_mail_for_a_mailbox_of_its_own_is_kept():
    async def main():
        async with MailServer(CLOSED) as server:
            postmaster = Envelope(forward_paths=("<Postmaster>",))
            await asyncio.to_thread(offer, "127.0.0.1", server.port, postmaster, "mark", "")
            await _until(lambda: server.mailbox)
            return server.mailbox[0].forward_path

    assert "Postmaster@alder.example" == asyncio.run(main())


def test_mail_loop_ends_after_ten_hops(caplog):
    async def main():
        port = _free_ports(1)
        async with MailServer(OPEN, loopback("127.0.0.1", port), port=port) as server:
            await asyncio.to_thread(offer, "127.0.0.1", port, Envelope("<>"), fresh_mark(), "")
            await _until(lambda: "can't deliver" in caplog.text)
            assert server.port == port

    caplog.set_level("INFO")
    asyncio.run(main())

    assert "mail loop" in caplog.text


def test_own_literal_is_local_where_the_policy_says_so():
    knows = policy("alder", own_literals_are_local=True)
    literal = Envelope(forward_paths=("<postmaster@[127.0.0.1]>",))

    async def codes(one):
        async with MailServer(one) as server:
            return (await asyncio.to_thread(offer, "127.0.0.1", server.port, literal, "mark", "")).codes

    assert (250, 250, 354, 250) == asyncio.run(codes(knows))
    assert (250, 550) == asyncio.run(codes(CLOSED))


def test_connections_are_bounded():
    async def main():
        async with MailServer(CLOSED) as server:
            return await asyncio.to_thread(_crowd, server.port, CONNECTIONS_LIMIT + 1)

    greetings = asyncio.run(main())
    assert [b"220 "] * CONNECTIONS_LIMIT + [b"421 "] == greetings


def test_next_hop_that_says_later_is_asked_again():
    class Hesitant(Recorder):
        asked = 0

        async def handle_RCPT(self, _server, _session, envelope, address, options):  # noqa: N802
            self.asked += 1
            if self.asked == 1:
                return "451 4.3.0 Later"
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"

    async def main():
        recorder, mark = Hesitant(), fresh_mark()
        async with recording(recorder) as port, MailServer(OPEN, loopback("127.0.0.1", port)) as server:
            await asyncio.to_thread(offer, "127.0.0.1", server.port, PLAIN, mark, "")
            await _until(lambda: recorder.find(mark))
            return recorder.asked

    assert 2 == asyncio.run(main())


def test_next_hop_that_says_no_sends_the_message_back():
    class Strict(Recorder):
        async def handle_RCPT(self, _server, _session, envelope, address, options):  # noqa: N802
            if "stranger" not in address:
                return "550 5.1.1 Nobody"
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"

    async def main():
        recorder = Strict()
        async with recording(recorder) as port, MailServer(OPEN, loopback("127.0.0.1", port)) as server:
            await asyncio.to_thread(offer, "127.0.0.1", server.port, PLAIN, fresh_mark(), "")
            await _until(lambda: recorder.messages)
            return recorder.messages[0]

    bounce = asyncio.run(main())
    assert "" == bounce.reverse_path
    assert b"550 5.1.1 Nobody" in bounce.content


def test_greylist_counts_from_the_first_visit():
    memory, greylist = GreylistMemory(), Greylist(seconds=5)
    triplet = ("192.0.2.1", "a@b.example", "c@d.example")

    assert [5, 2, None, None] == [memory.defers(greylist, triplet, now) for now in (100, 103, 105, 900)]


def test_greylist_by_client_lets_another_envelope_in():
    memory, greylist = GreylistMemory(), Greylist(seconds=5, key=GreylistKey.CLIENT)

    memory.defers(greylist, ("192.0.2.1", "a", "b"), 100)

    assert memory.defers(greylist, ("192.0.2.1", "c", "d"), 106) is None
    assert 5 == memory.defers(greylist, ("192.0.2.2", "c", "d"), 106)


def test_greylist_forgets_rather_than_grows():
    memory = GreylistMemory(limit=3)

    for number in range(10):
        memory.defers(Greylist(seconds=5), ("192.0.2.1", "a", str(number)), 100)

    assert len(memory.first_seen) <= 3


@pytest.mark.parametrize(("handler", "start"), [(drip, b"2"), (send_a_long_line, b"220 xxx"), (hang_up, b"")])
def test_oddity_does_what_it_is_called(handler, start):
    async def main():
        async with Listener(handler) as listener:
            return await asyncio.to_thread(_first_octets, listener.port, max(len(start), 1))

    assert start == asyncio.run(main())[: max(len(start), 1)]


def test_world_without_ipv6_leaves_out_whom_it_could_not_show():
    async def main():
        async with World(hosts=("127.0.0.1",), only=["closed", "ipv6-only"]) as world:
            return {name: place.addresses for name, place in world.places.items()}

    assert {"closed": ("127.0.0.1",)} == asyncio.run(main())


def test_world_on_ports_in_a_row_lists_its_names():
    async def main():
        recorder, names = Recorder(), ["open", "dead-port"]
        async with recording(recorder) as port:
            first = _free_ports(2)
            async with serve_world(loopback("127.0.0.1", port), first_port=first, only=names) as world:
                mark = fresh_mark()
                await asyncio.to_thread(offer, world["open"].host, first, PLAIN, mark, "")
                await _until(lambda: recorder.find(mark))
                return first, {name: place.port for name, place in world.places.items()}

    first, ports = asyncio.run(main())
    assert {"open": first, "dead-port": first + 1} == ports


def test_hostnames_are_each_others_own_and_tell_nothing():
    hostnames = [one.policy.hostname for one in POPULATION if one.policy]

    assert len(hostnames) == len(set(hostnames))
    for one in POPULATION:
        if one.policy:
            assert not set(one.name.split("-")) & set(one.policy.hostname.split("."))


async def _until(condition, seconds=5.0):
    end = asyncio.get_running_loop().time() + seconds
    while not condition() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.01)
    assert condition()


def _free_ports(count):
    """The first of so many ports in a row that are free in both families."""
    for _ in range(50):
        held = bind(LOOPBACK, 0)
        first = held[0].getsockname()[1]
        try:
            held += [one for offset in range(1, count) for one in bind(LOOPBACK, first + offset)]
        except OSError:
            continue
        else:
            return first
        finally:
            for one in held:
                one.close()
    raise AssertionError("no ports in a row are free")


def _first_octets(port, count):
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        return client.makefile("rb").read(count)


def _first_line(host, port):
    with socket.create_connection((host, port), 5) as client:
        return client.makefile("rb").readline()


def _crowd(port, count):
    """Open so many connections, one after the other, and keep them until the last has been greeted."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            clients.append(client.recv(4))
        return clients
