"""SOCKS4: the proxy carries TCP to any IPv4 address that it is asked for, mail too.

SOCKS4 knows neither passwords nor names nor IPv6. A server may ask an identd on the client for a user's
name; we run none and name no user.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.script import socks4
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Way, survey

ADDRESS = Way(name="address", advisory="RW-2007", ask=socks4.connect, ports=2)


async def script(link: Link, brief: Brief) -> None:
    """Ask for tunnels to our canary's IPv4 address."""
    await survey(link, socks4.with_ipv4_alone(brief), (ADDRESS,))


PROBE = Probe(
    name="socks4",
    weakness=Weakness.OPEN_PROXY,
    default_doors=tuple((port, Transport.PLAIN) for port in (1080, 4145, 1081, 9050)),
    references=("SOCKS: A protocol for TCP proxy across firewalls",),
    script=script,
    rank=20,
    # Nothing but the question itself tells a server that speaks SOCKS4 alone: to any other it is mute.
    services=frozenset({Service.SOCKS4, Service.SOCKS5, Service.MUTE}),
    tunnel=socks4.connect,
)
