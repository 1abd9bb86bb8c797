"""UDP ASSOCIATE of SOCKS5 without authentication: the proxy carries datagrams for anybody.

Of one that does, a further question: does it carry those of strangers to the session too? RFC 1928 section
7 forbids that, and where it is so, whoever knows the relay's port needs no session at all.
"""

from __future__ import annotations

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.script import socks5
from relaywatch.script.associations import ask_as_stranger, associate
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import CanaryKind, Way, survey

_RELAYS, _RELAYS_STRANGERS = "RW-2010", "RW-2011"
_DATAGRAMS = CanaryKind.DATAGRAMS

WAYS = (
    Way(name="address", advisory=_RELAYS, ask=associate, kind=_DATAGRAMS),
    Way(name="name", advisory=_RELAYS, ask=associate, kind=_DATAGRAMS, by_name=True),
    Way(name="address-ipv6", advisory=_RELAYS, ask=associate, kind=_DATAGRAMS, to=Family.IPV6),
    Way(name="address-ipv4", advisory=_RELAYS, ask=associate, kind=_DATAGRAMS, to=Family.IPV4),
)
_STRANGER = Way(name="stranger", advisory=_RELAYS_STRANGERS, ask=associate, kind=_DATAGRAMS)


async def script(link: Link, brief: Brief) -> None:
    """Send datagrams in every way, until one reaches our canary; then as a stranger."""
    if await socks5.lets_in(link, brief, _RELAYS) and await survey(link, brief, WAYS):
        await ask_as_stranger(link, brief, _STRANGER)


PROBE = Probe(
    name="socks5-udp",
    weakness=Weakness.OPEN_PROXY,
    default_doors=tuple((port, Transport.PLAIN) for port in (1080, 1081, 9050, 10808)),
    references=("RFC 1928 section 7",),
    script=script,
    services=frozenset({Service.SOCKS5}),
)
