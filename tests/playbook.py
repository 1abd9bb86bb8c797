"""Runs a script against a written conversation: no sockets, no clock.

A conversation is written in the notation of RFC 5321, appendix D, so that a mail administrator can
review it, and so that what ``relaywatch check --transcript`` prints becomes a test by pasting: the
seconds before a line and the heading behind ``---`` are skipped, and the engine's notes (``*: connected
from ...``) are understood.

::

    # A comment; the first one is the conversation's title.
    % target-names mail.example.test         what the script knows beforehand: see `SETTINGS`
    * connect                                the script opens a connection, and is let in
    S: 220 mail.example.test ESMTP           the server's line; CR LF is added
    C: EHLO probe.test                       the script's line
    S< 32 35 30 20 6f 6b 0d 0a               the same in hexadecimal octets; C< likewise
    = refused plain reply~"access denied"    an observation that the script reports

**Lines.** ``C:`` lines that follow each other are *one* write, so that a pipelined group differs from
commands sent one by one. ``S:`` lines that follow each other come in one piece, or chopped at random
when a test wants it. Of message data (after a 354, or behind BDAT) only the lines that hold a token
are compared; that the rest is well-formed is always checked.

**Placeholders.** ``{token:plain}`` is the canary of that case's forward-path, ``{return:ours}`` the one
of that reverse-path, ``{minted:LABEL}`` any other of the attempt; ``{nobody:LABEL}`` and ``{label}``
are random local parts and labels. A token that stands in a pasted conversation, and is not ours,
stands for whatever token the script sends in its place, there and wherever it comes again.

**Marks.** What else happens, each at its place::

    * connect [refused|timeout|unreachable]   * server closes          * silence
    * tls [VERSION] [names=A,B] [broken-certificate] [failed]
    * pause SECONDS                           * may not send           * no arrival
    * arrival CASE                            * bounce REVERSE-PATH    * ends STATUS

A script closes its connections without a mark. It may always send unless a mark says no. It ends as
``completed`` unless ``* ends`` names another status.

**Standing answers.** ``~ RCPT TO: -> 550 no`` is what the server says to such commands, in as many
connections as the script opens there; the longest beginning wins, `` / `` parts lines, ``closes`` hangs
up, ``silence`` says nothing, ``~ greeting`` is said first, ``~ .`` answers message data. They hold until the mark behind them
happens (a pause, an arrival), or to the end.

**Observations.** ``= FACT [CASE] [FIELD=VALUE] [FIELD~PART]``, in the order of the reports, all of
them, wherever in the file they stand. ``= refused *`` is one or more of that fact, of any cases.

A conversation that isn't finished, an observation that isn't expected, and a file that expects neither an
observation nor another end than `completed`,
are errors, and name the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.certificates import certificate
from tests.notation import BRIEF, KEY, Conversation, MismatchError, Step, read_conversation
from tests.scripted import Script, ScriptedServer, play, verify_message

from relaywatch.model import errors
from relaywatch.model.evidence import Arrival, ArrivalKind, Observation
from relaywatch.model.tokens import TOKEN_PATTERN, Token, verify_token
from relaywatch.script.ops import TLSSession

__all__ = ["BRIEF", "KEY", "MismatchError", "conversations", "play_conversation", "read_conversation"]

ENDINGS: dict[type[Exception], str] = {
    errors.ConnectRefusedError: "no-listener",
    errors.ConnectTimeoutError: "no-answer",
    errors.UnreachableError: "unreachable",
    errors.ReadTimeoutError: "timeout",
    errors.PeerClosedError: "cut-short",
    errors.TLSFailedError: "tls-failed",
    errors.RemoteProtocolError: "protocol-error",
}
CONNECTS = {
    "refused": errors.ConnectRefusedError,
    "timeout": errors.ConnectTimeoutError,
    "unreachable": errors.UnreachableError,
}
_NOBODY = re.compile(r"nobody-[0-9a-f]{12}")
_VARIABLE = re.compile(f"{TOKEN_PATTERN.pattern}|{_NOBODY.pattern}", re.IGNORECASE)


class WrittenServer:
    """The other side of a written conversation; holds the script to it."""

    def __init__(self, written: Conversation) -> None:
        self._written = written
        self._steps = list(written.steps)
        self._bound: dict[str, str] = {}
        self._standing: ScriptedServer | None = None
        self._last_said = b""

    def connect(self) -> None:
        if self._is_next("~"):
            self._standing = self._standing or ScriptedServer(lambda: self._standing_answer)
            self._standing.connect()
            return
        how = self._take_mark("connect", "the script connects")
        if how:
            raise CONNECTS[how[0]]

    def send(self, data: bytes) -> None:
        if self._standing is not None:
            self._standing.send(data)
            return
        if self._is_next("*", "server") or (data == b"QUIT\r\n" and not self._is_next("C")):
            return  # lost in a closed connection, or a farewell that needn't be written
        step = self._take("C", f"the script sends {data!r}")
        if self._last_said.startswith(b"354") or step.data.startswith(b"BDAT"):
            self._compare_message(step, data)
        else:
            self._compare(step, _text(step.data), _text(data))

    def receive(self) -> bytes:
        if self._standing is not None:
            return self._standing.receive()
        if self._is_next("*", "silence"):
            self._steps.pop(0)
            raise errors.ReadTimeoutError("silence")
        if self._is_next("*", "server"):
            return b""  # for good, however often it is read
        step = self._take("S", "the script waits for the server")
        self._last_said = _VARIABLE.sub(lambda m: self._bound.get(m[0], m[0]), _text(step.data)).encode(
            "utf-8", "surrogateescape"
        )
        return self._last_said

    def peek(self) -> bytes:
        return self._steps[0].data if self._is_next("S") else b""

    def start_tls(self, _server_name: str | None) -> TLSSession:
        words = self._take_mark("tls", "the script starts TLS")
        if "failed" in words:
            raise errors.TLSFailedError("handshake failure")
        version = next((word for word in words if "TLS" in word or "SSL" in word), "TLSv1.3")
        names = next((word[6:] for word in words if word.startswith("names=")), "mail.example.test")
        der = b"no certificate" if "broken-certificate" in words else certificate(*names.split(","))
        return TLSSession(version=version, cipher="TLS_AES_256_GCM_SHA384", certificate=der)

    def close(self) -> None:
        if self._standing is not None:
            return
        if self._is_next("*", "server"):
            self._steps.pop(0)
        elif self._is_next("S") and not self._steps[0].data.startswith(b"221"):
            raise self._written.fail(self._steps[0].number, "the script hung up before it read this")
        elif self._is_next("S"):
            self._steps.pop(0)

    def pause(self, seconds: float) -> None:
        number = self._line()
        self._end_standing_before("pause", f"{seconds:g}")
        if self._standing is None:
            written = self._take_mark("pause", f"the script pauses: * pause {seconds:g}")
            if float(written[0]) != seconds:
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
        kind, name = step.words
        forward = kind == "arrival"
        token = self._written.brief.token(f"forward {name}" if forward else f"return {name} ")
        if token not in tokens:
            raise self._written.fail(step.number, f"the script doesn't wait for {name}")
        return arrival_of(token, ArrivalKind.MAIL if forward else ArrivalKind.BOUNCE)

    def finish(self) -> None:
        """Complain of what was written and didn't happen."""
        if self._is_next("*", "server") or self._standing is not None:
            self._steps.pop(0)
        if self._steps:
            raise self._written.fail(self._line(), "the script ended before this")

    # --- comparing ---

    def _compare(self, step: Step, written: str, said: str) -> None:
        same = _VARIABLE.sub("*", written) == _VARIABLE.sub("*", said)
        pairs = zip(_VARIABLE.findall(written), _VARIABLE.findall(said), strict=False)
        if not same or not all(self._stands_for(*pair) for pair in pairs):
            raise self._written.fail(step.number, f"the script sends\n{said}instead of\n{written}")

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

    def _is_next(self, who: str, word: str = "") -> bool:
        return bool(self._steps) and self._steps[0].who == who and word in ("", *self._steps[0].words[:1])

    def _take(self, who: str, what: str) -> Step:
        if not self._is_next(who):
            here = self._steps[0] if self._steps else None
            written = (" ".join(here.words) or here.data) if here else "the end"
            raise self._written.fail(self._line(), f"{what}; written is {written!r}")
        return self._steps.pop(0)

    def _take_mark(self, word: str, what: str) -> tuple[str, ...]:
        if not self._is_next("*", word):
            self._take("", what)
        return self._steps.pop(0).words[1:]

    def _end_standing_before(self, *words: str) -> None:
        """Standing answers end when the mark behind them happens."""
        following = self._steps[1] if len(self._steps) > 1 else None
        if self._standing is not None and following and following.words[: len(words)] == words:
            self._standing = None
            self._steps.pop(0)

    def _line(self) -> int:
        return self._steps[0].number if self._steps else 0

    def _standing_answer(self, command: str) -> str | None:
        if command == "QUIT":
            return "221 Bye"
        here = self._steps[0]
        fitting = [b for b in here.answers if command.startswith(b)] if command else ["greeting"]
        if not fitting:
            raise self._written.fail(here.number, f"no standing answer to {command!r}")
        answer = here.answers[max(fitting, key=len)]
        return {"closes": None, "silence": ""}.get(answer, answer.replace(" / ", "\n"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def arrival_of(token: Token, kind: ArrivalKind = ArrivalKind.MAIL) -> Arrival:
    """An arrival at the sink."""
    return Arrival(token=token, kind=kind, at=datetime(2026, 11, 24, tzinfo=UTC))


def play_conversation(written: Conversation, script: Script, *, chop: Iterator[int] | None = None) -> None:
    """Play a conversation, and compare all that was said and seen with what is written.

    :raises MismatchError: at the first difference.
    """
    server = WrittenServer(written)
    observations, error = play(script, written.brief, server, chop=chop)
    ending = "completed" if error is None else ENDINGS.get(type(error), "")
    if ending != written.ending:
        raise written.fail(0, f"ends {ending or 'as a bug'}: {error!r}") from error
    server.finish()
    _compare_observations(written, observations)


def _compare_observations(written: Conversation, seen: list[Observation]) -> None:
    rest = list(seen)
    for number, expected in enumerate(written.expected):
        if not rest or expected.differs(rest[0]):
            actual = f"{expected.differs(rest[0])} in {rest[0]}" if rest else "nothing more"
            raise written.fail(expected.number, f"instead came {actual}")
        rest.pop(0)
        following = written.expected[number + 1] if number + 1 < len(written.expected) else None
        while expected.case == "*" and rest and not expected.differs(rest[0]):
            if following is not None and not following.differs(rest[0]):
                break
            rest.pop(0)
    if rest:
        raise written.fail(0, "not expected: " + "; ".join(f"{o.fact} {o.case} {o.detail}" for o in rest))


def conversations(probe: str) -> list[Path]:
    """The files of a probe's conversations."""
    return sorted((Path(__file__).parent / "transcripts" / probe).glob("*.txt"))
