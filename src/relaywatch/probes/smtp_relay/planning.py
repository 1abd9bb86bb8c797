"""Which cases, in which order, and how many to a connection.

The plain ones come first, then what the recognised software is known for, then the rest, with those
that a strict parser counts as syntax errors last. The maxima are published in docs/conduct.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relaywatch.script.brief import Brief, Depth
from relaywatch.script.software import Software

from .cases import Case, Envelope, Names, expand, written
from .forms import FORWARD_PATHS, HELO_FORMS, PLAIN, REVERSE_PATHS

MAX_CASES = {Depth.CORE: 40, Depth.STANDARD: 240, Depth.EXHAUSTIVE: 900}
"""Cases a door, by depth."""
UNKNOWN_REFUSALS = 2
"""Refusals a connection where the software isn't known to bear more."""
MAX_CONNECTIONS = {depth: 2 * cases for depth, cases in MAX_CASES.items()}
"""Connections a door, by depth: as if every case had one to itself, and another behind a greylist."""
SYNTAX_REFUSALS = 3
"""Exim closes at the fourth syntax error, whatever else it bears."""
STANDARD_CROSSINGS = (
    ("percent-hack", "null"),  # the Lotus SMTP MTA's hole, which no older battery asks
    ("percent-hack", "target-name"),
    ("quoted-at-target", "target-name"),
    ("double-at", "target-name"),
    ("source-route", "target-name"),
    ("bang-path-at-target", "target-name"),
)
"""Forms of both paths that are asked together at any server: trust in a claim lets odd forms through."""
ALTERNATES = frozenset(
    {
        "plain+from-target-name",
        "plain+from-hosted",
        "plain+helo-target-name",
        "percent-hack",
        "percent-hack-hosted",
        "quoted-at-target",
        "double-at",
        "double-at-hosted",
        "source-route",
        "source-route-hosted",
    }
)
"""Cases that are asked for every name and domain of the target's, not for the likeliest alone."""
CORE_FORWARDS = frozenset(
    {"percent-hack", "quoted-at-target", "double-at", "source-route", "bang-path-at-target"}
)


def plan_cases(
    brief: Brief, names: Names, extensions: Iterable[str], software: Software | None
) -> list[Case]:
    """The cases for one door in the order in which to ask them, each once; `MAX_CASES` of them are asked."""
    offered = frozenset(extensions)
    wanted = [case for case in _cases(brief.depth) if _is_possible(case, offered)]
    crossings = frozenset(software.crossings) if software else frozenset()
    if brief.depth is not Depth.EXHAUSTIVE:
        wanted += [case for case in _crossed(crossings) if _is_possible(case, offered)]
    expanded = (concrete for case in wanted for concrete in _expand(case, names, brief.depth))
    known = frozenset(software.forms) if software else frozenset()
    return sorted(_distinct(expanded, names), key=lambda case: _rank(case, known, crossings))


def _expand(case: Case, names: Names, depth: Depth) -> Iterator[Case]:
    for number, concrete in enumerate(expand(case, names)):
        if not number or (depth is not Depth.CORE and case.name in ALTERNATES):
            yield concrete


def _cases(depth: Depth) -> Iterator[Case]:
    yield Case()
    yield from (Case(reverse=reverse) for reverse in REVERSE_PATHS[1:])
    yield from (Case(helo=helo) for helo in HELO_FORMS[1:])
    for forward in FORWARD_PATHS[1:]:
        if depth is not Depth.CORE or forward.name in CORE_FORWARDS:
            yield Case(forward=forward)
    if depth is Depth.STANDARD:
        yield from _crossed(STANDARD_CROSSINGS)
    if depth is Depth.EXHAUSTIVE:
        for reverse in REVERSE_PATHS[1:]:
            yield from (Case(forward=forward, reverse=reverse) for forward in FORWARD_PATHS[1:])


def _crossed(pairs: Iterable[tuple[str, str]]) -> Iterator[Case]:
    forwards = {forward.name: forward for forward in FORWARD_PATHS}
    reverses = {reverse.name: reverse for reverse in REVERSE_PATHS}
    for forward, reverse in pairs:
        yield Case(forward=forwards[forward], reverse=reverses[reverse])


def _is_possible(case: Case, offered: frozenset[str]) -> bool:
    return {case.forward.needs, case.helo.needs} - {""} <= offered


def _distinct(cases: Iterable[Case], names: Names) -> Iterator[Case]:
    """Leave out a case that is written as an earlier one is, but for the canary."""
    seen: set[tuple[str, ...]] = set()
    for case in cases:
        asked = (
            *written(case, names),
            case.forward.name if case.forward.after_local or case.forward.needs else "",
        )
        if asked not in seen:
            seen.add(asked)
            yield case


def _rank(case: Case, known: frozenset[str], crossings: frozenset[tuple[str, str]]) -> tuple[int, ...]:
    is_plain = case.forward is PLAIN and case.reverse.name in {"ours", "null", "target-name", "hosted"}
    is_known = case.forward.name in known or (case.forward.name, case.reverse.name) in crossings
    is_crossed = case.forward is not PLAIN and case.reverse.name != "ours" and not is_known
    is_first = is_plain and case.helo.name == "own" and not case.is_alternate
    return (not is_first, not is_known, is_crossed or case.is_alternate, case.strains_syntax)


@dataclass(frozen=True, slots=True)
class Batch:
    """Envelopes to ask in one connection."""

    envelopes: tuple[Envelope, ...]


def take_batch(pending: Sequence[Envelope], limit: int) -> Batch:
    """Take the next envelopes for one connection: at most ``limit`` refusals, in the given order.

    Envelopes that share HELO and reverse-path with the first are drawn forward, since they cost no
    further MAIL.  A forward-path that comes after a local one keeps a connection to itself.
    """
    first = pending[0]
    if first.case.forward.after_local:
        return Batch((first,))
    if first.strains_syntax:
        limit = min(limit, SYNTAX_REFUSALS)
    others = [e for e in pending[1:] if _fits(e, first)]
    alike = [e for e in others if _is_like(e, first)]
    rest = [e for e in others if not _is_like(e, first)]
    return Batch((first, *(alike + rest)[: max(1, limit) - 1]))


def _fits(envelope: Envelope, first: Envelope) -> bool:
    return (
        not envelope.case.forward.after_local
        and envelope.strains_syntax == first.strains_syntax
        and envelope.helo == first.helo  # not every server bears a second EHLO
    )


def _is_like(envelope: Envelope, first: Envelope) -> bool:
    """Whether it costs no further MAIL, and comes no sooner than its turn by being drawn forward."""
    is_plain = envelope.case.forward is PLAIN
    return _same_transaction(envelope, first) and is_plain == (first.case.forward is PLAIN)


def _same_transaction(one: Envelope, other: Envelope) -> bool:
    return (one.helo, one.mail) == (other.helo, other.mail)


def by_transaction(envelopes: Sequence[Envelope], size: int | None = None) -> Iterator[tuple[Envelope, ...]]:
    """Cut a batch into runs that share HELO and reverse-path, in order, each of ``size`` at most."""
    run: list[Envelope] = []
    for envelope in envelopes:
        if run and (len(run) == size or not _same_transaction(run[0], envelope)):
            yield tuple(run)
            run = []
        run.append(envelope)
    if run:
        yield tuple(run)
