"""UDP in HTTP (MASQUE connect-udp): the proxy carries datagrams to wherever it is asked.

At a QUIC door it is asked by an extended CONNECT of HTTP/3, at others by an upgrade of HTTP/1.1.
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

_ADVISORY = "RW-2018"


def _ways(own: OwnName) -> tuple[Way, ...]:
    async def ask(link: Link, brief: Brief, destination: Destination, _token: Token) -> Opening:
        return await masque.proxy_udp(link, brief, destination, own)

    def way(name: str, *, by_name: bool = False, to: Family | None = None) -> Way:
        return Way(name=name, advisory=_ADVISORY, ask=ask, kind=CanaryKind.DATAGRAMS, by_name=by_name, to=to)

    return (
        way("address"),
        way("name", by_name=True),
        way("address-ipv4", to=Family.IPV4),
        way("address-ipv6", to=Family.IPV6),
    )


async def script(link: Link, brief: Brief) -> None:
    """Ask for datagrams in every way, until one leads to our canary."""
    await survey(link, brief, _ways(OwnName()))


PROBE = Probe(
    name="connect-udp",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.QUIC) for port in (443, 8443)),
        *((port, Transport.TLS) for port in (443, 8443)),
        *((port, Transport.PLAIN) for port in (80, 8080)),
    ),
    references=("RFC 9298", "RFC 9297", "RFC 9220"),
    script=script,
    services=frozenset({Service.QUIC, Service.HTTP, Service.TLS}),
)
