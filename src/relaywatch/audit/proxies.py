"""What the proxies' servers have in common: whom a listener is there for, and what a mend puts in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import PurePosixPath

from .addresses import LOOPBACK, NOBODY, AddressSet
from .claims import Claim, ClaimKind
from .conditions import ALWAYS, NEVER, Condition, Way, claimed
from .setup import Setup
from .witness import OUTSIDE_HOST

AS_HE_LIKES = Condition((Way(),), (Way(),))
"""True or false as the stranger likes: the hour at which he comes, say."""


_MOST_PORTS = 64


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a listener that is bound to it: an address, ``localhost``, a local socket."""
    named = address.strip().strip("[]").lower()
    if named.startswith(("/", "unix:", "abns@")):
        return True
    try:
        return ip_address(named.split("%")[0]) in LOOPBACK
    except ValueError:
        return named in {"localhost", "localhost.localdomain", "ip6-localhost"}


def host_and_port(text: str) -> tuple[str, str]:
    """``host:port``, ``[host]:port``, ``:port`` or a host alone; what is missing is empty."""
    if text.startswith("unix:"):
        return text, ""
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        return text.strip("[]"), ""
    return host.strip("[]"), port


def to(destination: str = f"{OUTSIDE_HOST}:25") -> Way:
    """A way to this destination."""
    return Way(frozenset({Claim(ClaimKind.DESTINATION, destination)}))


def headed(way: Way, destination: str) -> Way:
    """The way to this destination, if it doesn't ask for another one already."""
    has_one = any(claim.kind is ClaimKind.DESTINATION and not claim.negated for claim in way.claims)
    return way if has_one else way.joined(to(destination))


def by_rule(known: Way, way: Way) -> Way:
    """Both at once; the causes of a rule of its own come first, since they are what to mend."""
    return way.joined(known) if any(cause.rule for cause in way.causes) else known.joined(way)


def is_destination(addresses: AddressSet) -> Condition:
    """Whether outside addresses are among those that one may be led to: he takes the family that serves him."""
    by_4, by_6 = (_is_destination(addresses, version) for version in (4, 6))
    if by_4 == by_6:
        return by_4
    by_the_new = claimed(Claim(ClaimKind.DESTINATION, "an IPv6 address"))
    return (by_4 & ~by_the_new) | (by_6 & by_the_new)


def _is_destination(addresses: AddressSet, version: int) -> Condition:
    """Wide networks leave him enough to choose."""
    found = addresses.has_strangers(version, NOBODY)
    if not found.true:
        return NEVER
    narrowed = [claim for claim in found.true[0].claims if not claim.negated]
    return claimed(*(Claim(ClaimKind.DESTINATION, claim.value) for claim in narrowed)) if narrowed else ALWAYS


def first_of_each(ways: Iterable[Way]) -> tuple[Way, ...]:
    """The ways without those that differ from an earlier one in their destination only."""
    kept: dict[object, Way] = {}
    for way in ways:
        asked = frozenset(claim for claim in way.claims if claim.kind is not ClaimKind.DESTINATION)
        kept.setdefault((asked, way.gaps, way.causes), way)
    return tuple(kept.values())


def ports_to_try(texts: Iterable[str]) -> tuple[int, ...]:
    """Mail's ports and the web's, and those at the ends of what a configuration names: it may be open at one alone."""
    found = dict.fromkeys((25, 443, 80, 587))
    for text in texts:
        for number in re.findall(r"(?<![\d.])\d{1,5}(?![\d.])", text):
            found.update(dict.fromkeys(port for port in range(int(number) - 1, int(number) + 2)))
    return (*[port for port in found if 0 < port < 65536][:_MOST_PORTS], 40025)


def own_networks(setup: Setup) -> tuple[str, ...]:
    """The networks that the owner wants let through."""
    return tuple(str(network) for version in (4, 6) for network in setup.allowed.networks(version))


def path_of(setup: Setup, file: str) -> PurePosixPath | None:
    """The path of a file that a report names."""
    return next((path for path, source in setup.sources.items() if source.name == file), None)
