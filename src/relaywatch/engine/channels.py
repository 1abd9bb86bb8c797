"""How the operations on an attempt's channels are carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from relaywatch.model import errors
from relaywatch.model.evidence import Direction
from relaywatch.model.places import Endpoint
from relaywatch.script import ops

from .announced import permitted
from .connection import Connection
from .datagrams import DatagramChannel
from .dialing import Dialer
from .limits import Limits
from .owner import Owner
from .surroundings import Surroundings
from .waiting import NEVER, PENDING, Pending, Wait


class Channels:
    """The channels of one attempt by their numbers; ``owner`` hears what they have to tell.

    ``source`` is the address of ours that the target has seen; ``starters`` tells what carries out which operation.
    """

    __slots__ = ("_dialer", "_endpoint", "_limits", "_open", "_owner", "_surroundings", "source")

    def __init__(
        self, owner: Owner, endpoint: Endpoint, surroundings: Surroundings, dialer: Dialer, limits: Limits
    ) -> None:
        self._owner, self._endpoint, self._surroundings = owner, endpoint, surroundings
        self._dialer, self._limits = dialer, limits
        self._open: dict[int, Connection | DatagramChannel] = {}
        self.source = ""

    def stop_reading(self) -> None:
        """Leave what else may come to the peers' own memory."""
        for channel in self._open.values():
            channel.stop_reading()

    def close_all(self) -> None:
        """Close what is open."""
        for number in tuple(self._open):
            self._shut(number)

    # --- opening and closing ---------------------------------------------------------------------

    def _connect(self, op: ops.Connect) -> Wait | None:
        self._shut(op.channel)
        if len(self._open) >= self._limits.max_channels:
            raise errors.LimitError(f"more than {self._limits.max_channels} channels")
        endpoint = self._endpoint if op.at is None else self._permitted(op.at)
        delay = self._surroundings.admit(endpoint.address)
        if delay > 0:
            return Wait(op, delay, late=partial(self._dial, endpoint), is_idle=True)
        return self._dial(endpoint, op)

    def _permitted(self, announced: Endpoint) -> Endpoint:
        try:
            return permitted(announced, self._endpoint.address, self._surroundings)
        except errors.NotPermittedError as refusal:
            self._owner.note(str(refusal))
            raise

    def _dial(self, endpoint: Endpoint, op: ops.Connect) -> Wait | None:
        if op.carrier is ops.Carrier.UDP:
            datagrams = self._dialer.open_datagrams(endpoint, self._owner, op.channel, op.source)
            self._open[op.channel] = datagrams
            self._keep_source(op, datagrams)
            return None
        self._open[op.channel] = self._dialer.dial(endpoint, self._owner, op.channel, op.source)
        return Wait(op, self._connect_seconds(op), self._connected, self._not_connected)

    def _connected(self, op: ops.Connect) -> Pending | None:
        connection = self._sound_connection(op.channel)
        if not connection.is_connected:
            return PENDING
        self._keep_source(op, connection)
        return None

    def _not_connected(self, op: ops.Connect) -> None:
        text = f"nothing answered in {self._connect_seconds(op):g} s"
        self._owner.note(text, op.channel)
        self._shut(op.channel)
        raise errors.ConnectTimeoutError(text)

    def _connect_seconds(self, op: ops.Connect) -> float:
        return self._limits.connect_seconds if op.within is None else op.within

    def _keep_source(self, op: ops.Connect, channel: Connection | DatagramChannel) -> None:
        if op.at is None and op.source is None:
            self.source = channel.source or self.source

    def _close(self, op: ops.Close) -> None:
        self._shut(op.channel)

    def _shut(self, number: int) -> None:
        channel = self._open.pop(number, None)
        if channel is None:
            return
        if isinstance(channel, Connection) and channel.is_connected:
            self._owner.note("closed by us", number)
        channel.close()

    # --- TLS -------------------------------------------------------------------------------------

    def _start_tls(self, op: ops.StartTLS) -> Wait:
        self._sound_connection(op.channel).start_tls(op.server_name, op.alpn)
        self._sound_connection(op.channel)
        return Wait(op, self._limits.tls_seconds, self._has_tls, self._no_tls)

    def _has_tls(self, op: ops.StartTLS) -> ops.TLSSession | Pending:
        connection = self._connection(op.channel)
        if connection.session is not None:
            return connection.session
        if connection.error is not None:
            raise _anew(connection.error)
        return PENDING

    def _no_tls(self, op: ops.StartTLS) -> None:
        text = f"no end of the handshake in {self._limits.tls_seconds:g} s"
        self._owner.note(text, op.channel)
        raise errors.TLSFailedError(text)

    # --- octets ----------------------------------------------------------------------------------

    def _send(self, op: ops.Send) -> Wait | None:
        channel = self._open.get(op.channel)
        if isinstance(channel, DatagramChannel):
            self._owner.record(Direction.CLIENT, op.data, op.channel, is_whole=True)
            channel.send(op.data)
            return None
        connection = self._sound_connection(op.channel)
        self._owner.record(Direction.CLIENT, op.data, op.channel)
        connection.send(op.data)
        if connection.error is not None:
            raise _anew(connection.error)
        if connection.is_drained:
            return None
        return Wait(op, self._limits.send_seconds, self._sent, self._not_sent)

    def _sent(self, op: ops.Send) -> Pending | None:
        return None if self._sound_connection(op.channel).is_drained else PENDING

    def _not_sent(self, op: ops.Send) -> None:
        raise self._timed_out(op, f"the peer took no more octets for {self._limits.send_seconds:g} s")

    def _receive(self, op: ops.Receive) -> bytes | Wait:
        answer = self._received(op)
        if answer is PENDING:
            awaits_greeting = not self._connection(op.channel).has_spoken
            return Wait(
                op, self._patience(op), self._received, self._not_received, is_for_greeting=awaits_greeting
            )
        return answer

    def _received(self, op: ops.Receive) -> bytes | Pending:
        connection = self._connection(op.channel)
        if connection.inbox:
            return connection.take(op.max_bytes)
        if connection.at_eof:
            return b""
        if connection.error is not None:
            raise _anew(connection.error)
        return PENDING

    def _not_received(self, op: ops.Receive) -> None:
        raise self._timed_out(op, f"the peer was silent for {self._patience(op):g} s")

    def _patience(self, op: ops.Receive) -> float:
        return self._limits.receive_seconds if op.within is None else op.within

    def _receive_datagram(self, op: ops.ReceiveDatagram) -> bytes | Wait:
        answer = self._datagram(op)
        return Wait(op, op.within, self._datagram, _nothing) if answer is PENDING else answer

    def _datagram(self, op: ops.ReceiveDatagram) -> bytes | Pending:
        channel = self._open.get(op.channel)
        if not isinstance(channel, DatagramChannel):
            raise errors.LocalProtocolError(
                "there are no datagrams in a stream" if channel else "there is no connection"
            )
        datagram = channel.take()
        if datagram is not None:
            return datagram
        failure = channel.take_error()
        if failure is not None:
            raise failure
        return PENDING

    def _peek(self, op: ops.Peek) -> bytes | Wait:
        if op.channel not in self._open or self._unread(op):
            return self._unread(op)
        # What the kernel holds already reaches us in the loop's next turn, which the second call follows.
        turns = _Turns(self._owner)
        return Wait(op, NEVER, lambda op: self._unread(op) if turns.are_over else PENDING)

    def _unread(self, op: ops.Peek) -> bytes:
        channel = self._open.get(op.channel)
        return channel.peek() if channel is not None else b""

    # --- within ----------------------------------------------------------------------------------

    def _connection(self, number: int) -> Connection:
        channel = self._open.get(number)
        if not isinstance(channel, Connection):
            raise errors.LocalProtocolError(
                "there is no stream in datagrams" if channel else "there is no connection"
            )
        return channel

    def _sound_connection(self, number: int) -> Connection:
        connection = self._connection(number)
        if connection.error is not None:
            raise _anew(connection.error)
        return connection

    def _timed_out(self, op: ops.Send | ops.Receive, text: str) -> errors.ReadTimeoutError:
        self._owner.note(text, op.channel)
        return errors.ReadTimeoutError(text)

    starters: ClassVar[dict[type[Any], Callable[[Any, Any], Any]]] = {
        ops.Connect: _connect,
        ops.Send: _send,
        ops.Receive: _receive,
        ops.ReceiveDatagram: _receive_datagram,
        ops.Peek: _peek,
        ops.StartTLS: _start_tls,
        ops.Close: _close,
    }


class _Turns:
    """Two turns of the event loop, after which the owner hears that something has changed."""

    def __init__(self, owner: Owner) -> None:
        self.are_over = False
        self._owner = owner
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._end)

    def _end(self) -> None:
        self.are_over = True
        self._owner.changed()


def _anew(error: Exception) -> Exception:
    """The same error: one that is raised twice drags its first traceback along."""
    return type(error)(*error.args)


def _nothing(_op: ops.ReceiveDatagram) -> None:
    return None
