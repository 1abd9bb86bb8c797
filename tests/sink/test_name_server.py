"""The sink's DNS server over real sockets."""

import asyncio
import errno
import os
import socket

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest
from tests.sink.canaries import connect, make_canaries
from tests.sink.loopback import ANOTHER_KEY, IPV4, IPV6, token, until

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.sink import doorkeeper as doorkeeper_module
from relaywatch.sink.settings import Limits

ADDRESSES = (parse_address("192.0.2.1"),)


def make_server(arrivals=None, **changes):
    """A sink that answers for c.example."""
    options = {"dns_listen": (IPV4,), "canary_zone": "c.example", "canary_addresses": ADDRESSES}
    return make_canaries(arrivals, **options | changes)


def query(name, kind="A"):
    return dns.message.make_query(name, kind)


async def ask(sink, name, transport=dns.asyncquery.udp, within=5):
    (where,) = sink.name_server_endpoints
    response = await transport(query(name), str(where.address), port=where.port, timeout=within)
    return [str(rdata) for rrset in response.answer for rdata in rrset], response.rcode()


@pytest.mark.parametrize("endpoint", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("transport", [dns.asyncquery.udp, dns.asyncquery.tcp], ids=["udp", "tcp"])
def test_a_tokens_name_leads_here_and_is_noted(run, tmp_path, endpoint, transport):
    arrivals = []

    async def scene():
        async with make_server(arrivals, dns_listen=(endpoint,), journal=tmp_path) as sink:
            mixed = token().upper()
            answers = [await ask(sink, f"{mixed}.C.example", transport)]
            answers += [
                await ask(sink, f"{name}.c.example", transport) for name in ("www", token(key=ANOTHER_KEY))
            ]
            answers += [await ask(sink, "sink.example", transport)]
            return answers, sink.name_server_endpoints[0].port

    answers, port = run(scene())

    here = (["192.0.2.1"], dns.rcode.NOERROR)
    assert [here, here, here, ([], dns.rcode.REFUSED)] == answers
    (arrival,) = arrivals
    assert (token(), ArrivalKind.DNS, port) == (arrival.token, arrival.kind, arrival.port)
    assert endpoint.address == arrival.came_from.address


def test_a_resolver_that_repeats_itself_hides_no_connection(run):
    arrivals = []

    async def scene():
        async with make_server(arrivals, limits=Limits(arrivals_per_token=2)) as sink:
            for _ in range(4):
                await ask(sink, f"{token()}.c.example")
            _, writer = await connect(sink.canary_endpoints[0])
            writer.write(f"relaywatch {token()}\r\n".encode())
            await until(lambda: len(arrivals) == 3)
            writer.close()

    run(scene())
    assert ["dns", "dns", "tcp"] == [arrival.kind for arrival in arrivals]


def test_what_cannot_be_written_down_is_not_answered(run, tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene():
        async with make_server(journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", full_disk)
            with pytest.raises(dns.exception.Timeout):
                await ask(sink, f"{token()}.c.example", within=0.3)
            with pytest.raises(EOFError):
                await ask(sink, f"{token(1)}.c.example", dns.asyncquery.tcp)
            return await ask(sink, "www.c.example")

    assert ["192.0.2.1"] == run(scene())[0]


@pytest.mark.parametrize(
    "octets",
    [b"\0" * 2000, b"x", dns.message.make_response(query("x.c.example")).to_wire()],
    ids=["long", "short", "response"],
)
def test_a_datagram_that_is_no_query_gets_no_answer(run, octets):
    async def scene():
        async with make_server() as sink:
            (where,) = sink.name_server_endpoints
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.setblocking(False)
                asker.connect((str(where.address), where.port))
                asker.send(octets)
                await ask(sink, "www.c.example")  # answered after it
                with pytest.raises(BlockingIOError):
                    asker.recv(1)

    run(scene())


# --- TCP ---------------------------------------------------------------------------------------


def framed(name):
    wire = query(name).to_wire()
    return len(wire).to_bytes(2, "big") + wire


async def read_answer(reader):
    length = int.from_bytes(await reader.readexactly(2), "big")
    return dns.message.from_wire(await reader.readexactly(length))


def test_several_queries_on_a_connection_are_answered_in_order(run, tmp_path):
    names = [f"{token(number)}.c.example" for number in range(5)]

    async def scene():
        async with make_server(journal=tmp_path) as sink:
            reader, writer = await connect(sink.name_server_endpoints[0])
            said = b"".join(map(framed, names))
            writer.write(said[:50])
            await asyncio.sleep(0.05)
            writer.write(said[50:])
            writer.write_eof()
            answers = [await read_answer(reader) for _ in names]
            assert b"" == await reader.read()
            writer.close()
            await until(lambda: not sink.counters.open_connections)
            return [answer.question[0].name.to_text(omit_final_dot=True) for answer in answers]

    assert names == run(scene())


@pytest.mark.parametrize(
    "said",
    [
        b"\0\0",
        b"\xff\xff" + b"x" * 100,
        b"\0\4abcd",
        b"\0",
        framed("a.c.example")[:-1],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["empty", "long", "rubbish", "half a length", "half a query", "http"],
)
def test_what_is_no_query_is_hung_up_on(run, monkeypatch, said):
    monkeypatch.setattr(doorkeeper_module, "_SWEEP", 0.05)

    async def scene():
        async with make_server(limits=Limits(canary_idle=0.3)) as sink:
            reader, writer = await connect(sink.name_server_endpoints[0])
            writer.write(said)
            try:
                heard = await reader.read()
            except ConnectionError:
                heard = b""
            writer.close()
            await until(lambda: not sink.counters.open_connections)
            return heard

    assert b"" == run(scene())


def test_a_connection_has_so_many_queries(run, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.name_server._QUERIES", 3)

    async def scene():
        async with make_server() as sink:
            reader, writer = await connect(sink.name_server_endpoints[0])
            writer.write(framed("a.c.example") * 5)
            answers = [await read_answer(reader) for _ in range(3)]
            rest = await reader.read()
            writer.close()
            return len(answers), rest

    assert (3, b"") == run(scene())


# --- setting up --------------------------------------------------------------------------------


def test_a_zone_can_be_answered_for_later(run):
    async def scene():
        async with make_canaries() as sink:
            assert () == await sink.answer_names_at([], zone="c.example", addresses=ADDRESSES)
            assert sink.canary_places(IPV4.address).zone is None
            await sink.answer_names_at([IPV4], zone="c.example", addresses=ADDRESSES)
            return await ask(sink, "x.c.example"), sink.canary_places(IPV4.address).zone

    assert ((["192.0.2.1"], dns.rcode.NOERROR), "c.example") == run(scene())


def test_a_zone_that_is_no_domain_is_wrong_usage(run):
    async def scene():
        async with make_server(canary_zone="a..b"):
            pass

    with pytest.raises(UsageError, match="is no domain"):
        run(scene())


def test_a_port_that_is_taken_for_tcp_alone_is_left_out(run):
    async def scene():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            where = Endpoint(IPV4.address, taken.getsockname()[1])
            another = Endpoint(parse_address("127.0.0.2"), where.port)
            async with make_server(dns_listen=(where, another)) as sink:
                return sink.left_out, len(sink.name_server_endpoints)

    (why,), endpoints = run(scene())

    assert "another program listens there" in why
    assert 2 == endpoints
