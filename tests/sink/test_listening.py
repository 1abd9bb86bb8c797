import asyncio
import errno
import socket
from ipaddress import ip_address

import pytest
from tests.sink.loopback import IPV4, IPV6

from relaywatch.model.places import Endpoint
from relaywatch.sink.errors import ListenError
from relaywatch.sink.listening import (
    datagram_endpoints,
    endpoints,
    listen,
    listen_where_possible,
    take_both_where_possible,
)

ANY_IPV6 = Endpoint(ip_address("::"), 0)


def serve(*where):
    """Listen, and give the endpoints after closing."""

    async def scene():
        servers = await listen(where, asyncio.Protocol)
        places = endpoints(servers)
        for server in servers:
            server.close()
        return places

    return scene()


@pytest.fixture
def no_ipv6(monkeypatch):
    """A host without IPv6, as far as we are told."""
    real = socket.create_server

    def create_server(address, *, family, **options):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", create_server)


def test_any_ipv6_address_is_left_out_where_there_is_no_ipv6(run, no_ipv6, caplog):
    (place,) = run(serve(IPV4, ANY_IPV6))

    assert IPV4.address == place.address
    assert "this host has no IPv6" in caplog.text


@pytest.mark.parametrize("where", [(ANY_IPV6,), (IPV4, IPV6)])
def test_what_was_named_or_is_alone_is_not_left_out(run, no_ipv6, where):
    with pytest.raises(ListenError, match="no such address family"):
        run(serve(*where))


def test_each_family_listens_for_itself(run):
    async def scene():
        (server,) = await listen([ANY_IPV6], asyncio.Protocol)
        (place,) = endpoints([server])
        try:
            await asyncio.open_connection("127.0.0.1", place.port)
        finally:
            server.close()

    with pytest.raises(ConnectionRefusedError):
        run(scene())


def test_if_one_cannot_be_had_none_stays_open(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = Endpoint(ip_address("127.0.0.2"), port)
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: another program listens there"):
            run(serve(free, Endpoint(ip_address("127.0.0.1"), port)))

        (place,) = run(serve(free))

    assert free == place


def test_an_ordinary_user_is_told_about_privileged_ports(run, monkeypatch):
    def create_server(address, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", create_server)

    with pytest.raises(
        ListenError, match=r"127\.0\.0\.1:25: ports below 1024 need root or CAP_NET_BIND_SERVICE"
    ):
        run(serve(Endpoint(ip_address("127.0.0.1"), 25)))


def test_any_ipv6_address_is_no_failure_where_there_is_no_ipv6(run, no_ipv6):
    async def scene():
        servers, failures = await listen_where_possible([IPV4, ANY_IPV6], asyncio.Protocol)
        nothing, (failure,) = await listen_where_possible([ANY_IPV6], asyncio.Protocol)
        for server in servers:
            server.close()
        return len(servers), failures, nothing, str(failure)

    opened, failures, nothing, failure = run(scene())

    assert (1, [], []) == (opened, failures, nothing)
    assert "no such address family" in failure


def test_a_port_of_the_kernels_choice_is_free_for_datagrams_and_connections_alike(run, monkeypatch):
    """The kernel chooses by datagrams alone; whoever has the number over TCP makes it choose again."""
    real, refused = socket.create_server, []

    def create_server(address, **options):
        if len(refused) < 3:
            refused.append(address[1])
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(address, **options)

    monkeypatch.setattr(socket, "create_server", create_server)

    async def scene():
        ports, servers, failures = await take_both_where_possible(
            [IPV4], asyncio.DatagramProtocol, asyncio.Protocol
        )
        places = endpoints(servers), datagram_endpoints(ports)
        for one in (*ports, *servers):
            one.close()
        return places, failures

    (connections, datagrams), failures = run(scene())

    assert [] == failures
    assert 1 == len(connections)
    assert connections == datagrams
    assert 3 == len(refused)


def test_a_port_that_is_never_free_for_connections_takes_datagrams_alone(run, monkeypatch):
    def create_server(*_arguments, **_options):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket, "create_server", create_server)

    async def scene():
        ports, servers, failures = await take_both_where_possible(
            [IPV4], asyncio.DatagramProtocol, asyncio.Protocol
        )
        for port in ports:
            port.close()
        return len(ports), servers, failures

    taken, servers, (failure,) = run(scene())

    assert (1, []) == (taken, servers)
    assert "another program listens there" in str(failure)
