"""SOCKS4a: SOCKS4 with a name, which the proxy resolves.

Asked apart from SOCKS4, since rules that name addresses may not hold what comes by name.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.script import socks4
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Way, survey

NAME = Way(name="name", advisory="RW-2007", ask=socks4.connect, by_name=True, ports=1)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels to our canary's name, which leads to an IPv4 address."""
    await survey(link, socks4.with_ipv4_alone(brief), (NAME,))


PROBE = Probe(
    name="socks4a",
    weakness=Weakness.OPEN_PROXY,
    default_doors=tuple((port, Transport.PLAIN) for port in (1080, 4145, 1081, 9050)),
    references=("SOCKS 4A: A Simple Extension to SOCKS 4 Protocol",),
    script=script,
    rank=20,
    services=frozenset({Service.SOCKS4, Service.SOCKS5, Service.MUTE}),
)
