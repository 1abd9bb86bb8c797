"""By whose name to say hello to a door of TLS that may be an SNI proxy.

One that leads to any name leads to itself if it is asked by its own, and again from there, until it has no
connection left (seen with HAProxy, nginx and sniproxy). Asked by our canary's it leads to our canary.
"""

from __future__ import annotations

from relaywatch.model.errors import NetworkError

from .brief import Brief
from .link import Link

_HTTPS = 443


def hello_names(brief: Brief) -> tuple[str | None, ...]:
    """The names to say hello by, one after the other until one is taken (RFC 6066 section 3).

    The target's own comes after our canary's, for servers that speak TLS to their own name alone; and only where
    an SNI proxy would have led us to our canary. It leads to port 443, or to the port at which it listens.
    """
    places = brief.canaries
    if places.name is None:
        return (None,)
    own = next(iter(brief.target_names), None)
    leads_to_us = {_HTTPS, brief.door.port} <= set(places.ports)
    return (places.name, own) if own is not None and leads_to_us else (places.name,)


async def is_our_canary(link: Link, brief: Brief, certificate: bytes) -> bool:
    """Whether our hello, which got this certificate (in DER), was led to our canary's host.

    That it names our canary is no proof: a server of the same owner's may have one for all its hosts, or any server
    one for localhost. Such a server shows it by a name that can't exist too (RFC 6761 section 6.4), to which
    nobody can be led.
    """
    name = brief.canaries.name
    if name is None or name.encode() not in certificate:
        return False
    try:
        await link.connect(within=brief.patience.connect)
        session = await link.start_tls(f"{brief.mint.random_local_part('hello')}.invalid")
    except NetworkError:
        return True
    return session.certificate != certificate
