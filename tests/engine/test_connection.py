"""What the driver's tests can't bring about by being a bad server."""

import asyncio
import errno
import socket
from ipaddress import ip_address

import pytest

from relaywatch.engine.connection import Connection
from relaywatch.engine.dialing import Dialer
from relaywatch.engine.failures import connect_error
from relaywatch.model import errors

from .hostile import reset, serving


class Listener:
    """An owner that keeps what it hears."""

    def __init__(self):
        self.notes = []

    def count(self, octets):
        self.notes.append(octets)

    def record(self, direction, data, channel=0, *, is_whole=False):
        self.notes.append(data)

    def note(self, text, channel=None):
        self.notes.append(text)

    def changed(self):
        self.notes.append("changed")


def connection_of(owner):
    return Connection(owner, memoryview(bytearray(1000)))


def test_a_connection_to_itself_is_nobody(run):
    owner = Listener()

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())  # TCP's simultaneous open: it meets itself
        sock.setblocking(False)
        connection = connection_of(owner)
        connection.follow(loop.create_task(loop.create_connection(lambda: connection, sock=sock)))
        await asyncio.sleep(0.02)
        sock.detach()  # both loops lose sight of a socket of others that they close at once
        return connection

    connection = run(main())
    assert isinstance(connection.error, errors.ConnectRefusedError)
    assert ["nobody listens there", "changed"] == owner.notes


@pytest.mark.parametrize("sources", [[], [ip_address("127.0.0.9")]])
@pytest.mark.parametrize("turns", range(8))
def test_a_connection_that_is_given_up_at_any_moment_stays_silent_and_leaves_nothing(run, sources, turns):
    async def main(endpoint):
        owner = Listener()
        dialer = Dialer(asyncio.get_running_loop(), sources)
        connection = dialer.dial(endpoint, owner)
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.close()
        told = len(owner.notes)
        await asyncio.sleep(0.02)
        assert told == len(owner.notes)

    with serving(lambda peer, over: peer.sendall(b"220 hello\r\n")) as endpoint:
        run(main(endpoint))


@pytest.mark.parametrize("sources", [[], [ip_address("127.0.0.9")]])
@pytest.mark.parametrize("talks", [True, False])
def test_a_reset_straight_after_the_handshake_never_confuses(run, talks, sources):
    def behave(peer, over):
        if talks:
            peer.sendall(b"421 busy\r\n")
        reset(peer)

    async def main(endpoint):
        ends = set()
        dialer = Dialer(asyncio.get_running_loop(), sources)
        for _ in range(30):
            connection = dialer.dial(endpoint, Listener())
            await asyncio.sleep(0.003)
            ends.add(type(connection.error))
            connection.close()
        return ends

    with serving(behave) as endpoint:
        assert run(main(endpoint)) <= {errors.PeerClosedError, type(None)}


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), errors.ConnectRefusedError("nobody listens there")),
        (TimeoutError(errno.ETIMEDOUT, "x"), errors.ConnectTimeoutError("nothing answered")),
        (
            ConnectionResetError(errno.ECONNRESET, "x"),
            errors.PeerClosedError("the peer reset the connection (ECONNRESET)"),
        ),
        (OSError(errno.EHOSTUNREACH, "x"), errors.UnreachableError("EHOSTUNREACH")),
        (OSError(errno.ENETUNREACH, "x"), errors.UnreachableError("ENETUNREACH")),
        (PermissionError(errno.EPERM, "x"), errors.UnreachableError("EPERM")),
        (OSError("lost"), errors.UnreachableError("lost")),
        (OSError(), errors.UnreachableError("OSError")),
        (OSError(9999, "x"), errors.UnreachableError("[Errno 9999] x")),
        (ValueError("x"), RuntimeError("could not connect: ValueError('x')")),
    ],
)
def test_each_failure_to_connect_has_its_error(failure, error):
    found = connect_error(failure)

    assert (type(error), error.args) == (type(found), found.args)
