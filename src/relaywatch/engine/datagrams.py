"""One UDP channel with a target: a connected socket, so that the kernel keeps all others away."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import deque
from contextlib import suppress

from relaywatch.model.errors import LocalProtocolError, UnreachableError
from relaywatch.model.evidence import Direction
from relaywatch.model.places import Address, Endpoint

from .failures import datagram_error, words, written
from .owner import Owner

_INBOX_DATAGRAMS = 64
_INBOX_OCTETS = 256 << 10
"""Unread datagrams beyond which what comes is dropped, as the kernel would do."""

_AT_ONCE = 64
"""Datagrams that are read before others have their turn."""

_HEADER_OCTETS = 8
"""The UDP header, which counts too, so that empty datagrams aren't free."""

_MAX_DATAGRAM = 1 << 16

_RECEIVE_ERRORS = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
"""Linux's IP_RECVERR and IPV6_RECVERR: without them, only the gravest ICMP errors are told (ip(7))."""


def open_socket(endpoint: Endpoint, source: Address | None) -> socket.socket:
    """Make a UDP socket that is connected to the endpoint; no packet leaves.

    :raises UnreachableError: if there is no way, or the source isn't ours.
    """
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if sys.platform == "linux":
            sock.setsockopt(*_RECEIVE_ERRORS[family == socket.AF_INET6], 1)
        if source is not None:
            sock.bind((str(source), 0))
        sock.connect((str(endpoint.address), endpoint.port))
    except OSError as failure:
        sock.close()
        raise UnreachableError(words(failure)) from None
    return sock


class DatagramChannel:
    """Takes what the peer sends until somebody reads it, within limits.

    What ICMP says meanwhile is kept until it is asked for, the last word only.
    """

    __slots__ = (
        "_error", "_inbox", "_inbox_octets", "_is_full", "_is_reading", "_loop", "_number", "_owner", "_peer",
        "_socket", "source",
    )  # fmt: skip

    def __init__(self, owner: Owner, sock: socket.socket, number: int) -> None:
        self._owner, self._socket, self._number = owner, sock, number
        self._loop = asyncio.get_running_loop()
        self._peer: tuple[str, int] = sock.getpeername()[:2]
        here = sock.getsockname()
        self.source: str = here[0]
        self._inbox: deque[bytes] = deque()
        self._inbox_octets = 0
        self._is_full = False
        self._error: OSError | None = None
        self._is_reading = True
        self._loop.add_reader(sock, self._readable)
        owner.note(f"datagrams from {written(here)} to {written(self._peer)}", number)

    def take(self) -> bytes | None:
        """Take the next datagram, if there is one."""
        if not self._inbox:
            return None
        datagram = self._inbox.popleft()
        self._inbox_octets -= len(datagram)
        return datagram

    def peek(self) -> bytes:
        """The next datagram, which stays."""
        return self._inbox[0] if self._inbox else b""

    def take_error(self) -> Exception | None:
        """What ICMP has said, once."""
        failure, self._error = self._error, None
        return datagram_error(failure) if failure is not None else None

    def send(self, datagram: bytes) -> None:
        """Send one datagram; what there is no room for is lost, as datagrams are.

        :raises LocalProtocolError: if it is too long for any packet.
        """
        failure = self._try(datagram)
        if failure is None:
            return
        # Mostly it is what ICMP has said of a datagram before, and then this one hasn't gone yet.
        again = self._try(datagram)
        if again is not None and again.errno == errno.EMSGSIZE:
            raise LocalProtocolError(f"a datagram of {len(datagram)} octets is too long")
        self._fail(failure)

    def close(self) -> None:
        """Close the channel, and hear no more of it."""
        self.stop_reading()
        self._socket.close()

    def stop_reading(self) -> None:
        """Leave what else may come to the kernel, which keeps little and drops the rest."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket)

    # --- within ----------------------------------------------------------------------------------

    def _try(self, datagram: bytes) -> OSError | None:
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            self._owner.note("there was no room for the datagram", self._number)
        except OSError as failure:
            return failure
        return None

    def _readable(self) -> None:
        for number in range(_AT_ONCE):
            if not self._is_reading:
                break
            try:
                datagram, sender = self._socket.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                if number == 0:
                    self._watch_anew()
                break
            except OSError as failure:
                self._fail(failure)
                self._watch_anew()
                break
            if (
                sender[:2] == self._peer
            ):  # else it came before the socket was connected, which is its second step
                self._receive(datagram)
        self._owner.changed()

    def _receive(self, datagram: bytes) -> None:
        self._owner.count(len(datagram) + _HEADER_OCTETS)
        if len(self._inbox) >= _INBOX_DATAGRAMS or self._inbox_octets + len(datagram) > _INBOX_OCTETS:
            if not self._is_full:
                self._owner.note(
                    "datagrams that nobody has read are too many: more are dropped", self._number
                )
            self._is_full = True
            return
        self._is_full = False
        self._inbox.append(datagram)
        self._inbox_octets += len(datagram)
        self._owner.record(Direction.SERVER, datagram, self._number, is_whole=True)

    def _fail(self, failure: OSError) -> None:
        self._owner.count(_HEADER_OCTETS)
        self._owner.note(str(datagram_error(failure)), self._number)
        self._error = failure
        if sys.platform == "linux":
            with suppress(OSError):
                while True:  # the kernel holds no more of them than fit into its buffer
                    self._socket.recvmsg(0, 0, socket.MSG_ERRQUEUE)

    def _watch_anew(self) -> None:
        """Libuv stops watching a socket that has told an error."""
        if self._is_reading:
            self._loop.remove_reader(self._socket)
            self._loop.add_reader(self._socket, self._readable)
