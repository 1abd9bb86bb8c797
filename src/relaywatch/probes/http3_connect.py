"""CONNECT of HTTP/3: the proxy carries TCP to wherever it is asked, within QUIC."""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import http3
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Destination, Opening, Way, survey


async def connect(_link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
    """CONNECT to the destination, in a QUIC connection of its own."""
    return await http3.open_tunnel(brief, destination)


WAYS = (
    Way(name="address", advisory="RW-2004", ask=connect),
    Way(name="name", advisory="RW-2004", ask=connect, by_name=True, ports=2),
    Way(name="address-ipv4", advisory="RW-2004", ask=connect, to=Family.IPV4, ports=1),
    Way(name="address-ipv6", advisory="RW-2004", ask=connect, to=Family.IPV6, ports=1),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    await survey(link, brief, WAYS)


PROBE = Probe(
    name="http3-connect",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((443, Transport.QUIC), (8443, Transport.QUIC)),
    references=("RFC 9114 section 4.4", "RFC 9000"),
    script=script,
    services=frozenset({Service.QUIC}),
    tunnel=connect,
)
