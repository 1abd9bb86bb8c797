"""Matchers, and the order in which directives are obeyed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from relaywatch.audit.addresses import LOOPBACK, PRIVATE, AddressSet
from relaywatch.audit.captures import compiled
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, all_of, any_of, claimed, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST

from .reading import Node

_AS_HE_LIKES = frozenset(
    {"path", "path_regexp", "method", "query", "protocol", "file", "vars", "vars_regexp"}
)
_BEFORE = (
    "forward_proxy",
    "redir",
    "basicauth",
    "basic_auth",
    "forward_auth",
    "handle",
    "handle_path",
    "route",
    "abort",
    "error",
    "respond",
)
"""Directives that may keep a request, in the order in which Caddy obeys them; those that pass on come after."""
_INNER = frozenset({"handle", "handle_path", "route"})


@dataclass(frozen=True, slots=True)
class Matching:
    """The named matchers of a site, for a stranger of a family."""

    setup: Setup
    site: Node
    version: int
    is_own: bool = False
    """Whether the request is for one of the owner's own hosts, whichever of them he likes."""
    trusting: Node | None = None
    """The line by which proxies are trusted to say who the client is, if strangers are among them."""

    def when(self, node: Node) -> Condition:
        """Whether a directive's matcher holds: a path, ``*``, or a name."""
        word = node.words[1] if len(node.words) > 1 else ""
        if word.startswith("@"):
            return self._named(word)
        return AS_HE_LIKES if word.startswith("/") and word != "/*" else ALWAYS

    def _named(self, name: str) -> Condition:
        lines = [node for node in self.site.inside if node.name == name]
        if not lines:
            return NEVER
        parts = [part for node in lines for part in self._parts(node)]
        return all_of(self.one(part) for part in parts)

    def _parts(self, node: Node) -> Iterator[Node]:
        if len(node.words) > 1:
            yield Node(node.words[1:], node.position, node.last)
        yield from node.inside

    def one(self, part: Node) -> Condition:
        """Whether one matcher holds: its name and what it is for, or a block of others."""
        name, values = part.name, part.words[1:]
        if name == "not":
            inner = [Node(values, part.position, part.last)] if values else part.inside
            return ~all_of(self.one(one) for one in inner)
        if name in {"remote_ip", "client_ip"}:
            return self._from(name, values)
        if name == "host":
            strictly = any_of(ALWAYS if _is_host(value) else NEVER for value in values)
            return AS_HE_LIKES if self.is_own else strictly
        if name in {"header", "header_regexp"} and len(values) > 1:
            return self._field(values)
        if name in _AS_HE_LIKES:
            return AS_HE_LIKES
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, part.text[:80], part.position)))

    def _from(self, name: str, values: Sequence[str]) -> Condition:
        meant = AddressSet()
        for value in values:
            if value == "private_ranges":
                meant |= PRIVATE | LOOPBACK
                continue
            try:
                meant |= AddressSet.of([value])
            except ValueError:
                continue
        fits = self.setup.strangers(meant, self.version)
        told = next((net.network_address for version in (4, 6) for net in meant.networks(version)), None)
        is_forged = values[:1] == ("forwarded",) or (name == "client_ip" and self.trusting is not None)
        if told is None or not is_forged:
            return fits
        return fits | claimed(Claim(ClaimKind.FIELD, f"X-Forwarded-For: {told}"))

    def _field(self, values: Sequence[str]) -> Condition:
        if values[0].lower() == "host" and self.is_own:
            return AS_HE_LIKES
        if values[0].lower() == "host":
            pattern = compiled(values[-1])
            fits = _is_host(values[-1]) or (pattern is not None and pattern.search(OUTSIDE_HOST) is not None)
            return ALWAYS if fits else NEVER
        return claimed(Claim(ClaimKind.FIELD, f"{values[0]}: {values[-1]}"))


def _is_host(pattern: str) -> bool:
    return pattern == "*" or fnmatchcase(OUTSIDE_HOST, pattern.lower())


def in_order(block: Node) -> list[Node]:
    """The directives as Caddy obeys them: in a ``route`` as they stand, elsewhere sorted, those with a matcher first."""
    if block.name == "route":
        return list(block.inside)
    ranks = {name: number for number, name in enumerate(_BEFORE)}
    return sorted(
        block.inside,
        key=lambda node: (-1 if node.gap else ranks.get(node.name, len(ranks)), not _has_matcher(node)),
    )


def _has_matcher(node: Node) -> bool:
    return len(node.words) > 1 and node.words[1].startswith(("@", "/"))


def is_inner(node: Node) -> bool:
    """Whether directives stand in it that a request comes to."""
    return node.name in _INNER
