"""By whose name to say hello to a door of TLS that may be an SNI proxy.

One that leads to any name leads to itself if it is asked by its own, and again from there, until it has no
connection left (seen with HAProxy, nginx and sniproxy). Asked by our canary's it leads to our canary.
"""

from __future__ import annotations

from relaywatch.model.canary import canary_words, read_canary_answer
from relaywatch.model.errors import NetworkError

from .asking import as_text, listen
from .brief import Brief
from .link import Link

_HTTPS = 443


def hello_names(brief: Brief) -> tuple[str | None, ...]:
    """The names to say hello by, one after the other until one is taken (RFC 6066 section 3).

    The target's own comes after our canary's, for servers that speak TLS to their own name alone, and only if our
    canary's was answered by an alert, as they do: an SNI proxy that can't reach our canary hangs up. And only where it
    would have led us to our canary: it leads to port 443, or to the port at which it listens.
    """
    places = brief.canaries
    if places.name is None:
        return (None,)
    own = next(iter(brief.target_names), None)
    leads_to_us = {_HTTPS, brief.door.port} <= set(places.ports)
    return (places.name, own) if own is not None and leads_to_us else (places.name,)


async def is_led_away(link: Link, brief: Brief, certificate: bytes) -> bool:
    """Whether our canary's name in our hello, which got this certificate, led to our canary, or to its host.

    Our canary tells by its answer. A certificate that names it tells nothing: a server of the same owner's may have
    such a one, any server has one for localhost, and our canary's own need not name it. Where what is led there may
    meet another server than our canary, a name that can't exist tells (RFC 6761 section 6.4): nobody is led to
    that, and whoever speaks for itself shows the same certificate.
    """
    if brief.canaries.name is None:
        return False
    if await _answers_as_our_canary(link, brief):
        return True
    return brief.door.port not in brief.canaries.ports and not await _is_shown_to_all(
        link, brief, certificate
    )


async def _answers_as_our_canary(link: Link, brief: Brief) -> bool:
    token = brief.token("hello")
    try:
        await link.send(canary_words(token) + b"\r\n")
        said = await listen(link, lambda said: b"\n" in said, within=brief.patience.first_words)
    except NetworkError:
        return False
    return read_canary_answer(brief.mint.key, token, as_text(said)) is not None


async def _is_shown_to_all(link: Link, brief: Brief, certificate: bytes) -> bool:
    try:
        await link.connect(within=brief.patience.connect)
        session = await link.start_tls(f"{brief.mint.random_local_part('hello')}.invalid")
    except NetworkError:
        return False
    return session.certificate == certificate
