"""Reads conversations in the notation that `tests.playbook` explains: settings, steps, expectations."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from relaywatch.model.evidence import Observation
from relaywatch.model.places import Door, Endpoint, Transport, parse_address
from relaywatch.model.tokens import Mint
from relaywatch.script.brief import Brief, Depth, Identity, SinkNames

KEY = b"the key of every playbook"
TARGET = parse_address("192.0.2.7")
SINK = SinkNames(domain="sink.test", addresses=(parse_address("198.51.100.9"),))
BRIEF = Brief(
    endpoint=Endpoint(TARGET, 25),
    door=Door(25, Transport.PLAIN, Endpoint(TARGET, 25).family),
    mint=Mint(KEY, b"seed"),
    sink=SINK,
    identity=Identity(ehlo_name="probe.test", operator="Test Lab", contact="lab@probe.test"),
)
MARKS = re.compile(
    r"connect( refused| timeout| unreachable)?|server closes|silence|tls\b.*|pause [\d.]+|may not send"
    r"|no arrival|arrival \S+|bounce \S+|ends \S+"
)
NOTES = (
    (re.compile(r"connected from .*"), "connect"),
    (re.compile(r"closed by the peer"), "server closes"),
    (re.compile(r"(TLSv[\d.]+), .*"), r"tls \1"),
    (re.compile(r"closed by us"), ""),
)
"""What the engine writes into a transcript, and the mark that it stands for."""
_LINE = re.compile(r"(?:\s*\d+\.\d+ )?(C:|S:|C<|S<|\*:|---|[*=%~#]) ?(.*)")
_PLACEHOLDER = re.compile(r"\{(token|return|minted|nobody|label)(?::([^}]*))?\}")


class MismatchError(AssertionError):
    """The script, or the file, differs from what is written; says where."""


# --- what the script knows beforehand -------------------------------------------------------------


def _door(brief: Brief, value: str) -> Brief:
    port, transport, *address = value.split()
    endpoint = Endpoint(parse_address(address[0]) if address else TARGET, int(port))
    door = Door(int(port), Transport(transport), endpoint.family)
    return replace(brief, endpoint=endpoint, door=door)


def _leave(brief: Brief, **leaves: Any) -> Brief:
    return replace(brief, leave=replace(brief.leave, **leaves))


def _sink(brief: Brief, **names: Any) -> Brief:
    return replace(brief, sink=replace(brief.sink, **names))


SETTINGS: dict[str, Callable[[Brief, str], Brief]] = {
    "door": _door,
    "depth": lambda brief, value: replace(brief, depth=Depth(value)),
    "target-names": lambda brief, value: replace(brief, target_names=tuple(value.split())),
    "local-domains": lambda brief, value: replace(brief, local_domains=tuple(value.split())),
    "software": lambda brief, value: replace(brief, software=value),
    "refusal-limit": lambda brief, value: replace(brief, refusal_limit=int(value)),
    "now": lambda brief, value: replace(brief, now=datetime.fromisoformat(value).astimezone(UTC)),
    "ehlo-name": lambda brief, value: replace(brief, identity=replace(brief.identity, ehlo_name=value)),
    "sink-domain": lambda brief, value: _sink(brief, domain=value),
    "second-domain": lambda brief, value: _sink(brief, second_domain=value),
    "mx-pointing-domain": lambda brief, value: _sink(brief, mx_pointing_domain=value),
    "no-mail": lambda brief, value: _leave(brief, mail=False, mail_withheld_because=value),
    "leave": lambda brief, value: _leave(brief, **{word.replace("-", "_"): True for word in value.split()}),
}


# --- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Step:
    """One thing that happens: ``who`` is C, S, a mark's asterisk, or a tilde."""

    number: int
    who: str
    data: bytes = b""
    words: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    """Of standing answers: beginnings of commands, and the replies to them."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An observation as it is expected."""

    number: int
    fact: str
    case: str | None
    checks: tuple[tuple[str, str, str], ...]

    def differs(self, seen: Observation) -> str:
        """What is not as expected; empty if all is."""
        if seen.fact != self.fact:
            return f"fact {seen.fact}"
        if self.case not in {"*", seen.case or None}:
            return f"case {seen.case!r}"
        for name, how, wanted in self.checks:
            actual = str(getattr(seen, name))
            if not (actual == wanted if how == "=" else wanted in actual):
                return f"{name} {actual!r}"
        return ""


@dataclass(slots=True)
class Conversation:
    """A file as read."""

    path: str
    title: str = ""
    brief: Brief = BRIEF
    steps: list[Step] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    ending: str = "completed"

    def fail(self, number: int, text: str) -> MismatchError:
        """The error at that line."""
        return MismatchError(f"{self.path}:{number}: {text}")


def read_conversation(text: str, path: str = "conversation") -> Conversation:
    """Read a conversation.

    :raises MismatchError: if a line isn't understood, or no observation is expected.
    """
    read = Conversation(path)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise read.fail(number, f"not understood: {line!r}")
        try:
            _READERS[match[1]](read, number, match[2])
        except (ValueError, KeyError, LookupError, AttributeError) as error:
            raise read.fail(number, f"not understood: {line!r} ({error})") from error
    if not read.expected and read.ending == "completed":
        raise read.fail(1, "expects no observation")
    return read


def _read_comment(read: Conversation, _number: int, text: str) -> None:
    read.title = read.title or text


def _read_setting(read: Conversation, _number: int, text: str) -> None:
    key, _, value = text.partition(" ")
    read.brief = SETTINGS[key](read.brief, value.strip())


def _read_octets(who: str) -> Callable[[Conversation, int, str], None]:
    def reader(read: Conversation, number: int, text: str) -> None:
        line = bytes.fromhex(text) if who.endswith("<") else _fill(read.brief, text).encode() + b"\r\n"
        if read.steps and read.steps[-1].who == who[0]:
            read.steps[-1].data += line
        else:
            read.steps.append(Step(number, who[0], line))

    return reader


def _read_mark(read: Conversation, number: int, text: str) -> None:
    if not MARKS.fullmatch(text):
        raise ValueError("no such mark")
    words = tuple(text.split())
    if words[0] == "ends":
        read.ending = words[1]
    else:
        read.steps.append(Step(number, "*", words=words))


def _read_note(read: Conversation, number: int, text: str) -> None:
    for pattern, mark in NOTES:
        if match := pattern.fullmatch(text):
            return _read_mark(read, number, match.expand(mark)) if mark else None
    raise ValueError("no such note")


def _read_expected(read: Conversation, number: int, text: str) -> None:
    fact, *rest = shlex.split(_fill(read.brief, text))
    checks = [re.fullmatch(r"([a-z_]+)([=~])(.*)", word) for word in rest]
    case = rest[0] if rest and not checks[0] else None
    read.expected.append(Expected(number, fact, case, tuple(c.groups() for c in checks if c)))


def _read_answer(read: Conversation, number: int, text: str) -> None:
    beginning, arrow, answer = text.partition(" -> ")
    if not arrow:
        raise ValueError("no ' -> '")
    if not read.steps or read.steps[-1].who != "~":
        read.steps.append(Step(number, "~"))
    read.steps[-1].answers[_fill(read.brief, beginning)] = _fill(read.brief, answer)


_READERS = {
    "#": _read_comment,
    "---": _read_comment,
    "%": _read_setting,
    "C:": _read_octets("C:"),
    "S:": _read_octets("S:"),
    "C<": _read_octets("C<"),
    "S<": _read_octets("S<"),
    "*": _read_mark,
    "*:": _read_note,
    "=": _read_expected,
    "~": _read_answer,
}


def _fill(brief: Brief, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        kind, label = match[1], match[2] or ""
        if kind == "return":
            form, _, name = label.partition(" ")
            return brief.token(f"return {form} {name}")
        if kind in {"token", "minted"}:
            return brief.token(f"forward {label}" if kind == "token" else label)
        return brief.mint.random_local_part(label or "label")

    return _PLACEHOLDER.sub(value, text)
