"""``allow`` and ``deny``, passwords, and addresses that the client may write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.setup import Setup
from relaywatch.model.places import Address

from .reading import Node

_PASSWORDS = ("auth_basic", "auth_jwt", "auth_oidc")


def let_in(setup: Setup, levels: Sequence[Node], version: int) -> tuple[Way, ...]:
    """The ways in which a stranger is let into the innermost of these levels, outermost first."""
    by_address = _by_address(setup, levels, version)
    asked = _password(setup, levels)
    if asked is None:
        return by_address
    either = inherited(levels, "satisfy")
    if either is not None and either.words[:1] == ("any",):
        own = any(True for level in levels for _ in level.all("allow", "deny"))
        return (*by_address, *asked.true) if own else asked.true
    return joined(by_address, asked.true)


def inherited(levels: Sequence[Node], name: str) -> Node | None:
    """The directive that holds: the innermost's own, else what is inherited."""
    for level in reversed(levels):
        found = level.last_of(name)
        if found is not None:
            return found
    return None


def _password(setup: Setup, levels: Sequence[Node]) -> Condition | None:
    """What a password, or another program's word, comes to; nothing if none is asked for."""
    for name in _PASSWORDS:
        asked = inherited(levels, name)
        if asked is not None and asked.words[:1] != ("off",):
            if not any("$" in word for word in asked.words[:1]):
                return NEVER
            return unknown(
                setup.note(Gap(GapKind.NOT_EVALUATED, asked.text, asked.position))
            )  # it may be "off"
    asked = inherited(levels, "auth_request")
    if asked is not None and asked.words[:1] != ("off",):
        return unknown(setup.note(Gap(GapKind.EXTERNAL, asked.text, asked.position)))
    return None


def _by_address(setup: Setup, levels: Sequence[Node], version: int) -> tuple[Way, ...]:
    """The first that fits decides, by the innermost level that has any; none fits: he is let in."""
    own: list[Node] = next(
        (lines for level in reversed(levels) if (lines := list(level.all("allow", "deny")))), []
    )
    gaps = [unknown(node.gap) for level in levels for node in level.inside if node.gap is not None]
    ways = _decided(own, lambda meant: setup.strangers(meant, version))
    for claim, address in _forged(setup, levels, version):
        ways += joined(claim.true, _decided(own, _Seen(address)))
    for gap in gaps:
        ways = joined(ways, gap.true)
    return ways


@dataclass(frozen=True, slots=True)
class _Seen:
    """Whether networks mean the address as which a client is seen."""

    address: Address

    def __call__(self, meant: AddressSet) -> Condition:
        return ALWAYS if self.address in meant else NEVER


def _decided(own: list[Node], fits: Callable[[AddressSet], Condition]) -> tuple[Way, ...]:
    rules = []
    for node in own:
        meant = networks(node)
        rules.append(
            Rule(
                fits(meant),
                answer=node.name == "allow",
                causes=(node.cause(),) if node.name == "allow" else (),
            )
        )
    return first_match(rules, default=True).get(True, ())


def networks(node: Node) -> AddressSet:
    """What an ``allow`` or ``deny`` line means; a local socket, or what is none, means nobody from outside."""
    text = node.words[0] if node.words else ""
    if text == "all":
        return AddressSet.everything()
    try:
        return AddressSet.of([ip_network(text, strict=False)])
    except ValueError:
        return AddressSet()


def _forged(setup: Setup, levels: Sequence[Node], version: int) -> Iterator[tuple[Condition, Address]]:
    """Where the client's own field or PROXY header is believed, he comes from an address that is allowed."""
    trusted = next(
        (lines for level in reversed(levels) if (lines := list(level.all("set_real_ip_from")))), []
    )
    believed = [node for node in trusted if setup.strangers(networks(node), version).true]
    if not believed:
        return
    header = inherited(levels, "real_ip_header")
    name = header.words[0] if header is not None and header.words else "X-Real-IP"
    for level in levels:
        for node in level.all("allow"):
            for network in (*networks(node).networks(4)[:1], *networks(node).networks(6)[:1]):
                address = network.network_address
                claim = (
                    Claim(ClaimKind.PROXY_HEADER, f"from {address}")
                    if name == "proxy_protocol"
                    else Claim(ClaimKind.FIELD, f"{name}: {address}")
                )
                yield claimed(claim).because(believed[0].cause("ng-real-ip")), address
