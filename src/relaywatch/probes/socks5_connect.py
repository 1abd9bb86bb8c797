"""CONNECT of SOCKS5 without authentication: the proxy carries TCP to wherever it is asked, mail too."""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.script import socks5
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Way, survey

_CONNECT = "RW-2008"

WAYS = (
    Way(name="address", advisory=_CONNECT, ask=socks5.connect),
    Way(name="name", advisory=_CONNECT, ask=socks5.connect, by_name=True, ports=2),
    Way(name="address-ipv6", advisory=_CONNECT, ask=socks5.connect, to=Family.IPV6, ports=1),
    Way(name="address-ipv4", advisory=_CONNECT, ask=socks5.connect, to=Family.IPV4, ports=1),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels in every way, until one leads to our canary."""
    if await socks5.lets_in(link, brief, _CONNECT):
        await survey(link, brief, WAYS)


PROBE = Probe(
    name="socks5-connect",
    weakness=Weakness.OPEN_PROXY,
    default_doors=tuple((port, Transport.PLAIN) for port in (1080, 1081, 9050, 10808)),
    references=("RFC 1928",),
    script=script,
    rank=10,
    services=frozenset({Service.SOCKS5}),
    tunnel=socks5.connect,
)
