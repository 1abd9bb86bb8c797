"""TURN without credentials: the relay carries datagrams to wherever it is asked."""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Way, survey
from relaywatch.script.turn import relay_datagrams

_ADVISORY = "RW-2016"
_UDP = CanaryKind.DATAGRAMS

WAYS = (
    Way(name="address", advisory=_ADVISORY, ask=relay_datagrams, kind=_UDP),
    Way(name="address-ipv4", advisory=_ADVISORY, ask=relay_datagrams, kind=_UDP, to=Family.IPV4),
    Way(name="address-ipv6", advisory=_ADVISORY, ask=relay_datagrams, kind=_UDP, to=Family.IPV6),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for an allocation and a permission for our canary, and let it be reached."""
    await survey(link, brief, WAYS)


PROBE = Probe(
    name="turn-udp",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((3478, Transport.UDP), (3478, Transport.PLAIN), (5349, Transport.TLS)),
    references=("RFC 8656", "RFC 8489", "RFC 7065"),
    script=script,
    services=frozenset({Service.TURN}),
)
