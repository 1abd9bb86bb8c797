"""Who may use what: the sections that apply to a request, merged as httpd merges them, and their ``Require`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import TYPE_CHECKING

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import compiled
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, all_of, any_of, claimed, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES
from relaywatch.audit.setup import Setup

from .reading import Node

if TYPE_CHECKING:
    from .forging import Forging

_GROUPS = {"requireall": all_of, "requireany": any_of}
_OLD = frozenset({"order", "allow", "deny"})
CHOOSING = ("if", "elseif", "else")
"""Sections by expressions, which are merged last."""
_CREDENTIALS = re.compile(
    r"(?:valid-user|user|group|file-owner|file-group|dbm-\w+|dbd-\w+|ldap-\S+|local|forward-dns)"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the sections see it: by which method, for which URL, by a stranger of which family."""

    method: str
    url: str
    version: int
    is_forward: bool
    path: str = "/"


@dataclass(slots=True)
class Access:
    """The sections of the main server and of one virtual host, in their order."""

    setup: Setup
    sections: tuple[Node, ...]
    forged: Forging | None = None
    """In which addresses that the client writes httpd believes."""

    def granted(self, asked: Asked) -> Condition:
        """Whether a request is let through, by all that applies to it."""
        new: Condition = ALWAYS
        old: Condition = ALWAYS
        is_either = False
        for section in self._applying(asked):
            chosen = section.gap or self._chosen(section)
            if chosen is not None:  # it takes the place of what stands before, if it applies
                new = unknown(chosen)
                continue
            inside = list(_of_method(section, asked.method))
            requires = [node for node in inside if _is_require(node)]
            if requires:
                new = self._merged(new, any_of(self._required(node, asked) for node in requires), inside)
            if any(node.name in _OLD for node in inside):
                old = self._old(inside, asked)
            for node in inside:
                if node.name == "satisfy":
                    is_either = "".join(node.words).lower() == "any"
        return new | old if is_either else new & old

    def _merged(self, before: Condition, now: Condition, inside: Iterable[Node]) -> Condition:
        """``AuthMerging``: a section's own take the place of those before, if it doesn't say otherwise."""
        how = next(
            (node.words[0].lower() for node in inside if node.name == "authmerging" and node.words), "off"
        )
        return before & now if how == "and" else before | now if how == "or" else now

    def _applying(self, asked: Asked) -> Iterator[Node]:
        """``<Proxy>`` first, then ``<Location>``, which means the path of what isn't a forward request."""
        names = (
            ("proxy", "proxymatch")
            if asked.is_forward
            else ("proxy", "proxymatch", "location", "locationmatch")
        )
        for group in (names[:2], names[2:], CHOOSING):
            for section in self.sections:
                if (section.name in group and self._applies(section, asked)) or (
                    section.gap is not None and group == CHOOSING
                ):
                    yield section

    def _chosen(self, section: Node) -> Gap | None:
        """An ``<If>`` in a section that grants or refuses by an expression."""
        choosing = (one for one in section.inside if one.name in CHOOSING and _is_deciding(one))
        found = next(choosing, None)
        if found is None:
            return None
        return self.setup.note(Gap(GapKind.NOT_EVALUATED, found.text, found.position))

    def _applies(self, section: Node, asked: Asked) -> bool:
        if section.name in CHOOSING:
            is_deciding = _is_deciding(section)
            if is_deciding:
                section.gap = self.setup.note(Gap(GapKind.NOT_EVALUATED, section.text, section.position))
            return is_deciding
        words = list(section.words)
        is_pattern = section.name.endswith("match") or words[:1] == ["~"]
        wanted = words[-1] if words else ""
        subject = asked.url if section.name.startswith("proxy") else asked.path
        if is_pattern:
            pattern = compiled(wanted)
            if pattern is None:
                section.gap = self.setup.note(Gap(GapKind.SYNTAX, section.text[:80], section.position))
            return pattern is None or pattern.search(subject) is not None
        if set(wanted) & set("*?["):
            return fnmatchcase(subject, wanted)
        return subject.startswith(wanted)

    def _required(self, node: Node, asked: Asked) -> Condition:
        if node.name in _GROUPS:
            return _GROUPS[node.name](self._required(one, asked) for one in node.inside if _is_require(one))
        if node.name == "requirenone":
            return ~any_of(self._required(one, asked) for one in node.inside if _is_require(one))
        words = list(node.words)
        if words[:1] == ["not"]:
            return ~self._provided(node, words[1:], asked)
        return self._provided(node, words, asked)

    def _provided(self, node: Node, words: list[str], asked: Asked) -> Condition:
        provider, *values = [word.lower() for word in words] or [""]
        if provider in {"ip", "host"}:
            return any_of(
                self._from(node, value, asked) if provider == "ip" else _named(node, value)
                for value in values
            )
        if provider == "all":
            return ALWAYS.because(node.cause("ap-require-wide")) if values == ["granted"] else NEVER
        if provider == "method":
            return ALWAYS if asked.method.lower() in values else NEVER
        if provider == "ssl":
            return AS_HE_LIKES
        if _CREDENTIALS.fullmatch(provider):
            return NEVER
        return unknown(self.setup.note(Gap(GapKind.EXTERNAL, node.text, node.position)))

    def _from(self, node: Node, value: str, asked: Asked) -> Condition:
        meant = networks(value)
        if meant is None:
            return unknown(self.setup.note(Gap(GapKind.SYNTAX, node.text, node.position)))
        fits = self.setup.strangers(meant, asked.version).because(node.cause("ap-require-wide"))
        if self.forged is None or not meant:
            return fits
        believed = meant & self.forged.believed
        address = next(
            (net.network_address for version in (4, 6) for net in believed.networks(version)), None
        )
        if address is None:
            return fits
        line = self.forged.node
        if line.name == "remoteipproxyprotocol":
            claim = Claim(ClaimKind.PROXY_HEADER, f"from {address}")
        else:
            claim = Claim(ClaimKind.FIELD, f"{line.words[0]}: {address}")
        forging = claimed(claim) & unknown(self.forged.gap) if self.forged.gap else claimed(claim)
        return fits | forging.because(line.cause("ap-forwarded-for"))

    def _old(self, inside: list[Node], asked: Asked) -> Condition:
        """``Order``, ``Allow`` and ``Deny`` of mod_access_compat."""
        order = next(
            (" ".join(node.words).lower().replace(" ", "") for node in inside if node.name == "order"), ""
        )
        allowed = any_of(self._old_one(node, asked) for node in inside if node.name == "allow")
        denied = any_of(self._old_one(node, asked) for node in inside if node.name == "deny")
        if order in {"allow,deny", "mutual-failure"}:
            return allowed & ~denied
        return allowed | ~denied

    def _old_one(self, node: Node, asked: Asked) -> Condition:
        values = [word.lower() for word in node.words[1:]]
        if "all" in values:
            return ALWAYS.because(node.cause("ap-require-wide" if node.name == "allow" else ""))
        if any(value.startswith("env=") for value in values):
            return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, node.text, node.position)))
        return any_of(
            _named(node, value) if networks(value) is None else self._from(node, value, asked)
            for value in values
        )


def _named(node: Node, name: str) -> Condition:
    return claimed(Claim(ClaimKind.CLIENT_NAME, name)).because(node.cause("ap-client-name"))


def networks(value: str) -> AddressSet | None:
    """An address, a network, or the first octets of one (``10.1``)."""
    octets = value.rstrip(".").split(".")
    if value.replace(".", "").isdigit() and len(octets) < 4:
        value = f"{'.'.join([*octets, '0', '0', '0'][:4])}/{8 * len(octets)}"
    try:
        return AddressSet.of([ip_network(value, strict=False)])
    except ValueError:
        return None


def _is_deciding(section: Node) -> bool:
    return any(_is_require(node) or node.name in _OLD for node in section.inside)


def _is_require(node: Node) -> bool:
    return node.name == "require" or (
        node.name in {*_GROUPS, "requirenone"} and any(_is_require(one) for one in node.inside)
    )


def _of_method(section: Node, method: str) -> Iterator[Node]:
    """What stands in it, for this method: ``<Limit>`` and ``<LimitExcept>`` hold for some."""
    for node in section.inside:
        if node.name not in {"limit", "limitexcept"}:
            yield node
        elif (method in map(str.upper, node.words)) == (node.name == "limit"):
            yield from node.inside
