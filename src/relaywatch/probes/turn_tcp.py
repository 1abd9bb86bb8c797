"""TURN for TCP without credentials: the relay connects to wherever it is asked (RFC 6062)."""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Way, survey
from relaywatch.script.turn import relay_connection

_ADVISORY = "RW-2017"

WAYS = (
    Way(name="address", advisory=_ADVISORY, ask=relay_connection),
    Way(name="address-ipv4", advisory=_ADVISORY, ask=relay_connection, to=Family.IPV4, ports=1),
    Way(name="address-ipv6", advisory=_ADVISORY, ask=relay_connection, to=Family.IPV6, ports=1),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for an allocation and a connection to our canary, and let it be reached."""
    await survey(link, brief, WAYS)


PROBE = Probe(
    name="turn-tcp",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((3478, Transport.PLAIN), (5349, Transport.TLS)),
    references=("RFC 6062", "RFC 8656"),
    script=script,
    services=frozenset({Service.TURN}),
)
