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
from relaywatch.script.controls import OwnName
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Destination, Opening, Way, survey

_ADVISORY = "RW-2019"


def _ways(own: OwnName) -> tuple[Way, ...]:
    def way(name: str, *, flow: bool = False, to: Family | None = None) -> Way:
        async def ask(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
            return await masque.proxy_ip(link, brief, destination, own, flow=flow)

        return Way(name=name, advisory=_ADVISORY, ask=ask, kind=CanaryKind.DATAGRAMS, to=to)

    return (
        way("flow", flow=True),
        way("tunnel"),
        way("tunnel-ipv4", to=Family.IPV4),
        way("tunnel-ipv6", to=Family.IPV6),
    )


async def script(link: Link, brief: Brief) -> None:
    """Ask for packets in every way, until one leads to our canary."""
    await survey(link, brief, _ways(OwnName()))


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
