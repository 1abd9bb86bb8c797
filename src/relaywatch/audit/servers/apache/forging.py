"""mod_remoteip: whose word on the client's address httpd takes, and what he may claim to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relaywatch.audit.addresses import NOBODY, AddressSet
from relaywatch.audit.findings import Gap
from relaywatch.audit.setup import Setup

from .access import networks
from .reading import Node

_EVERYBODY = AddressSet.everything()
_OF_OTHERS = AddressSet.of(["0.0.0.0/0", "2000::/3"]) - AddressSet.of(
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"]
)
"""What is believed of a proxy that isn't internal, or of anybody: no address of a private network."""


@dataclass(frozen=True, slots=True)
class Forging:
    """The line that makes httpd believe in addresses that strangers write, and in which; a gap if nobody knows."""

    node: Node
    believed: AddressSet
    gap: Gap | None = None


def forging(setup: Setup, lines: Callable[..., Iterable[Node]]) -> Forging | None:
    """What strangers may claim to be; ``lines`` are those of some names that hold for a host, in order."""
    switches = [one for one in lines("remoteipproxyprotocol") if one.words]
    if switches and switches[-1].words[0].lower() == "on":
        return Forging(switches[-1], _EVERYBODY)
    fields = [one for one in lines("remoteipheader") if one.words]
    if not fields:
        return None
    named = list(lines("remoteipinternalproxy", "remoteiptrustedproxy"))
    lists = list(lines("remoteipinternalproxylist", "remoteiptrustedproxylist"))
    if not named and not lists:
        return Forging(fields[-1], _OF_OTHERS)
    for node in lists:
        if setup.read(node.words[0] if node.words else "", node.position) is None:
            return Forging(fields[-1], _OF_OTHERS, setup.latest_gap)
    for kind, believed in (("internal", _EVERYBODY), ("trusted", _OF_OTHERS)):
        if _is_wide(setup, [node for node in (*named, *lists) if kind in node.name]):
            return Forging(fields[-1], believed)
    return None


def _is_wide(setup: Setup, lines: Iterable[Node]) -> bool:
    """Whether strangers are in what these lines trust."""
    trusted = NOBODY
    for word in (word for node in lines for word in _words(setup, node)):
        trusted |= networks(word) or NOBODY
    return setup.has_strangers(trusted)


def _words(setup: Setup, node: Node) -> Iterable[str]:
    if not node.name.endswith("list"):
        return node.words
    source = setup.read(node.words[0], node.position)
    return [word for line in (source.lines if source else ()) for word in line.partition("#")[0].split()]
