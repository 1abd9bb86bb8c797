"""Reads conversations in the notation that `tests.playbook` explains: settings, steps, expectations."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.octets import Part, fixed_octets, read_octets

from relaywatch.model.canary import canary_answer
from relaywatch.model.evidence import ArrivalKind, Observation
from relaywatch.model.places import Address, Door, Endpoint, Transport, parse_address
from relaywatch.model.tokens import Mint
from relaywatch.script.brief import Brief, CanaryPlaces, Depth, Identity, SinkNames

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
PROXY_BRIEF = replace(
    BRIEF,
    endpoint=Endpoint(TARGET, 3128),
    door=Door(3128, Transport.PLAIN, Endpoint(TARGET, 3128).family),
    canaries=CanaryPlaces(
        addresses=(parse_address("203.0.113.25"), parse_address("2001:db8:113::25")),
        ports=(40025, 443, 80),
        smtp_ports=(25,),
        udp_port=40026,
        dead_port=9,
        name="canary.sink.example",
        zone="c.sink.example",
    ),
)
MARKS = re.compile(
    r"(connect|udp)( at \S+)?( from \S+)?( refused| timeout| unreachable| not-permitted)?"
    r"|server closes|silence( [\d.]+)?|icmp (refused|unreachable)|tls\b.*|pause [\d.]+|may not send"
    r"|no arrival|arrival \S+( (mail|bounce|tcp|http|udp|dns))?( from \S+)?|bounce \S+|ends \S+"
    r"|port \S+ at \S+|no port|ssh \S+ to \S+( .*)?"
)
NOTES = (
    (re.compile(r"connected from .*"), "connect"),
    (re.compile(r"closed by the peer"), "server closes"),
    (re.compile(r"datagrams from .*"), "udp"),
    (re.compile(r"(TLSv[\d.]+), .*"), r"tls \1"),
    (re.compile(r"closed by us"), ""),
)
"""What the engine writes into a transcript, and the mark that it stands for."""
_ON_CHANNEL = re.compile(r"on channel (\d+)")
_LINE = re.compile(r"(?:\s*\d+\.\d+ )?([CS](?:\[\d+\])?[:<]|\*:|---|~<|[*=%~#]) ?(.*)")
_CHANNEL = re.compile(r"\[(\d+)\]")
_PLACEHOLDER = re.compile(r"\{(token|return|minted|nobody|label|answer)(?::([^}]*))?\}")


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


def _canaries(brief: Brief, **places: Any) -> Brief:
    return replace(brief, canaries=replace(brief.canaries, **places))


def _numbers(value: str) -> tuple[int, ...]:
    return tuple(int(word) for word in value.split())


def _number(value: str) -> int | None:
    return int(value) if value else None


def _addresses(value: str) -> tuple[Address, ...]:
    return tuple(parse_address(word) for word in value.split())


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
    "canary-addresses": lambda brief, value: _canaries(brief, addresses=_addresses(value)),
    "canary-ports": lambda brief, value: _canaries(brief, ports=_numbers(value)),
    "canary-smtp-ports": lambda brief, value: _canaries(brief, smtp_ports=_numbers(value)),
    "canary-udp-port": lambda brief, value: _canaries(brief, udp_port=_number(value)),
    "canary-dead-port": lambda brief, value: _canaries(brief, dead_port=_number(value)),
    "canary-name": lambda brief, value: _canaries(brief, name=value or None),
    "canary-zone": lambda brief, value: _canaries(brief, zone=value or None),
    "sink-unproved": lambda brief, _value: _canaries(brief, is_proved=False),
    "second-source": lambda brief, value: _canaries(brief, second_sources=_addresses(value)),
}
"""What stands behind a percent sign; a canary's setting without a value takes the canary away."""


# --- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Step:
    """One thing that happens: ``who`` is C, S, a mark's asterisk, or a tilde."""

    number: int
    who: str
    channel: int = 0
    parts: list[Part] = field(default_factory=list)
    words: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    """Of standing answers: beginnings of commands, and the replies to them."""
    octet_answers: list[tuple[list[Part], list[Part] | str]] = field(default_factory=list)
    """The same of standing answers in octets."""
    is_binary: bool = False

    @property
    def data(self) -> bytes:
        """The octets that are written, without gaps."""
        return fixed_octets(part for part in self.parts if isinstance(part, bytes))

    @property
    def is_whole(self) -> bool:
        """Whether every octet is written."""
        return all(isinstance(part, bytes) for part in self.parts)


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


@dataclass(frozen=True, slots=True)
class Given:
    """What a kind of conversation starts from: the brief, and what stands before a case in a token's label."""

    brief: Brief
    before_case: str = ""
    arrival_kind: ArrivalKind = ArrivalKind.TCP
    is_heard_out: bool = False
    """Whether the script must read all that the server says before it hangs up."""


RELAY = Given(BRIEF, "forward ", ArrivalKind.MAIL, is_heard_out=True)
PROXY = Given(PROXY_BRIEF)


@dataclass(slots=True)
class Conversation:
    """A file as read."""

    path: str
    given: Given = RELAY
    title: str = ""
    brief: Brief = BRIEF
    steps: list[Step] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    ending: str = "completed"
    datagram_channels: set[int] = field(default_factory=set)
    is_parted: bool = False
    """An empty line came last."""
    channel: int = 0
    """What the engine's notes say, in a pasted conversation."""

    def fail(self, number: int, text: str) -> MismatchError:
        """The error at that line."""
        return MismatchError(f"{self.path}:{number}: {text}")

    def fill(self, text: str) -> str:
        """Put in what placeholders stand for."""

        def value(match: re.Match[str]) -> str:
            kind, label = match[1], match[2] or ""
            mint, before = self.brief.mint, self.given.before_case
            match kind:
                case "return":
                    form, _, name = label.partition(" ")
                    return mint.token(f"return {form} {name}")
                case "answer":
                    case, _, address = label.partition(" from ")
                    return canary_answer(KEY, mint.token(before + case), parse_address(address))
                case "token" | "minted":
                    return mint.token(before + label if kind == "token" else label)
                case _:
                    return mint.random_local_part(label or "label")

        return _PLACEHOLDER.sub(value, text)


def read_conversation(text: str, path: str = "conversation", given: Given = RELAY) -> Conversation:
    """Read a conversation.

    :raises MismatchError: if a line isn't understood, or no observation is expected.
    """
    read = Conversation(path, given, brief=given.brief)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            read.is_parted = True
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise read.fail(number, f"not understood: {line!r}")
        try:
            _read_line(read, number, match[1], match[2])
        except (ValueError, KeyError, LookupError, AttributeError) as error:
            raise read.fail(number, f"not understood: {line!r} ({error})") from error
        read.is_parted = False
    if not read.expected and read.ending == "completed":
        raise read.fail(1, "expects no observation")
    return read


def _read_line(read: Conversation, number: int, kind: str, text: str) -> None:
    if kind[0] in "CS":
        _read_words(read, number, kind, text)
    else:
        _READERS[kind](read, number, text)


def _read_comment(read: Conversation, _number: int, text: str) -> None:
    read.title = read.title or text


def _read_setting(read: Conversation, _number: int, text: str) -> None:
    key, _, value = text.partition(" ")
    read.brief = SETTINGS[key](read.brief, value.strip())


def _read_words(read: Conversation, number: int, kind: str, text: str) -> None:
    """What either side says; lines of one side that follow each other are one piece."""
    found = _CHANNEL.search(kind)
    who, channel, is_binary = kind[0], int(found[1]) if found else read.channel, kind.endswith("<")
    parts = read_octets(text, read.fill) if is_binary else [read.fill(text).encode() + b"\r\n"]
    last = read.steps[-1] if read.steps else None
    if last and (last.who, last.channel) == (who, channel) and not read.is_parted:
        last.parts += parts
        last.is_binary |= is_binary
    else:
        read.steps.append(Step(number, who, channel, parts, is_binary=is_binary))


def _read_mark(read: Conversation, number: int, text: str) -> None:
    first, _, rest = text.partition(" ")
    found = _CHANNEL.search(first)
    channel = int(found[1]) if found else read.channel
    text = read.fill(f"{_CHANNEL.sub('', first)} {rest}".strip())
    if not MARKS.fullmatch(text):
        raise ValueError("no such mark")
    words = tuple(shlex.split(text))
    if words[0] == "ends":
        read.ending = words[1]
        return
    if words[0] in {"connect", "udp"}:
        (read.datagram_channels.add if words[0] == "udp" else read.datagram_channels.discard)(channel)
    read.steps.append(Step(number, "*", channel, words=words))


def _read_note(read: Conversation, number: int, text: str) -> None:
    if found := _ON_CHANNEL.fullmatch(text):
        read.channel = int(found[1])
        return None
    for pattern, mark in NOTES:
        if match := pattern.fullmatch(text):
            return _read_mark(read, number, match.expand(mark)) if mark else None
    raise ValueError("no such note")


def _read_expected(read: Conversation, number: int, text: str) -> None:
    fact, *rest = shlex.split(read.fill(text))
    checks = [re.fullmatch(r"([a-z_]+)([=~])(.*)", word) for word in rest]
    case = rest[0] if rest and not checks[0] else None
    read.expected.append(Expected(number, fact, case, tuple(c.groups() for c in checks if c)))


def _read_answer(read: Conversation, number: int, text: str) -> None:
    beginning, answer = _part_answer(text)
    _standing_step(read, number).answers[read.fill(beginning)] = read.fill(answer)


def _read_octet_answer(read: Conversation, number: int, text: str) -> None:
    beginning, answer = _part_answer(text)
    asked = [] if beginning == "greeting" else read_octets(beginning, read.fill)
    said = answer if answer in {"closes", "silence"} else read_octets(answer, read.fill)
    step = _standing_step(read, number)
    step.octet_answers.append((asked, said))
    step.is_binary = True


def _part_answer(text: str) -> tuple[str, str]:
    beginning, arrow, answer = text.partition(" -> ")
    if not arrow:
        raise ValueError("no ' -> '")
    return beginning, answer


def _standing_step(read: Conversation, number: int) -> Step:
    if not read.steps or read.steps[-1].who != "~":
        read.steps.append(Step(number, "~"))
    return read.steps[-1]


_READERS: dict[str, Callable[[Conversation, int, str], None]] = {
    "#": _read_comment,
    "---": _read_comment,
    "%": _read_setting,
    "*": _read_mark,
    "*:": _read_note,
    "=": _read_expected,
    "~": _read_answer,
    "~<": _read_octet_answer,
}
