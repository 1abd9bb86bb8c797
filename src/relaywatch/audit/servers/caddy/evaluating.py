"""What a stranger gets out of each site of Caddy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.conditions import Way, joined, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import by_rule, first_of_each, headed, host_and_port, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

from .matching import Matching, in_order, is_inner
from .native import servers
from .reading import Node, sites
from .upstreams import chosen, note_layer4, trusting_strangers

_STOPPING = frozenset({"respond", "abort", "error", "redir"})
_PASSWORDS = frozenset({"basicauth", "basic_auth"})
_PASSING = frozenset({"reverse_proxy", "php_fastcgi"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every site, or every server of the JSON that they are adapted to."""
    if setup.main.suffix == ".json":
        yield from servers(setup)
        return
    found = sites(setup)
    options = [one for one in found if not one.words and one.gap is None]
    trusting = next(filter(None, (trusting_strangers(setup, one) for one in options)), None)
    for one in options:
        for node in one.all("layer4"):
            note_layer4(setup, node.text, node.position)
    for site in found:
        if site not in options:
            yield _service(setup, site, trusting)


def _service(setup: Setup, site: Node, trusting: Node | None) -> Service:
    addresses = site.words
    ways = [way for version in (4, 6) for way in _Site(setup, site, version, trusting).passing()]
    if site.gap is not None:
        ways = [headed(way, f"{OUTSIDE_HOST}:80") for way in unknown(site.gap).true]
    bound = [word for node in site.all("bind") for word in node.words[1:]]
    heard = bound or [_host(address) for address in addresses]
    return Service(
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
    trusting: Node | None = None

    @property
    def is_for_any(self) -> bool:
        """Whether it answers for hosts that it doesn't name."""
        hosts = [_host(address) for address in self.node.words]
        return any(
            host in {"", "*"} or (host.startswith("*.") and OUTSIDE_HOST.endswith(host[1:])) for host in hosts
        )

    def passing(self) -> Iterator[Way]:
        """The ways to a host of the client's: by the host that he asks for, or by other words for any of the owner's."""
        for is_own in (False, True):
            matching = Matching(self.setup, self.node, self.version, is_own, self.trusting)
            yield from self._through(self.node, (Way(),), matching)

    def _through(self, block: Node, ways: tuple[Way, ...], matching: Matching) -> Iterator[Way]:
        for node in in_order(block):
            if node.gap is not None:
                yield from joined(ways, unknown(node.gap).true)
                ways = joined(ways, unknown(node.gap).false)
                continue
            when = matching.when(node)
            here = joined(ways, when.true)
            if is_inner(node):
                yield from self._through(node, here, matching)
                ways = ways if node.name == "route" else joined(ways, when.false)
            elif node.name in _STOPPING or node.name in _PASSWORDS:
                ways = joined(ways, when.false)
            elif node.name == "forward_auth":
                asked = when & unknown(self.setup.note(Gap(GapKind.EXTERNAL, node.text, node.position)))
                ways = joined(ways, asked.false)
            elif node.name in _PASSING:
                yield from self._passed(node, here, is_own=matching.is_own)
                ways = joined(ways, when.false)
            elif node.name == "forward_proxy" and not matching.is_own:
                yield from self._forwarded(node, here)
            elif node.name == "handle_errors":  # he may bring about an error, or not
                for way in self._through(node, (Way(),), matching):
                    gap = self.setup.note(Gap(GapKind.NOT_EVALUATED, node.text[:80], node.position))
                    yield from joined((way,), unknown(gap).true)

    def _passed(self, node: Node, ways: tuple[Way, ...], *, is_own: bool) -> Iterator[Way]:
        words = [*node.words[1:], *(word for one in node.all("to", "dynamic") for word in one.words[1:])]
        words += [word for one in node.all("dynamic") for inner in one.inside for word in inner.words]
        found = chosen(self.setup, words, node.cause("ca-upstream"), by_host=self.is_for_any and not is_own)
        if found is None:
            return
        for way in joined(ways, found.true):
            yield headed(by_rule(Way(causes=(node.cause("ca-upstream"),)), way), f"{OUTSIDE_HOST}:80 by GET")

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
