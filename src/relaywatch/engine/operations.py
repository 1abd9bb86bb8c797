"""How each operation of a script is carried out, on one connection at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Final

from relaywatch.model import errors
from relaywatch.model.evidence import Arrival, Direction, Observation
from relaywatch.model.places import Endpoint
from relaywatch.script import ops

from .connection import Connection, Dialer, Owner
from .limits import Limits
from .surroundings import Surroundings


class _Pending(Enum):
    PENDING = auto()


PENDING: Final = _Pending.PENDING
"""Not answered yet."""

NEVER = float("inf")


def _not_yet(_op: ops.Op[Any]) -> _Pending:
    return PENDING


@dataclass(slots=True)
class Wait:
    """An operation that can't be answered at once.

    ``poll`` is asked for the answer whenever something has changed, ``late`` when ``seconds`` are over;
    either gives the answer, `PENDING`, another `Wait`, or raises the error that is the answer.
    While ``is_idle``, the attempt's own time stands still; what it waits for a greeting is given back to it
    afterwards, within limits.
    """

    op: Any
    seconds: float
    poll: Callable[[Any], Any] = _not_yet
    late: Callable[[Any], Any] = _not_yet
    is_idle: bool = False
    is_for_greeting: bool = False


class Operations:
    """Carries out the operations of one attempt; ``owner`` hears what the connection has to tell."""

    __slots__ = (
        "_arrival", "_connection", "_dialer", "_endpoint", "_limits", "_owner", "_surroundings",
        "observations", "source",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, endpoint: Endpoint, surroundings: Surroundings, dialer: Dialer, limits: Limits
    ) -> None:
        self._owner, self._endpoint, self._surroundings = owner, endpoint, surroundings
        self._dialer, self._limits = dialer, limits
        self._connection: Connection | None = None
        self._arrival: asyncio.Future[Arrival | None] | None = None
        self.observations: list[Observation] = []
        self.source = ""

    def start(self, op: ops.Op[Any]) -> Any:
        """Carry out an operation: gives its answer, or the `Wait` for it.

        :raises RelaywatchError: which is the answer too.
        :raises TypeError: if it is no operation but something foreign that the script awaited.
        """
        starter = self._starters.get(type(op))
        if starter is None:
            raise TypeError(f"the script awaited {op!r}, which is no operation")
        return starter(self, op)

    def stop_waiting(self) -> None:
        """Give up on an arrival that is no longer waited for."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def stop_reading(self) -> None:
        """Leave what else may come to the peer's own memory."""
        if self._connection is not None:
            self._connection.stop_reading()

    def close(self, _op: ops.Close | None = None) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            if self._connection.is_connected:
                self._owner.note("closed by us")
            self._connection.close()
            self._connection = None

    # --- opening ---------------------------------------------------------------------------------

    def _connect(self, op: ops.Connect) -> Wait:
        self.close()
        delay = self._surroundings.admit(self._endpoint.address)
        if delay > 0:
            return Wait(op, delay, late=self._dial, is_idle=True)
        return self._dial(op)

    def _dial(self, op: ops.Connect) -> Wait:
        self._connection = self._dialer.dial(self._endpoint, self._owner)
        return Wait(op, self._limits.connect_seconds, self._connected, self._not_connected)

    def _connected(self, _op: ops.Connect) -> _Pending | None:
        connection = self._sound_connection()
        if not connection.is_connected:
            return PENDING
        self.source = connection.source or self.source
        return None

    def _not_connected(self, _op: ops.Connect) -> None:
        text = f"nothing answered in {self._limits.connect_seconds:g} s"
        self._owner.note(text)
        self.close()
        raise errors.ConnectTimeoutError(text)

    def _start_tls(self, op: ops.StartTLS) -> Wait:
        self._sound_connection().start_tls(op.server_name)
        self._sound_connection()
        return Wait(op, self._limits.tls_seconds, self._has_tls, self._no_tls)

    def _has_tls(self, _op: ops.StartTLS) -> ops.TLSSession | _Pending:
        session = self._open_connection().session
        if session is None:
            self._sound_connection()
            return PENDING
        return session

    def _no_tls(self, _op: ops.StartTLS) -> None:
        text = f"no end of the handshake in {self._limits.tls_seconds:g} s"
        self._owner.note(text)
        raise errors.TLSFailedError(text)

    # --- octets ----------------------------------------------------------------------------------

    def _send(self, op: ops.Send) -> Wait | None:
        connection = self._sound_connection()
        self._owner.record(Direction.CLIENT, op.data)
        connection.send(op.data)
        if self._sent(op) is PENDING:
            return Wait(op, self._limits.send_seconds, self._sent, self._not_sent)
        return None

    def _sent(self, _op: ops.Send) -> _Pending | None:
        return None if self._sound_connection().is_drained else PENDING

    def _not_sent(self, _op: ops.Send) -> None:
        raise self._timed_out(f"the peer took no more octets for {self._limits.send_seconds:g} s")

    def _receive(self, op: ops.Receive) -> bytes | Wait:
        answer = self._received(op)
        if answer is PENDING:
            awaits_greeting = not self._open_connection().has_spoken
            return Wait(
                op, self._patience(op), self._received, self._not_received, is_for_greeting=awaits_greeting
            )
        return answer

    def _received(self, op: ops.Receive) -> bytes | _Pending:
        connection = self._open_connection()
        if connection.inbox:
            return connection.take(op.max_bytes)
        if connection.at_eof:
            return b""
        self._sound_connection()
        return PENDING

    def _not_received(self, op: ops.Receive) -> None:
        raise self._timed_out(f"the peer was silent for {self._patience(op):g} s")

    def _patience(self, op: ops.Receive) -> float:
        return self._limits.receive_seconds if op.within is None else op.within

    def _peek(self, op: ops.Peek) -> bytes | Wait:
        if self._connection is None or self._connection.inbox:
            return self._unread()
        # What the kernel holds already reaches us in the loop's next turn, which the second call follows.
        turns = _Turns(self._owner)
        return Wait(op, NEVER, lambda _op: self._unread() if turns.are_over else PENDING)

    def _unread(self) -> bytes:
        return bytes(self._connection.inbox) if self._connection is not None else b""

    # --- the run ---------------------------------------------------------------------------------

    def _pause(self, op: ops.Pause) -> Wait | None:
        if op.seconds <= 0:
            return None
        return Wait(op, op.seconds, late=_nothing, is_idle=True)

    def _await_arrival(self, op: ops.AwaitArrival) -> Arrival | Wait | None:
        arrival = self._surroundings.await_arrival(op.tokens)
        if arrival.done():
            return arrival.result()
        self._arrival = arrival
        arrival.add_done_callback(lambda _arrival: self._owner.changed())
        return Wait(op, NEVER, lambda _op: _outcome(arrival), is_idle=True)

    def _may_send(self, _op: ops.MaySend) -> bool:
        return self._surroundings.may_send()

    def _report(self, op: ops.Report) -> None:
        self.observations.append(op.observation)
        self._surroundings.observed(op.observation)

    # --- within ----------------------------------------------------------------------------------

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise errors.LocalProtocolError("there is no connection")
        return self._connection

    def _sound_connection(self) -> Connection:
        connection = self._open_connection()
        if connection.error is not None:
            # Anew, since an error that is raised twice drags its first traceback along.
            raise type(connection.error)(*connection.error.args)
        return connection

    def _timed_out(self, text: str) -> errors.ReadTimeoutError:
        self._owner.note(text)
        return errors.ReadTimeoutError(text)

    _starters: ClassVar[dict[type[Any], Callable[[Operations, Any], Any]]] = {
        ops.Connect: _connect,
        ops.Send: _send,
        ops.Receive: _receive,
        ops.Peek: _peek,
        ops.StartTLS: _start_tls,
        ops.Close: close,
        ops.Pause: _pause,
        ops.AwaitArrival: _await_arrival,
        ops.MaySend: _may_send,
        ops.Report: _report,
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


def _nothing(_op: ops.Pause) -> None:
    return None


def _outcome(arrival: asyncio.Future[Arrival | None]) -> Arrival | _Pending | None:
    if not arrival.done():
        return PENDING
    return None if arrival.cancelled() else arrival.result()
