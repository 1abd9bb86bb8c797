"""What an audit says: positions, causes, gaps, findings, and the report of one server.

The report is the line of ``relaywatch audit --format json``. Contract: fields may be added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from relaywatch.advice.vocabulary import Standing
from relaywatch.model.evidence import Weakness

from .claims import Claim


class AuditVerdict(StrEnum):
    """What a stranger comes to. Contract: their names and meanings stay."""

    OPEN = "open"
    """He gets through, whoever he says that he is."""
    OPEN_IF = "open-if"
    """He gets through if he claims the right thing, or comes the right way."""
    DOWN = "down"
    """The server refuses to start."""
    CLOSED = "closed"
    """He is refused, and everything that decides it was evaluated."""
    UNKNOWN = "unknown"
    """Something that decides it could not be read or isn't evaluated."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A line of a file, counted from 1; 0 for the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Cause:
    """A setting that brings it about: where, and its words as they stand; a default has no position."""

    text: str
    position: Position | None = None
    rule: str = ""
    """The rule of the catalogue that says what is wrong with it, if anything is."""


class GapKind(StrEnum):
    """Why something could not be evaluated."""

    MISSING = "missing"
    """A file that is included or looked up isn't there."""
    UNREADABLE = "unreadable"
    BINARY = "binary"
    """A table in a binary form, without its source beside it."""
    LOOP = "loop"
    """A file includes itself, by whatever way."""
    TOO_LONG = "too-long"
    TOO_MANY = "too-many"
    """More files, or more ways through, than are looked at."""
    SYNTAX = "syntax"
    """A line that can't be parsed."""
    DIRECTIVE = "directive"
    """A directive that isn't known."""
    EXTERNAL = "external"
    """Another program, a database or the DNS decides."""
    NO_LISTENER = "no-listener"
    """The server is recognised, and no listener of it is found: nothing was evaluated."""
    NOT_EVALUATED = "not-evaluated"
    """Known, and beyond what the evaluation can do."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not evaluated: what, and where it stands."""

    kind: GapKind
    subject: str
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One hole, or one reason why there may be one: the shortest way through, and what causes it."""

    advisory: str
    """The outside probe's; empty where the finding is that the server is down."""
    rule: str
    verdict: AuditVerdict
    file: str
    """Where to mend it; the main file where a default causes it."""
    line: int
    """Counted from 1; 0 where it is no line that causes it."""
    witness: str
    """What the stranger says, as protocol text."""
    service: str = ""
    """The listener, as the configuration names it."""
    standing: Standing | None = None
    """How well the rule is known: seen with the real server, documented, or unverified."""
    claims: tuple[Claim, ...] = ()
    causes: tuple[Cause, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def position(self) -> Position:
        """Where to mend it."""
        return Position(self.file, self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """The verdict for one listener."""

    name: str
    verdict: AuditVerdict
    weakness: Weakness
    position: Position | None = None


class OracleOutcome(StrEnum):
    """What the server's own tool makes of our evaluation."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    SILENT = "silent"
    """It isn't installed, takes too long, or can't be asked about this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleAnswer:
    """What one of the server's own tools says beside us (``--oracle``)."""

    tool: str
    """The command."""
    outcome: OracleOutcome
    subject: str = ""
    """What was asked: a parameter, a table's key, a dialogue."""
    theirs: str = ""
    """What it says, or why it says nothing."""
    ours: str = ""
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """The verdict for one server, found at one place."""

    server: str
    verdict: AuditVerdict
    findings: tuple[AuditFinding, ...] = ()
    path: str = ""
    """Its main configuration file."""
    services: tuple[ServiceReport, ...] = ()
    gaps: tuple[Gap, ...] = ()
    """All that was not evaluated; what may decide comes first."""
    harmless: tuple[Gap, ...] = ()
    """Those of the gaps that can't decide anything."""
    files: tuple[str, ...] = field(default=())
    """Every file that was read."""
    error: str | None = None
    """A fault of ours."""
    oracles: tuple[OracleAnswer, ...] = ()
    """What the server's own tools say, where they were asked."""
