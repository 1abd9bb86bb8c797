"""IP in HTTP (MASQUE connect-ip): the proxy gives us an address and carries our packets.

At a QUIC door it is asked by an extended CONNECT of HTTP/3, at others by an upgrade of HTTP/1.1. We ask for UDP
to our canary alone and, if that is refused, for packets to anywhere; what we send goes to our canary in any case.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import masque
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Destination, Opening, OpenTunnel, Way, survey

_ADVISORY = "RW-2019"


def _ask(*, flow: bool) -> OpenTunnel:
    """Ask for packets to anywhere or, as a flow, to the destination alone."""

    async def ask(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
        return await masque.proxy_ip(link, brief, destination, flow=flow)

    return ask


_flow, _tunnel = _ask(flow=True), _ask(flow=False)

WAYS = (
    Way(name="flow", advisory=_ADVISORY, ask=_flow, kind=CanaryKind.DATAGRAMS),
    Way(name="tunnel", advisory=_ADVISORY, ask=_tunnel, kind=CanaryKind.DATAGRAMS),
    Way(name="tunnel-ipv4", advisory=_ADVISORY, ask=_tunnel, kind=CanaryKind.DATAGRAMS, to=Family.IPV4),
    Way(name="tunnel-ipv6", advisory=_ADVISORY, ask=_tunnel, kind=CanaryKind.DATAGRAMS, to=Family.IPV6),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for packets in every way, until one leads to our canary."""
    await survey(link, brief, WAYS)


PROBE = Probe(
    name="connect-ip",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.QUIC) for port in (443, 8443)),
        *((port, Transport.TLS) for port in (443, 8443)),
    ),
    references=("RFC 9484", "RFC 9297", "RFC 9220"),
    script=script,
    services=frozenset({Service.QUIC, Service.HTTP, Service.TLS}),
)
