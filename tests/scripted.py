"""Runs a script against a server that is a function: for dialogues too long to be written out.

`play` is the driver of every kind of partner, written and scripted: it carries out each operation at
once, with neither sockets nor a clock, and holds the script to what the engine holds it to. Its clock
(`relaywatch.script.ops.Now`) is a counter: waits in vain and pauses take as long as they last, a datagram
that comes takes a hundredth of a second.

`ScriptedServer` speaks SMTP; `OctetServer` answers whole writes or datagrams on any channel; `Partner` is
for whoever writes another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RelaywatchError
from relaywatch.model.evidence import Arrival, Observation
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script import ops
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.ops import Carrier, SSHForwarding, TLSSession

MAX_OPERATIONS = 10_000
DATAGRAM_SECONDS = 0.01
Script = Callable[[Link, Brief], Coroutine[ops.Op[Any], Any, None]]
Respond = Callable[[str], str | None]
LAST_IN_GROUP = ("EHLO", "HELO", "DATA", "STARTTLS", "QUIT", "NOOP", "HELP", "VRFY", "EXPN")
"""Commands after which nothing may be sent until they are answered (RFC 2920 section 3.1)."""


class Partner:
    """The other side of a script; refuses whatever its subclass doesn't do."""

    is_heard_out: bool = True
    """Whether the script must read all that was said before it hangs up."""

    def connect(self, op: ops.Connect) -> None:
        raise AssertionError(f"not expected: {op!r}")

    def send(self, data: bytes, channel: int) -> None:
        raise AssertionError(f"not expected: {data!r} on {channel}")

    def receive(self, channel: int) -> bytes:
        """What comes next; nothing at all once the server has closed.

        :raises ReadTimeoutError: if nothing comes.
        """
        raise AssertionError(f"nothing comes on {channel}")

    def receive_datagram(self, channel: int, within: float) -> bytes | None:
        raise AssertionError(f"no datagram comes on {channel} within {within}")

    def peek(self, channel: int) -> bytes:
        return b""

    def start_tls(self, op: ops.StartTLS) -> TLSSession:
        raise AssertionError(f"not expected: {op!r}")

    def close(self, channel: int) -> None:
        """The script closes a channel that it had opened."""

    def pause(self, seconds: float) -> None:
        raise AssertionError(f"not expected: a pause of {seconds}")

    def may_send(self) -> bool:
        raise AssertionError("not expected: MaySend")

    def await_arrival(self, tokens: tuple[Token, ...]) -> Arrival | None:
        raise AssertionError(f"not expected: a wait for {tokens}")

    def open_port(self, token: Token) -> Endpoint | None:
        raise AssertionError(f"not expected: a port for {token}")

    def forward_by_ssh(self, op: ops.ForwardBySSH) -> SSHForwarding:
        raise AssertionError(f"not expected: {op!r}")


def tls_session(*, version: str = "TLSv1.3", certificate: bytes = b"none", alpn: str = "") -> TLSSession:
    """What a handshake came to."""
    return TLSSession(version=version, cipher="TLS_AES_256_GCM_SHA384", certificate=certificate, alpn=alpn)


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
        # Of these chopping makes as many as there are octets.
        count += not isinstance(op, ops.Receive | ops.Now)
        try:
            answer = stage.carry_out(op)
        except RelaywatchError as refusal:
            error = refusal
    raise AssertionError(f"more than {MAX_OPERATIONS} operations")


@dataclass(slots=True)
class _Channel:
    """A channel that is open; octets that were chopped off wait here."""

    carrier: Carrier
    waiting: bytes = b""


class _Stage:
    """Carries out operations."""

    def __init__(self, partner: Partner, chop: Iterator[int] | None) -> None:
        self._partner = partner
        self._chop = chop
        self._channels: dict[int, _Channel] = {}
        self._now = 0.0
        self.observations: list[Observation] = []

    def carry_out(self, op: ops.Op[Any]) -> Any:
        match op:
            case ops.Report(observation):
                self.observations.append(observation)
            case ops.Pause(seconds):
                self._now += seconds
                self._partner.pause(seconds)
            case ops.Now():
                return self._now
            case ops.MaySend():
                return self._partner.may_send()
            case ops.AwaitArrival(tokens):
                return self._partner.await_arrival(tokens)
            case _:
                return self._carry_out_elsewhere(op)
        return None

    def _carry_out_elsewhere(self, op: ops.Op[Any]) -> Any:
        match op:
            case ops.OpenPort(token):
                return self._partner.open_port(token)
            case ops.ForwardBySSH():
                assert op.within > 0
                return self._partner.forward_by_ssh(op)
            case _:
                return self._carry_out_on_channel(op)

    def _carry_out_on_channel(self, op: ops.Op[Any]) -> Any:
        match op:
            case ops.Connect(channel):
                self._close(channel)
                self._partner.connect(op)
                self._channels[channel] = _Channel(op.carrier)
            case ops.Send(data, channel):
                self._needs_channel(channel)
                self._partner.send(data, channel)
            case ops.Receive():
                return self._receive(op)
            case ops.ReceiveDatagram():
                return self._receive_datagram(op)
            case ops.Peek(channel):
                return self._peek(channel)
            case ops.StartTLS():
                return self._start_tls(op)
            case ops.Close(channel):
                self._close(channel)
            case _:
                raise AssertionError(f"no operation: {op!r}")
        return None

    def _receive(self, op: ops.Receive) -> bytes:
        assert op.within is None or op.within > 0
        channel = self._needs_channel(op.channel)
        assert channel.carrier is Carrier.TCP
        try:
            channel.waiting = channel.waiting or self._partner.receive(op.channel)
        except ReadTimeoutError:
            self._now += op.within or 0.0
            raise
        size = op.max_bytes if self._chop is None else min(op.max_bytes, next(self._chop))
        piece, channel.waiting = channel.waiting[:size], channel.waiting[size:]
        return piece

    def _receive_datagram(self, op: ops.ReceiveDatagram) -> bytes | None:
        assert op.within >= 0
        assert self._needs_channel(op.channel).carrier is Carrier.UDP
        datagram = self._partner.receive_datagram(op.channel, op.within)
        self._now += op.within if datagram is None else min(DATAGRAM_SECONDS, op.within)
        return datagram

    def _peek(self, number: int) -> bytes:
        channel = self._channels.get(number)
        return channel.waiting + self._partner.peek(number) if channel else b""

    def _start_tls(self, op: ops.StartTLS) -> TLSSession:
        channel = self._needs_channel(op.channel)
        dropped, channel.waiting = len(channel.waiting), b""
        session = self._partner.start_tls(op)
        assert session.alpn in {"", *op.alpn}, f"{session.alpn} was not offered"
        return replace(session, dropped=session.dropped + dropped)

    def _close(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        # In whole pieces the rest lies in the link already, where nobody sees it.
        lost = channel.waiting if self._partner.is_heard_out else b""
        assert not lost or lost.startswith(b"221"), f"hung up before {lost!r}"
        self._partner.close(number)

    def _needs_channel(self, number: int) -> _Channel:
        if number not in self._channels:
            raise PeerClosedError("there is no connection")
        return self._channels[number]


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


@dataclass
class ScriptedServer(Partner):
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

    def connect(self, op: ops.Connect) -> None:
        self._respond = self.open_connection()
        self._replies, self._is_open = [], True
        self._pipelines = self._in_data = False
        self.connections.append([])
        self._answer("")

    def send(self, data: bytes, channel: int = 0) -> None:
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

    def receive(self, channel: int = 0) -> bytes:
        if self._replies:
            return self._replies.pop(0)
        if self._is_open:
            raise ReadTimeoutError("silence")
        return b""

    def peek(self, channel: int = 0) -> bytes:
        return b"".join(self._replies)

    def start_tls(self, op: ops.StartTLS) -> TLSSession:
        self._pipelines = False
        return tls_session()

    def close(self, channel: int = 0) -> None:
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


AnswerOctets = Callable[[bytes], bytes | None]


@dataclass
class OctetServer(Partner):
    """Answers each write, or each datagram, by a function: for HTTP and for binary protocols.

    ``open_channel`` is called for each connection or UDP channel and gives the function that answers what
    is written there: nothing at all hangs up, no octets are silence. Empty octets ask for the greeting.
    """

    open_channel: Callable[[ops.Connect], AnswerOctets]
    arrive: Callable[[tuple[Token, ...]], Arrival | None] = lambda _tokens: None
    is_heard_out: bool = False
    writes: list[bytes] = field(default_factory=list)
    _answers: dict[int, AnswerOctets] = field(default_factory=dict)
    _said: dict[int, list[bytes]] = field(default_factory=dict)

    def connect(self, op: ops.Connect) -> None:
        self._answers[op.channel] = self.open_channel(op)
        self._said[op.channel] = []
        if op.carrier is Carrier.TCP:
            self._answer(b"", op.channel)

    def send(self, data: bytes, channel: int) -> None:
        self.writes.append(data)
        self._answer(data, channel)

    def receive(self, channel: int) -> bytes:
        if self._said[channel]:
            return self._said[channel].pop(0)
        if channel in self._answers:
            raise ReadTimeoutError("silence")
        return b""

    def receive_datagram(self, channel: int, within: float) -> bytes | None:
        return self._said[channel].pop(0) if self._said[channel] else None

    def peek(self, channel: int) -> bytes:
        return b"".join(self._said[channel])

    def start_tls(self, op: ops.StartTLS) -> TLSSession:
        return tls_session(alpn=next(iter(op.alpn), ""))

    def await_arrival(self, tokens: tuple[Token, ...]) -> Arrival | None:
        return self.arrive(tokens)

    def _answer(self, data: bytes, channel: int) -> None:
        if channel not in self._answers:
            return  # what is sent into a closed connection is lost
        said = self._answers[channel](data)
        if said is None:
            del self._answers[channel]
        elif said:
            self._said[channel].append(said)
