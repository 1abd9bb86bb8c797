"""Runs a script against a server that is a function: for dialogues too long to be written out.

`play` is the driver of both kinds of partner, written and scripted: it carries out each operation at
once, with neither sockets nor a clock, and holds the script to what the engine holds it to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RelaywatchError
from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.tokens import Token
from relaywatch.script import ops
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.ops import TLSSession

MAX_OPERATIONS = 10_000
Script = Callable[[Link, Brief], Coroutine[ops.Op[Any], Any, None]]
Respond = Callable[[str], str | None]
LAST_IN_GROUP = ("EHLO", "HELO", "DATA", "STARTTLS", "QUIT", "NOOP", "HELP", "VRFY", "EXPN")
"""Commands after which nothing may be sent until they are answered (RFC 2920 section 3.1)."""


class Partner(Protocol):
    """The other side of a script."""

    def connect(self) -> None: ...
    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def peek(self) -> bytes: ...
    def start_tls(self, server_name: str | None) -> TLSSession: ...
    def close(self) -> None: ...
    def pause(self, seconds: float) -> None: ...
    def may_send(self) -> bool: ...
    def await_arrival(self, tokens: tuple[Token, ...]) -> Arrival | None: ...


def play(
    script: Script, brief: Brief, partner: Partner, *, chop: Iterator[int] | None = None
) -> tuple[list[Observation], RelaywatchError | None]:
    """Run the script to its end: what it reported, and the error that ended it, if one did.

    ``chop`` gives the sizes of the pieces in which the server's octets come.
    """
    coroutine = script(Link(), brief)
    try:
        return _drive(coroutine, _Stage(partner, chop))
    finally:
        coroutine.close()


def _drive(
    coroutine: Coroutine[ops.Op[Any], Any, None], stage: _Stage
) -> tuple[list[Observation], RelaywatchError | None]:
    answer: Any = None
    error: RelaywatchError | None = None
    count = 0
    while count <= MAX_OPERATIONS:
        try:
            op = coroutine.throw(error) if error is not None else coroutine.send(answer)
        except StopIteration:
            return stage.observations, None
        except RelaywatchError as failure:
            return stage.observations, failure
        answer = error = None
        count += not isinstance(op, ops.Receive)  # of which chopping makes as many as there are octets
        try:
            answer = stage.carry_out(op)
        except RelaywatchError as refusal:
            error = refusal
    raise AssertionError(f"more than {MAX_OPERATIONS} operations")


class _Stage:
    """Carries out operations; octets that were chopped off wait here."""

    def __init__(self, partner: Partner, chop: Iterator[int] | None) -> None:
        self._partner = partner
        self._chop = chop
        self._waiting = b""
        self._is_connected = False
        self.observations: list[Observation] = []

    def carry_out(self, op: ops.Op[Any]) -> Any:  # noqa: C901, one case an operation
        match op:
            case ops.Connect():
                self._close()
                self._partner.connect()
                self._is_connected = True
            case ops.Send(data):
                self._needs_connection()
                self._partner.send(data)
            case ops.Receive(max_bytes, within):
                assert within is None or within > 0
                self._needs_connection()
                return self._receive(max_bytes)
            case ops.Peek():
                return self._waiting + self._partner.peek()
            case ops.StartTLS(server_name):
                self._needs_connection()
                return self._start_tls(server_name)
            case ops.Close():
                self._close()
            case ops.Report(observation):
                self.observations.append(observation)
            case ops.Pause(seconds):
                self._partner.pause(seconds)
            case ops.MaySend():
                return self._partner.may_send()
            case ops.AwaitArrival(tokens):
                return self._partner.await_arrival(tokens)
            case _:
                raise AssertionError(f"no operation: {op!r}")
        return None

    def _receive(self, max_bytes: int) -> bytes:
        self._waiting = self._waiting or self._partner.receive()
        size = max_bytes if self._chop is None else min(max_bytes, next(self._chop))
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        return piece

    def _start_tls(self, server_name: str | None) -> TLSSession:
        dropped, self._waiting = len(self._waiting), b""
        session = self._partner.start_tls(server_name)
        return TLSSession(
            version=session.version,
            cipher=session.cipher,
            certificate=session.certificate,
            dropped=session.dropped + dropped,
        )

    def _close(self) -> None:
        # In whole pieces the rest lies in the link already, where nobody sees it.
        assert not self._waiting or self._waiting.startswith(b"221"), f"hung up before {self._waiting!r}"
        self._waiting = b""
        if self._is_connected:
            self._is_connected = False
            self._partner.close()

    def _needs_connection(self) -> None:
        if not self._is_connected:
            raise PeerClosedError("there is no connection")


def verify_message(data: bytes, *, chunked: bool) -> bytes:
    """Check message data as it goes over the wire, and give the message itself."""
    if chunked:
        head, _, message = data.partition(b"\r\n")
        assert re.fullmatch(rb"BDAT %d LAST" % len(message), head), head
        return message
    assert data.endswith(b"\r\n.\r\n"), data[-20:]
    body = data[:-3]
    assert b"\r\n.\r\n" not in b"\r\n" + body
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", data)
    return re.sub(rb"(?m)^\.\.", b".", body)


@dataclass(slots=True)
class Exchange:
    """A command and the reply to it; the greeting answers the empty command."""

    command: str
    reply: str


@dataclass(slots=True)
class ScriptedServer:
    """A server made of functions.

    ``open_connection`` is called for each connection and gives the function that answers its commands:
    a command without its line end gives the reply's lines, parted by LF; nothing at all hangs up; an
    empty string is silence. The empty command asks for the greeting, and ``"."`` stands for message data.
    """

    open_connection: Callable[[], Respond]
    arrive: Callable[[ScriptedServer, tuple[Token, ...]], Arrival | None] = lambda _server, _tokens: None
    allowance: int = 3
    connections: list[list[Exchange]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    writes: list[bytes] = field(default_factory=list)
    _respond: Respond = lambda _command: None
    _replies: list[bytes] = field(default_factory=list)
    _is_open: bool = False
    _pipelines: bool = False
    _in_data: bool = False

    def connect(self) -> None:
        self._respond = self.open_connection()
        self._replies, self._is_open = [], True
        self._pipelines = self._in_data = False
        self.connections.append([])
        self._answer("")

    def send(self, data: bytes) -> None:
        if data.startswith(b"PROXY ") and len(self.connections[-1]) == 1:
            return  # a header goes before the greeting; this server knows none
        assert not self._replies, f"talks out of turn: {data!r} before reading {self._replies!r}"
        self.writes.append(data)
        if self._in_data or data.startswith(b"BDAT"):
            self.messages.append(verify_message(data, chunked=not self._in_data))
            self._in_data = False
            self._answer(".")
            return
        *lines, rest = data.decode("utf-8", "surrogateescape").split("\r\n")
        assert not rest, f"a command without an end: {data!r}"
        assert len(lines) == 1 or self._pipelines, f"a group without PIPELINING: {data!r}"
        assert not any(line.startswith(LAST_IN_GROUP) for line in lines[:-1]), f"out of turn: {data!r}"
        for line in lines:
            assert line.isprintable(), f"control character: {line!r}"
            self._answer(line)

    def receive(self) -> bytes:
        if self._replies:
            return self._replies.pop(0)
        if self._is_open:
            raise ReadTimeoutError("silence")
        return b""

    def peek(self) -> bytes:
        return b"".join(self._replies)

    def start_tls(self, server_name: str | None) -> TLSSession:
        self._pipelines = False
        return TLSSession(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", certificate=b"none")

    def close(self) -> None:
        self._is_open = False

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def may_send(self) -> bool:
        self.allowance -= 1
        return self.allowance >= 0

    def await_arrival(self, tokens: tuple[Token, ...]) -> Arrival | None:
        return self.arrive(self, tokens)

    def _answer(self, command: str) -> None:
        if not self._is_open:
            return  # what is sent into a closed connection is lost
        reply = self._respond(command)
        if reply is None:
            self._is_open = False
            return
        self.connections[-1].append(Exchange(command, reply))
        if command.startswith("EHLO"):
            self._pipelines = "PIPELINING" in reply
        self._in_data = command == "DATA" and reply.startswith("354")
        if reply:
            self._replies.append(reply.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n")
