"""smtpd.conf as statements, tables, actions and matches, each with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens

_OTHERS = frozenset(
    {
        "admd", "bounce", "ca", "filter", "include", "mta", "pki", "proc",
        "queue", "smtp", "srs", "listen", "table", "action", "match", "lookup", "limit",
    }
)  # fmt: skip
_CONDITIONS = frozenset({"from", "for", "auth", "helo", "mail-from", "rcpt-to", "tag", "tls"})
_MARKS = "{},=!<>"
_VALUED = frozenset({"tag", "hostname", "hostnames", "pki", "ca", "filter", "port", "senders", "on"})
"""Options of ``listen`` that a name follows."""
_MOST_DEPTH = 8


class DownError(Exception):
    """It refuses to start: why, and where."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Statement:
    """The tokens of one statement."""

    words: tuple[Token, ...]
    position: Position
    last: int

    @property
    def name(self) -> str:
        """Its first word."""
        return self.words[0].text

    def text(self) -> str:
        """As it stands, more or less."""
        return " ".join(token.text for token in self.words)[:200]

    def after(self, word: str) -> str:
        """What stands behind a word; empty if there is none."""
        texts = [token.text for token in self.words]
        return texts[texts.index(word) + 1] if word in texts[:-1] else ""

    def has(self, word: str) -> bool:
        """Whether a word is in it, other than as what an option of a name stands for."""
        return any(
            token.text == word and before.text not in _VALUED for before, token in pairwise(self.words)
        )


@dataclass(frozen=True, slots=True)
class Values:
    """What a table holds; ``gap`` if that can't be told."""

    values: tuple[str, ...] = ()
    gap: Gap | None = None


@dataclass(slots=True)
class Smtpd:
    """One smtpd.conf, read."""

    setup: Setup
    statements: list[Statement] = field(default_factory=list)
    macros: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Values] = field(default_factory=dict)
    actions: dict[str, str] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)

    def of(self, name: str) -> list[Statement]:
        """The statements of one kind, in order."""
        return [one for one in self.statements if one.name == name]


@dataclass(frozen=True, slots=True)
class Match:
    """A ``match``: its conditions by name, each with its sign and its words."""

    statement: Statement
    conditions: tuple[tuple[str, bool, tuple[str, ...]], ...]
    action: str
    """Empty if it rejects."""

    def find(self, name: str) -> tuple[bool, tuple[str, ...]] | None:
        """A condition by its name: its sign, and its words."""
        return next(((no, words) for own, no, words in self.conditions if own == name), None)


def read_into(smtpd: Smtpd, source: SourceFile, within: tuple[str, ...]) -> None:
    """Read a file, and those that it includes.

    :raises DownError: if smtpd wouldn't start with it.
    """
    try:
        found = list(tokens(source, marks=_MARKS, by_line=True, quotes='"'))
    except ValueError as error:
        raise DownError(
            Cause("a quoted text without an end", source.at(int(str(error))), "os-syntax")
        ) from None
    for words in _lines(found):
        first = words[0]
        broken = _broken(words, source)
        if broken is not None:  # 6.8 refuses to start, and joins nothing
            smtpd.setup.note(Gap(GapKind.SYNTAX, "a list over several lines without a backslash", broken))
        statement = Statement(tuple(_expanded(smtpd, words)), source.at(first.line), words[-1].line)
        if len(words) > 2 and words[1].text == "=" and words[1].is_mark:
            smtpd.macros[first.text] = words[2].text
        elif first.text == "include" and len(words) > 1:
            _include(smtpd, statement, (*within, source.name))
        elif first.text == "table":
            _table(smtpd, statement)
        elif first.text == "action":
            _action(smtpd, statement)
        elif first.text == "match":
            smtpd.matches.append(_match(smtpd, statement))
        elif first.text in _OTHERS:
            smtpd.statements.append(statement)
        else:
            kind = GapKind.SYNTAX if first.text in {"accept", "reject"} else GapKind.DIRECTIVE
            smtpd.setup.note(Gap(kind, statement.text()[:80], statement.position))


def _lines(found: Iterable[Token]) -> Iterator[list[Token]]:
    """A statement ends with its line, unless a brace is open."""
    words: list[Token] = []
    depth = 0
    for token in (*found, Token("\n", 0, is_mark=True)):
        if token.is_mark and token.text == "\n":
            if not depth or not token.line:
                if words:
                    yield words
                words, depth = [], 0
            continue
        if token.is_mark:
            depth += {"{": 1, "}": -1}.get(token.text, 0)
        words.append(token)


def _broken(words: Sequence[Token], source: SourceFile) -> Position | None:
    """Where a list goes on in another line although no backslash says so."""
    for token, following in pairwise(words):
        if token.line < following.line and not source.lines[token.line - 1].rstrip().endswith("\\"):
            return source.at(token.line)
    return None


def _expanded(smtpd: Smtpd, words: Iterable[Token], depth: int = 0) -> Iterator[Token]:
    """The words, a macro's value read in its place as if it stood there: it may be several words, or a list."""
    for token in words:
        value = smtpd.macros.get(token.text[1:]) if token.text.startswith("$") and not token.is_mark else None
        if value is None or depth > _MOST_DEPTH:
            yield token
            continue
        read = tokens(SourceFile("", (value,)), marks=_MARKS, quotes='"')
        yield from _expanded(smtpd, (replace(one, line=token.line) for one in read), depth + 1)


def _include(smtpd: Smtpd, at: Statement, within: tuple[str, ...]) -> None:
    name = at.words[1].text
    source = smtpd.setup.read(name, at.position)
    if source is not None and (source.name in within or len(within) > _MOST_DEPTH):
        smtpd.setup.note(Gap(GapKind.LOOP, name, at.position))
    elif source is not None:
        read_into(smtpd, source, within)


def _table(smtpd: Smtpd, at: Statement) -> None:
    words = list(at.words[2:])
    name = at.words[1].text if len(at.words) > 1 else ""
    if any(token.text == "{" and token.is_mark for token in words):
        smtpd.tables[name] = Values(tuple(_keys(words)))
        return
    kind, colon, path = (words[-1].text if words else "").partition(":")
    if not colon:
        kind, path = "file", kind
    if kind == "file":
        source = smtpd.setup.read(path, at.position)
        gap = None if source is not None else smtpd.setup.latest_gap
        lines = (line.split("#")[0].split() for line in source.lines) if source is not None else ()
        smtpd.tables[name] = Values(tuple(words[0] for words in lines if words), gap)
    else:
        sort = GapKind.BINARY if kind == "db" else GapKind.EXTERNAL
        smtpd.tables[name] = Values(gap=Gap(sort, f"{kind}:{path}", at.position))


def _keys(words: Sequence[Token]) -> Iterator[str]:
    """The members of ``{ a, b }``, or the keys of ``{ a = b, c = d }``."""
    is_key = True
    for token in words:
        if token.is_mark:
            is_key = token.text != "="
        elif is_key:
            yield token.text


def _action(smtpd: Smtpd, at: Statement) -> None:
    if len(at.words) < 3:
        raise DownError(Cause(at.text(), at.position, "os-syntax"))
    if at.words[1].text in smtpd.actions:  # dispatcher already declared with that name
        raise DownError(Cause(at.text(), at.position, "os-syntax"))
    smtpd.actions[at.words[1].text] = at.words[2].text


def _match(smtpd: Smtpd, at: Statement) -> Match:
    """A ``match`` in parts; what it names must stand before it.

    :raises DownError: if smtpd wouldn't start with it.
    """
    found: list[tuple[str, bool, tuple[str, ...]]] = []
    words = list(at.words[1:])
    negated = False
    while words:
        token = words.pop(0)
        if token.is_mark and token.text == "!":
            negated = True
        elif token.text == "reject":
            return Match(at, tuple(found), "")
        elif token.text == "action" and words:
            action = words[0].text
            if action not in smtpd.actions:
                raise DownError(Cause(at.text(), at.position, "os-syntax"))
            return Match(at, tuple(found), action)
        elif token.text in _CONDITIONS:
            said = tuple(_arguments(token.text, words))
            if "<" in said and "".join(said[said.index("<") + 1 :]) not in smtpd.tables:  # no such table
                raise DownError(Cause(at.text(), at.position, "os-syntax"))
            found.append((token.text, negated, said))
            negated = False
        else:
            raise DownError(Cause(at.text(), at.position, "os-syntax"))
    raise DownError(Cause(at.text(), at.position, "os-syntax"))


def _arguments(name: str, words: list[Token]) -> Iterator[str]:
    """The words of a condition: a kind, ``regex``, and a value, a table in signs, or a list."""
    if name == "tls":
        return
    if name in {"from", "for"} and words:
        kind = words.pop(0).text
        yield kind
        if kind in {"any", "local", "socket"}:
            return
        name = kind
    if words and words[0].text == "regex" and not words[0].is_mark:
        yield words.pop(0).text
    if name == "auth" and not (words and words[0].text in {"<", "{"}):
        return
    if words and words[0].is_mark and words[0].text in "<{":
        end = ">" if words.pop(0).text == "<" else "}"
        yield "<" if end == ">" else "{"
        while words and words[0].text != end:
            yield words.pop(0).text
        if words:
            words.pop(0)
    elif words:
        yield "{"
        yield words.pop(0).text
