"""What a stranger gets out of each site of Caddy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Condition, Way, claimed, joined, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import by_rule, first_of_each, headed, host_and_port, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .matching import Matching, in_order, is_inner
from .reading import Node, sites

_PLACEHOLDER = re.compile(r"\{([^{}$]+)\}")
_BY_HOST = re.compile(
    r"host|hostport|http\.request\.(?:host|hostport)|labels\.\d+|http\.request\.host\.labels\.\d+"
)
_CLIENTS = re.compile(
    r"(?:http\.request\.)?(?:header|query|cookie|uri|path|re|re\..*|orig_uri|tls\.server_name|remote\.user|body)(?:[.?].*)?"
    r"|tls_.*|uri|path|dir|file|query|re\..*"
)
_FIXED = re.compile(
    r"env\..*|system\..*|upstream_hostport|http\.reverse_proxy\..*|time\..*|file\..*|remote.*|http\.request\.remote.*|port"
)
_STOPPING = frozenset({"respond", "abort", "error", "redir"})
_PASSWORDS = frozenset({"basicauth", "basic_auth"})
_PASSING = frozenset({"reverse_proxy", "php_fastcgi"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every site."""
    for site in sites(setup):
        addresses = site.words
        ways = [way for version in (4, 6) for way in _Site(setup, site, version).passing()]
        if site.gap is not None:
            ways = [headed(way, f"{OUTSIDE_HOST}:80") for way in unknown(site.gap).true]
        bound = [word for node in site.all("bind") for word in node.words[1:]]
        heard = bound or [_host(address) for address in addresses]
        yield Service(
            name=", ".join(addresses) or "site",
            weakness=Weakness.OPEN_PROXY,
            position=site.position,
            passing=first_of_each(ways),
            is_out_of_reach=bool(heard)
            and all(is_loopback(one) for one in heard if one or not bound)
            and any(heard),
        )


def _host(address: str) -> str:
    bare = re.sub(r"^\w+://", "", address).split("/", 1)[0]
    return host_and_port(bare)[0]


@dataclass(frozen=True, slots=True)
class _Site:
    setup: Setup
    node: Node
    version: int

    @property
    def is_for_any(self) -> bool:
        """Whether it answers for hosts that it doesn't name."""
        hosts = [_host(address) for address in self.node.words]
        return any(
            host in {"", "*"} or (host.startswith("*.") and OUTSIDE_HOST.endswith(host[1:])) for host in hosts
        )

    def passing(self) -> Iterator[Way]:
        """The ways to a host of the client's."""
        yield from self._through(self.node, (Way(),))

    def _through(self, block: Node, ways: tuple[Way, ...]) -> Iterator[Way]:
        matching = Matching(self.setup, self.node, self.version)
        for node in in_order(block):
            if node.gap is not None:
                yield from joined(ways, unknown(node.gap).true)
                ways = joined(ways, unknown(node.gap).false)
                continue
            when = matching.when(node)
            here = joined(ways, when.true)
            if is_inner(node):
                yield from self._through(node, here)
                ways = ways if node.name == "route" else joined(ways, when.false)
            elif node.name in _STOPPING or node.name in _PASSWORDS:
                ways = joined(ways, when.false)
            elif node.name == "forward_auth":
                asked = when & unknown(self.setup.note(Gap(GapKind.EXTERNAL, node.text, node.position)))
                ways = joined(ways, asked.false)
            elif node.name in _PASSING:
                yield from self._passed(node, here)
                ways = joined(ways, when.false)
            elif node.name == "forward_proxy":
                yield from self._forwarded(node, here)

    def _passed(self, node: Node, ways: tuple[Way, ...]) -> Iterator[Way]:
        found = self._chosen(node)
        if found is None:
            return
        for way in joined(ways, found.true):
            yield headed(by_rule(Way(causes=(node.cause("ca-upstream"),)), way), f"{OUTSIDE_HOST}:80 by GET")

    def _chosen(self, node: Node) -> Condition | None:
        """Whether an upstream is the client's choice; nothing if none is."""
        words = [*node.words[1:], *(word for one in node.all("to", "dynamic") for word in one.words[1:])]
        words += [word for one in node.all("dynamic") for inner in one.inside for word in inner.words]
        held = [name for word in words for name in _PLACEHOLDER.findall(word)]
        if any(_BY_HOST.fullmatch(name) for name in held) and self.is_for_any:
            return claimed()
        by_words = next(
            (name for name in held if _CLIENTS.fullmatch(name) and not _BY_HOST.fullmatch(name)), None
        )
        if by_words is not None:
            return claimed(Claim(ClaimKind.DESTINATION, f"{OUTSIDE_HOST} in {{{by_words}}}"))
        if any(not _BY_HOST.fullmatch(name) and not _FIXED.fullmatch(name) for name in held):
            return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, node.text[:80], node.position)))
        return None

    def _forwarded(self, node: Node, ways: tuple[Way, ...]) -> Iterator[Way]:
        if any(True for _ in node.all(*_PASSWORDS)) or not self.is_for_any:
            return
        ports = [word for one in node.all("ports") for word in one.words[1:]]
        port = "25" if not ports or "25" in ports else ports[0]
        if not _is_in_list(node):
            return
        for way in ways:
            yield headed(
                by_rule(Way(causes=(node.cause("ca-forward"),)), way), f"{OUTSIDE_HOST}:{port} by CONNECT"
            )


def _is_in_list(node: Node) -> bool:
    """``acl``: the first line that means an outside host decides; none does: it is let through."""
    for acl in node.all("acl"):
        for line in acl.inside:
            wide = {"all", "*", "0.0.0.0/0", "*.example"} & set(line.words[1:])
            if line.name in {"allow", "deny"} and wide:
                return line.name == "allow"
    return True
