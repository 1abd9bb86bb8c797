"""Ports of a token's own, ports at which nobody answers, and which ports are where."""

import asyncio
import errno
import os
import socket

import pytest
from tests.sink.canaries import connect, make_canaries
from tests.sink.loopback import IPV4, IPV6, make_sink, token, until

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.script.brief import CanaryPlaces
from relaywatch.sink import doorkeeper as doorkeeper_module
from relaywatch.sink.errors import ListenError
from relaywatch.sink.settings import Limits

HERE, HERE_6, ELSEWHERE = IPV4.address, IPV6.address, parse_address("192.0.2.1")


async def is_refused(endpoint):
    try:
        _, writer = await connect(endpoint)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


# --- a token's own -----------------------------------------------------------------------------


@pytest.mark.parametrize("address", [HERE, HERE_6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("said", [b"", b"a listing\r\n" * 50])
def test_any_connection_is_an_arrival_of_the_token(run, tmp_path, address, said):
    arrivals = []

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            where = await sink.open_port(token(3), address)
            reader, writer = await connect(where)
            writer.write(said)
            writer.write_eof()
            heard = await reader.read()
            writer.close()
            await until(lambda: arrivals and not sink.counters.open_connections)
            return where, heard

    where, heard = run(scene())

    assert b"" == heard
    assert address == where.address
    (arrival,) = arrivals
    assert (token(3), ArrivalKind.TCP, where.port) == (arrival.token, arrival.kind, arrival.port)
    assert address == arrival.came_from.address


def test_whoever_is_not_admitted_is_no_arrival(run):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            where = await sink.open_port(token(), HERE, admits=lambda peer: peer != HERE)
            reader, writer = await connect(where)
            try:
                heard = await reader.read()
            except ConnectionResetError:
                heard = b""
            writer.close()
            await until(lambda: not sink.counters.open_connections)
            return heard

    assert b"" == run(scene())
    assert [] == arrivals


def test_whoever_says_too_much_or_stays_is_dropped(run, monkeypatch):
    monkeypatch.setattr(doorkeeper_module, "_SWEEP", 0.05)
    arrivals = []

    async def scene():
        async with make_sink(arrivals, limits=Limits(canary_idle=0.3)) as sink:
            where = await sink.open_port(token(), HERE)
            _, talker = await connect(where)
            talker.write(b"x" * 5000)
            _, sitter = await connect(where)
            await until(lambda: len(arrivals) == 2 and not sink.counters.open_connections)
            talker.close()
            sitter.close()
            return sink.counters.timed_out

    assert 1 == run(scene())


def test_a_port_closes_when_told_and_when_it_is_opened_anew(run):
    async def scene():
        async with make_sink() as sink:
            first = await sink.open_port(token(), HERE)
            second = await sink.open_port(token(), HERE)
            states = [await is_refused(first), await is_refused(second)]
            sink.close_port(token())
            sink.close_port(token(1))  # never opened
            return [*states, await is_refused(second)]

    assert [True, False, True] == run(scene())


def test_a_port_closes_by_itself(run, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.own_ports._SECONDS", 0.2)

    async def scene():
        async with make_sink() as sink:
            where = await sink.open_port(token(), HERE)
            while not await is_refused(where):  # noqa: ASYNC110  the test's own limit bounds it
                await asyncio.sleep(0.05)

    run(scene())


def test_only_so_many_are_open_at_once_and_none_after_the_sink(run):
    async def scene():
        async with make_sink() as sink:
            opened = [await sink.open_port(token(number), HERE) for number in range(32)]
            with pytest.raises(ListenError, match="32 ports"):
                await sink.open_port(token(99), HERE)
            sink.close_port(token(5))
            opened.append(await sink.open_port(token(99), HERE))
        return [await is_refused(where) for where in opened]

    assert [True] * 33 == run(scene())


def test_an_address_of_another_host_is_named(run):
    async def scene():
        async with make_sink() as sink:
            await sink.open_port(token(), ELSEWHERE)

    with pytest.raises(ListenError, match="no such address"):
        run(scene())


def test_a_connection_that_cannot_be_written_down_is_no_arrival(run, tmp_path, monkeypatch):
    arrivals = []

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", full_disk)
            where = await sink.open_port(token(), HERE)
            assert not await is_refused(where)
            await until(lambda: sink.counters.failures)

    run(scene())
    assert [] == arrivals


# --- dead ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("addresses", [(HERE,), (HERE_6,), (HERE, HERE_6)], ids=["ipv4", "ipv6", "both"])
def test_nobody_answers_at_a_dead_port_and_nobody_else_gets_it(run, addresses):
    def bind(kind, address, port):
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, kind) as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.bind((str(address), port))
            if kind == socket.SOCK_STREAM:
                another.listen()

    async def scene():
        async with make_sink() as sink:
            port = sink.reserve_dead_port(*addresses)
            assert port == sink.reserve_dead_port(*addresses)
            for address in addresses:
                assert await is_refused(Endpoint(address, port))
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with pytest.raises(OSError, match="in use"):
                        bind(kind, address, port)
        for address in addresses:
            bind(socket.SOCK_STREAM, address, port)
            bind(socket.SOCK_DGRAM, address, port)

    run(scene())


@pytest.mark.parametrize("addresses", [(ELSEWHERE,), (HERE, ELSEWHERE), ()])
def test_a_dead_port_that_cannot_be_had_is_told(run, addresses):
    async def scene():
        async with make_sink() as sink:
            sink.reserve_dead_port(*addresses)

    with pytest.raises(ListenError, match="no port can be held at"):
        run(scene())


# --- what is where -----------------------------------------------------------------------------


def test_places_are_what_waits_at_every_address(run):
    async def scene():
        async with make_canaries() as sink:
            port = sink.canary_endpoints[0].port
            await sink.listen_canaries_at([Endpoint(HERE_6, port), IPV6])
            dead = sink.reserve_dead_port(HERE, HERE_6)
            udp = sink.datagram_endpoints[0].port
            smtp = sink.addresses[0].port
            ports_6 = tuple(one.port for one in sink.canary_endpoints if one.address == HERE_6)
            return (
                (sink.canary_places(HERE, HERE_6, name="sink.test"), (port,), (), None, dead),
                (sink.canary_places(HERE), (port,), (smtp,), udp, dead),
                (sink.canary_places(HERE_6), ports_6, (), None, dead),
                (sink.canary_places(ELSEWHERE, HERE), (port,), (smtp,), udp, dead),
                (sink.canary_places(ELSEWHERE), (), (), None, None),
                (sink.canary_places(), (), (), None, None),
            )

    scenes = run(scene())

    for places, *expected in scenes:
        assert expected == [places.ports, places.smtp_ports, places.udp_port, places.dead_port]
    assert [(HERE, HERE_6), (HERE,), (HERE_6,), (HERE,), (), ()] == [
        places.addresses for places, *_ in scenes
    ]
    assert "sink.test" == scenes[0][0].name
    assert CanaryPlaces() == scenes[-1][0]


def test_without_a_port_in_common_the_first_address_is_it(run):
    async def scene():
        async with make_canaries(canary_listen=(IPV6, IPV4)) as sink:
            places = sink.canary_places(HERE, HERE_6)
            return places, sink.canary_endpoints[1].port

    places, port = run(scene())

    assert ((HERE,), (port,)) == (places.addresses, places.ports)


def test_an_address_that_a_router_translates_has_what_its_family_has(run):
    async def scene():
        async with make_canaries(canary_addresses=(ELSEWHERE,)) as sink:
            return sink.canary_places(ELSEWHERE), sink.canary_endpoints[0].port

    places, port = run(scene())

    assert ((ELSEWHERE,), (port,)) == (places.addresses, places.ports)


def test_listening_everywhere_is_listening_at_each_address(run):
    async def scene():
        everywhere = (Endpoint(parse_address("0.0.0.0"), 0), Endpoint(parse_address("::"), 0))
        async with make_canaries(canary_listen=everywhere[:1], canary_udp=()) as sink:
            port = sink.canary_endpoints[0].port
            await sink.listen_canaries_at([Endpoint(everywhere[1].address, port)])
            sink.reserve_dead_port(*(one.address for one in everywhere))
            return sink.canary_places(ELSEWHERE, HERE_6), port

    places, port = run(scene())

    assert ((ELSEWHERE, HERE_6), (port,)) == (places.addresses, places.ports)
    assert places.dead_port not in {None, port}


# --- what can't be had -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["canary_listen", "canary_udp", "smtp_also"])
def test_what_cannot_be_had_is_left_out(run, what):
    async def scene():
        async with make_canaries() as sink:
            kinds = {
                "canary_listen": sink.canary_endpoints[0],
                "canary_udp": sink.datagram_endpoints[0],
                "smtp_also": sink.addresses[0],
            }
            taken = kinds[what]
            async with make_canaries(**{what: (taken, IPV4)}) as another:
                return taken, another.left_out, len(another.addresses)

    taken, (why,), addresses = run(scene())

    assert f"can't listen on {taken}: another program listens there" in why
    assert (2 if what == "smtp_also" else 1) == addresses


def test_without_any_canary_there_is_no_sink_but_without_what_is_beside_them_there_is(run):
    async def scene():
        async with make_canaries() as sink:
            (tcp,), (udp,), (smtp,) = sink.canary_endpoints, sink.datagram_endpoints, sink.addresses
            async with make_canaries(canary_udp=(udp,), smtp_also=(smtp,)) as another:
                left_out = another.left_out
            with pytest.raises(ListenError, match=f"{tcp}: another program listens there"):
                async with make_canaries(canary_listen=(tcp,)):
                    pass
            for listen, taken in (
                (sink.listen_canaries_at, tcp),
                (sink.listen_datagrams_at, udp),
                (sink.listen_smtp_also_at, smtp),
            ):
                with pytest.raises(ListenError, match=f"{taken}: another program listens there"):
                    await listen([taken])
            return left_out, len(sink.left_out)

    left_out, more = run(scene())

    assert 2 == len(left_out)
    assert 3 == more


def test_ports_that_could_be_had_are_returned(run):
    async def scene():
        async with make_canaries() as sink:
            (tcp,), (udp,) = sink.canary_endpoints, sink.datagram_endpoints
            got = [
                await sink.listen_canaries_at([tcp, IPV4]),
                await sink.listen_datagrams_at([udp, IPV4]),
                await sink.listen_smtp_also_at([sink.addresses[0], IPV4]),
            ]
            for listen in (sink.listen_canaries_at, sink.listen_datagrams_at, sink.listen_smtp_also_at):
                assert () == await listen([])
            return got, len(sink.left_out), (sink.canary_endpoints, sink.datagram_endpoints, sink.addresses)

    got, left_out, everything = run(scene())

    assert 3 == left_out
    for new, all_of_them in zip(got, everything, strict=True):
        assert new == all_of_them[1:]
