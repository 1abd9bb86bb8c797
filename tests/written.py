"""The other side of a written conversation, which `tests.playbook` explains."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter

from tests.certificates import certificate
from tests.notation import KEY, Conversation, MismatchError, Step
from tests.octets import Gap, fixed_octets, match_octets
from tests.scripted import OctetServer, Partner, ScriptedServer, tls_session, verify_message

from relaywatch.model import errors
from relaywatch.model.canary import canary_answer
from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import TOKEN_PATTERN, Token, verify_token
from relaywatch.script import ops

ROUNDING = 1e-6
CONNECTS: dict[str, type[Exception]] = {
    "refused": errors.ConnectRefusedError,
    "timeout": errors.ConnectTimeoutError,
    "unreachable": errors.UnreachableError,
    "not-permitted": errors.NotPermittedError,
}
_NOBODY = re.compile(r"nobody-[0-9a-f]{12}")
_ANSWER = re.compile(r"relaywatch [a-z2-7]{16} ([0-9a-f.:]+)")
_VARIABLE = re.compile(f"{TOKEN_PATTERN.pattern}|{_NOBODY.pattern}", re.IGNORECASE)


class WrittenServer(Partner):
    """The other side of a written conversation; holds the script to it."""

    def __init__(self, written: Conversation) -> None:
        self.is_heard_out = written.given.is_heard_out
        self._written = written
        self._steps = [replace(step) for step in written.steps]
        self._bound: dict[str, str] = {}
        self._standing: Partner | None = None
        self._closed: set[int] = set()
        self._sent: dict[int, bytes] = {}
        self._last_said = b""

    def connect(self, op: ops.Connect) -> None:
        self._closed.discard(op.channel)
        if self._is_next("~"):
            self._standing = self._standing or self._stand()
            self._standing.connect(op)
            return
        kind = "udp" if op.carrier is ops.Carrier.UDP else "connect"
        step = self._take_mark(kind, _shown(op), op.channel)
        words = dict(zip(step.words[1::2], step.words[2::2], strict=False))
        if (words.get("at"), words.get("from")) != (op.at and str(op.at), op.source and str(op.source)):
            raise self._written.fail(step.number, _shown(op))
        if failure := CONNECTS.get(step.words[-1]):
            raise failure

    def send(self, data: bytes, channel: int) -> None:
        if self._standing is not None:
            self._sent[channel] = data
            self._standing.send(data, channel)
            return
        if self._is_closed(channel) or (data == b"QUIT\r\n" and not self._is_next("C")):
            return  # lost in a closed connection, or a farewell that needn't be written
        step = self._take("C", f"the script sends {data!r}", channel)
        self._sent[channel] = data
        if self._last_said.startswith(b"354") or step.data.startswith(b"BDAT"):
            self._compare_message(step, data)
        elif not step.is_whole:
            if not match_octets(step.parts, data):
                raise self._differs(step, data)
        else:
            self._compare(step, _text(step.data), _text(data))

    def receive(self, channel: int) -> bytes:
        if self._standing is not None:
            return self._standing.receive(channel)
        if self._is_closed(channel):
            return b""  # for good, however often it is read
        if self._is_next("*", "silence", channel):
            self._steps.pop(0)
            raise errors.ReadTimeoutError("silence")
        self._last_said = self._said(self._take("S", "the script waits for the server", channel))
        return self._last_said

    def receive_datagram(self, channel: int, within: float) -> bytes | None:
        if self._standing is not None:
            return self._standing.receive_datagram(channel, within)
        if self._is_next("*", "silence", channel):
            self._be_silent(within)
            return None
        if self._is_next("*", "icmp", channel):
            raise CONNECTS[self._steps.pop(0).words[1]]
        return self._said(self._take("S", f"the script waits {within:g} s for a datagram", channel))

    def _be_silent(self, within: float) -> None:
        """A silence of so many seconds holds for as many waits as they make."""
        step = self._steps[0]
        rest = (float(step.words[1]) if step.words[1:] else within) - within
        if rest > ROUNDING:
            step.words = ("silence", f"{rest}")
        else:
            self._steps.pop(0)

    def _said(self, step: Step) -> bytes:
        sent = self._sent.get(step.channel, b"")
        text = _VARIABLE.sub(
            lambda found: self._bound.get(found[0], found[0]), _text(fixed_octets(step.parts, sent))
        )
        if token := next((token for token in self._bound.values() if token in _text(sent)), None):
            # A pasted answer of our canary was made with another key.
            text = _ANSWER.sub(lambda found: canary_answer(KEY, Token(token), parse_address(found[1])), text)
        return text.encode("utf-8", "surrogateescape")

    def _is_closed(self, channel: int) -> bool:
        if self._is_next("*", "server", channel):
            self._steps.pop(0)
            self._closed.add(channel)
        return channel in self._closed

    def peek(self, channel: int) -> bytes:
        return self._said(self._steps[0]) if self._is_next("S", channel=channel) else b""

    def start_tls(self, op: ops.StartTLS) -> ops.TLSSession:
        if self._standing is not None:
            return self._standing.start_tls(op)
        step = self._take_mark("tls", "the script starts TLS", op.channel)
        given = dict(word.split("=", 1) for word in step.words[1:] if "=" in word)
        if given.get("sni", op.server_name or "") != (op.server_name or ""):
            raise self._written.fail(step.number, f"the script asks for {op.server_name}")
        if "alpn" in given and given["alpn"] not in op.alpn:
            raise self._written.fail(step.number, f"the script offers {op.alpn}")
        if "failed" in step.words:
            raise errors.TLSFailedError("handshake failure")
        if "alert" in step.words:
            raise errors.TLSRefusedError("unrecognized name")
        version = next((word for word in step.words[1:] if "TLS" in word or "SSL" in word), "TLSv1.3")
        names = given.get("names", "mail.example.test").split(",")
        der = b"no certificate" if "broken-certificate" in step.words else certificate(*names)
        return tls_session(version=version, certificate=der, alpn=given.get("alpn", ""))

    def close(self, channel: int) -> None:
        if self._standing is not None:
            return
        if self._is_closed(channel):
            self._closed.discard(channel)
        elif self._is_next("S", channel=channel):
            if not self._steps[0].data.startswith(b"221") and channel not in self._written.datagram_channels:
                raise self._written.fail(self._steps[0].number, "the script hung up before it read this")
            self._steps.pop(0)

    def pause(self, seconds: float) -> None:
        number = self._line()
        self._end_standing_before("pause", f"{seconds:g}")
        if self._standing is None:
            step = self._take_mark("pause", f"the script pauses: * pause {seconds:g}")
            if float(step.words[1]) != seconds:
                raise self._written.fail(number, f"the script pauses {seconds:g} s")

    def may_send(self) -> bool:
        self._end_standing_before("may", "not", "send")
        if self._is_next("*", "may"):
            self._steps.pop(0)
            return False
        return True

    def await_arrival(self, tokens: tuple[Token, ...]) -> Arrival | None:
        for words in ("arrival",), ("bounce",), ("no", "arrival"):
            self._end_standing_before(*words)
        step = self._take("*", "the script awaits an arrival")
        if step.words == ("no", "arrival"):
            return None
        kind, name, *more = step.words
        given = self._written.given
        label = f"{given.before_case}{name}" if kind == "arrival" else f"return {name} "
        token = self._written.brief.token(label)
        if token not in tokens:
            raise self._written.fail(step.number, f"the script doesn't wait for {name}")
        arrived = given.arrival_kind if kind == "arrival" else ArrivalKind.BOUNCE
        if more and more[0] != "from":
            arrived = ArrivalKind(more[0])
        came_from = Endpoint(parse_address(more[-1]), 40000) if "from" in more else None
        return arrival_of(token, arrived, came_from)

    def open_port(self, token: Token) -> Endpoint | None:
        step = self._take("*", "the script opens a port at the sink")
        if step.words == ("no", "port"):
            return None
        if step.words[0] != "port" or self._written.fill(f"{{token:{step.words[1]}}}") != token:
            raise self._written.fail(step.number, "the script opens a port at the sink for another token")
        return read_endpoint(step.words[3])

    def forward_by_ssh(self, op: ops.ForwardBySSH) -> ops.SSHForwarding:
        asked = f"the script asks for forwarding as {op.username} to {op.to}, to say {op.words!r}"
        step = self._take_mark("ssh", asked)
        _, username, _, to, *rest = step.words
        given = dict(word.split("=", 1) for word in rest if "=" in word)
        words = given.get("words", _text(op.words).strip())
        if (username, to, words) != (op.username, str(op.to), _text(op.words).strip()):
            raise self._written.fail(step.number, asked)
        if failure := next((CONNECTS[word] for word in rest if word in CONNECTS), None):
            raise failure
        return ops.SSHForwarding(
            identification=given.get("identification", "SSH-2.0-Test"),
            is_admitted="admitted" in rest,
            is_opened="opened" in rest,
            heard=given.get("heard", "").encode("utf-8", "surrogateescape"),
            methods=tuple(filter(None, given.get("methods", "").split(","))),
            error=given.get("error", ""),
        )

    def finish(self) -> None:
        """Complain of what was written and didn't happen."""
        is_partly_silent = self._is_next("*", "silence") and self._steps[0] not in self._written.steps
        if self._is_next("*", "server") or self._standing is not None or is_partly_silent:
            self._steps.pop(0)
        if self._steps:
            raise self._written.fail(self._line(), "the script ended before this")

    # --- comparing ---

    def _compare(self, step: Step, written: str, said: str) -> None:
        same = _VARIABLE.sub("*", written) == _VARIABLE.sub("*", said)
        pairs = zip(_VARIABLE.findall(written), _VARIABLE.findall(said), strict=False)
        if not same or not all(self._stands_for(*pair) for pair in pairs):
            raise self._differs(step, said.encode("utf-8", "surrogateescape"))

    def _differs(self, step: Step, said: bytes) -> MismatchError:
        if step.is_binary:
            written = f"{said.hex(' ')}\n({said!r}) instead of\n{step.parts}"
        else:
            written = f"{_text(said)}instead of\n{_text(step.data)}"
        return self._written.fail(step.number, f"the script sends\n{written}")

    def _stands_for(self, written: str, said: str) -> bool:
        """Whether a token is the one that is written; a pasted one is bound to the first that it meets."""
        mint = self._written.brief.mint
        ours = {mint.random_local_part(label) for label in ("label", "sender", "catch-all", "yes", "no")}
        if verify_token(KEY, written) or written in ours:
            return written == said
        return self._bound.setdefault(written, said) == said

    def _compare_message(self, step: Step, data: bytes) -> None:
        message = verify_message(data, chunked=step.data.startswith(b"BDAT"))
        lines = {_VARIABLE.sub("*", line): line for line in _text(message).split("\r\n")}
        for written in filter(_VARIABLE.search, _text(step.data).split("\r\n")):
            said = lines.get(_VARIABLE.sub("*", written))
            if said is None:
                raise self._written.fail(step.number, f"the message has no line {written!r}")
            self._compare(step, written, said)

    # --- stepping ---

    def _is_next(self, who: str, word: str = "", channel: int | None = None) -> bool:
        if not self._steps or self._steps[0].who != who:
            return False
        here = self._steps[0]
        return word in ("", *here.words[:1]) and channel in (None, here.channel)

    def _take(self, who: str, what: str, channel: int | None = None) -> Step:
        if not self._is_next(who, channel=channel):
            raise self._unwritten(what, channel)
        return self._steps.pop(0)

    def _take_mark(self, word: str, what: str, channel: int | None = None) -> Step:
        if not self._is_next("*", word, channel):
            raise self._unwritten(what, channel)
        return self._steps.pop(0)

    def _unwritten(self, what: str, channel: int | None) -> MismatchError:
        here = self._steps[0] if self._steps else None
        written = (" ".join(here.words) or here.data) if here else "the end"
        on = f" on channel {channel}" if channel else ""
        return self._written.fail(self._line(), f"{what}{on}; written is {written!r}")

    def _end_standing_before(self, *words: str) -> None:
        """Standing answers end when the mark behind them happens."""
        following = self._steps[1] if len(self._steps) > 1 else None
        if self._standing is not None and following and following.words[: len(words)] == words:
            self._standing = None
            self._steps.pop(0)

    def _line(self) -> int:
        return self._steps[0].number if self._steps else 0

    def _stand(self) -> Partner:
        if self._steps[0].octet_answers:
            return OctetServer(lambda op: partial(self._standing_octets, op.channel))
        return ScriptedServer(lambda: self._standing_answer)

    def _standing_answer(self, command: str) -> str | None:
        if command == "QUIT":
            return "221 Bye"
        here = self._steps[0]
        fitting = [b for b in here.answers if command.startswith(b)] if command else ["greeting"]
        if not fitting:
            raise self._written.fail(here.number, f"no standing answer to {command!r}")
        answer = here.answers[max(fitting, key=len)]
        return {"closes": None, "silence": ""}.get(answer, answer.replace(" / ", "\n"))

    def _standing_octets(self, channel: int, data: bytes) -> bytes | None:
        here = self._steps[0]
        fitting = [
            (len(fixed_octets(asked)), said)
            for asked, said in here.octet_answers
            if bool(asked) == bool(data) and match_octets([*asked, Gap()], data)
        ]
        if not fitting and not data:
            return b""
        if not fitting:
            raise self._written.fail(here.number, f"no standing answer to {data!r}")
        _, said = max(fitting, key=itemgetter(0))
        if isinstance(said, str):
            return None if said == "closes" else b""
        return fixed_octets(said, self._sent.get(channel, b""))


def _shown(op: ops.Connect) -> str:
    at, source = (f" at {op.at}" if op.at else ""), (f" from {op.source}" if op.source else "")
    what = "opens a UDP channel" if op.carrier is ops.Carrier.UDP else "connects"
    return f"the script {what}{at}{source}"


def read_endpoint(text: str) -> Endpoint:
    """Read ``ADDRESS:PORT``, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    return Endpoint(parse_address(host.strip("[]")), int(port))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def arrival_of(
    token: Token, kind: ArrivalKind = ArrivalKind.MAIL, came_from: Endpoint | None = None
) -> Arrival:
    """An arrival at the sink."""
    return Arrival(token=token, kind=kind, at=datetime(2026, 11, 24, tzinfo=UTC), came_from=came_from)
