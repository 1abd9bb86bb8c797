"""What hides a stranger's address from a container: the userland proxy, a Swarm's ingress, a proxy before it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import PurePosixPath
from typing import Any

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.containers import Composition, Container, Network, Published
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.passing_on import passed_on
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.text import SourceFile

_DAEMON = "/etc/docker/daemon.json"
_POOLS = (
    *(f"172.{number}.0.0/16" for number in range(17, 32)),
    *(f"192.168.{number}.0/20" for number in range(0, 256, 16)),
)
"""What Docker gives its networks by default, and so the address that each one's gateway has."""
_INGRESS = AddressSet.of(["10.0.0.0/8"])
"""A Swarm's ingress network; 10.0.0.0/24 unless somebody has made it anew."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What the engine's own configuration says, as far as it is at hand."""

    has_userland_proxy: bool = True
    pools: tuple[str, ...] = _POOLS


def read_engine(setup: Setup) -> Engine:
    """``/etc/docker/daemon.json`` of the same system; the defaults if there is none."""
    source = setup.read(_DAEMON) if setup.has(_DAEMON) else None
    if source is None:
        return Engine()
    try:
        said: Any = json.loads(source.text)
        pools = tuple(one for pool in said.get("default-address-pools", ()) for one in _pieces(pool))
        return Engine(said.get("userland-proxy", True) is not False, pools or _POOLS)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        setup.note(Gap(GapKind.SYNTAX, _DAEMON, source.at(1)))
        return Engine()


def _pieces(pool: dict[str, Any]) -> Iterator[str]:
    base, size = ip_network(pool["base"], strict=False), int(pool["size"])
    if base.version == 4 and base.prefixlen <= size <= min(30, base.prefixlen + 12):
        yield from map(str, base.subnets(new_prefix=size))


def is_public(published: Published) -> bool:
    """Whether strangers reach the port: not where it is bound to loopback or a private address of the host's."""
    try:
        address = ip_address(published.host)
    except ValueError:
        return True
    return address not in LOOPBACK and (address.is_unspecified or not address.is_private)


def front_ends(
    container: Container, composition: Composition, engine: Engine, setup: Setup
) -> Iterator[FrontEnd]:
    """All that strangers come through to this container with an address that isn't theirs."""
    if container.network_mode == "host":
        return
    networks = [composition.networks.get(name, Network()) for name in container.networks]
    for published in filter(is_public, container.published):
        if published.mode == "ingress" or (container.is_deployed and not published.mode):
            yield FrontEnd(
                addresses=_INGRESS, name="Docker Swarm's ingress network", position=published.position
            )
        takes_ipv6 = published.host in {"", "::"} or ":" in published.host
        if takes_ipv6 and engine.has_userland_proxy and not any(network.has_ipv6 for network in networks):
            yield FrontEnd(
                addresses=_gateways(networks, engine),
                name="IPv6 and Docker's userland proxy",
                position=published.position,
            )
            return
    yield from _proxies(container, composition, engine, setup)


def _gateways(networks: list[Network], engine: Engine) -> AddressSet:
    found: list[str] = []
    for network in networks:
        found += network.gateways or map(_first_of, network.subnets or engine.pools)
    return AddressSet.of(one for one in found if ":" not in one)


def _first_of(subnet: str) -> str:
    try:
        network = ip_network(subnet, strict=False)
    except ValueError:
        return "0.0.0.0/32"
    return str(network.network_address + 1)


def subnets_of(container: Container, composition: Composition, engine: Engine) -> AddressSet:
    """Where the container's neighbours are, and it itself."""
    networks = [composition.networks.get(name, Network()) for name in container.networks]
    found = [subnet for network in networks for subnet in network.subnets or engine.pools]
    try:
        return AddressSet.of(found)
    except ValueError:
        return AddressSet.of(engine.pools)


def _proxies(
    container: Container, composition: Composition, engine: Engine, setup: Setup
) -> Iterator[FrontEnd]:
    """Other containers that take strangers' connections and pass them on without saying whose they are."""
    for other in composition.containers.values():
        if other is container or not any(map(is_public, other.published)):
            continue
        for source in _configurations(other, setup):
            for one in passed_on(source):
                if one.is_mail and one.host == container.name:
                    yield FrontEnd(
                        addresses=subnets_of(container, composition, engine),
                        name=f"{other.name} without PROXY protocol",
                        position=source.at(one.line),
                        ports=frozenset({one.port}),
                    )


def _configurations(container: Container, setup: Setup) -> Iterator[SourceFile]:
    """The mounted files of a haproxy or nginx."""
    if not re.search(r"haproxy|nginx", container.image):
        return
    for mount in container.mounts:
        for name in (mount.source, *setup.glob(f"{mount.source}/*")):
            if PurePosixPath(name).suffix in {".cfg", ".conf"} and setup.has(name):
                source = setup.read(name, container.position)
                if source:
                    yield source
