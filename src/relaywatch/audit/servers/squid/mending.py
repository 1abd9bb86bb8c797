"""The smallest edits that close Squid to strangers and keep it open to the owner's networks."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.audit.findings import AuditFinding, Position
from relaywatch.audit.proxies import own_networks, path_of
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup

from .acls import addresses
from .reading import Directive, directives

_NAME = "own_networks"
_ALLOWING = frozenset({"sq-allow", "sq-allow-connect"})
_CLAIMED = frozenset({"sq-client-name", "sq-field"})


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Put the owner's networks in the place of everybody."""
    said = directives(setup)
    place = _place(finding)
    path = path_of(setup, place.file)
    at = next((one for one in said if one.position == place and not one.gap), None)
    if path is None or at is None:
        return
    if finding.rule == "sq-acl-wide":
        yield from _narrowed(setup, said, at)
        return
    lines = _lines(setup, said, at, finding.rule)
    if lines is not None:
        yield Edit(path, at.position.line, at.last, lines)


def _place(finding: AuditFinding) -> Position:
    """Where to mend it: a claim that an acl asks for stays, and the line that allows it asks for more."""
    if finding.rule not in _CLAIMED:
        return finding.position
    allowing = (cause.position for cause in finding.causes if cause.rule in _ALLOWING)
    return next(filter(None, allowing), finding.position)


def _lines(setup: Setup, said: list[Directive], at: Directive, rule: str) -> tuple[str, ...] | None:
    own = own_networks(setup)
    if rule in _ALLOWING | _CLAIMED:
        kept = [word for word in at.words[1:] if word != "all"]
        definition, name = _definition(said, own)
        return (*definition, " ".join(("http_access allow", name, *kept)))
    if rule == "sq-no-last":
        definition, name = _definition(said, own)
        return (at.text, *definition, f"http_access allow {name}", "http_access deny all")
    if rule == "sq-forwarded-for":
        return ("follow_x_forwarded_for deny all",)
    if rule == "sq-allow-direct":
        return (" ".join((at.name, *(word for word in at.words if word != "allow-direct"))),)
    return None


def _definition(said: list[Directive], own: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """An acl of the owner's networks, defined if it isn't yet; this machine alone where he has none."""
    if not own:
        return (), "localhost"
    defined = {(one.words[0], one.words[2:]) for one in said if one.name == "acl"}
    if (_NAME, own) in defined:
        return (), _NAME
    taken = {name for name, _ in defined}
    name = next(name for name in (_NAME, *(f"{_NAME}_{n}" for n in range(2, 100))) if name not in taken)
    return (f"acl {name} src {' '.join(own)}",), name


def _narrowed(setup: Setup, said: list[Directive], at: Directive) -> Iterator[Edit]:
    """All lines of the acl, which count together."""
    for one in said:
        path = path_of(setup, one.position.file)
        if one.name == "acl" and one.words[:2] == at.words[:2] and path is not None:
            lines = _narrow(setup, one, own_networks(setup) if one is at else ())
            if lines != (one.text,):
                yield Edit(path, one.position.line, one.last, lines)


def _narrow(setup: Setup, at: Directive, own: tuple[str, ...]) -> tuple[str, ...]:
    """The acl without what strangers are in."""
    kept = []
    for word in at.words[2:]:
        meant = addresses(word)
        if meant is None or not setup.has_strangers(meant):
            kept.append(word)
    fresh = [network for network in own if network not in kept]
    return (" ".join((at.name, *at.words[:2], *([*kept, *fresh] or ["127.0.0.1/32", "::1/128"]))),)
