"""Forward proxies of HTTP: the target fetches, or posts, whatever absolute URI it is asked for.

Web servers must understand such a URI too, as one of their own (RFC 9112 section 3.2.2), and answer it with a
page of theirs; so only our canary's own answer tells the two apart. A POST to port 25 is how such proxies
have been made to send mail.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.canary import CANARY_PATH
from relaywatch.model.errors import ReadTimeoutError
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Family, Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import fetching
from relaywatch.script.brief import Brief
from relaywatch.script.controls import AS_TO_THE_CONTROL, ask_plainly
from relaywatch.script.link import Link
from relaywatch.script.ops import OpenPort
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import (
    Answer,
    CanaryKind,
    Destination,
    Opening,
    OpenTunnel,
    Way,
    open_link,
    survey,
)

_FORWARD = "RW-2005"
_NO_SCHEME = "x-relaywatch"
"""A URI's scheme that nobody knows."""


def _ask(method: str, scheme: str = "http") -> OpenTunnel:
    """Ask for our canary's URI; of an SMTP server, by a body that it can read."""

    async def ask(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
        authority = f"{fetching.labelled(destination, brief, token)}:{destination.port}"
        posts = method == "POST" or destination.kind is CanaryKind.SMTP
        verb = "POST" if posts else method
        uri = f"{scheme}://{authority}{CANARY_PATH if posts else fetching.canary_path(token)}"
        body = fetching.words(destination, token) if posts else b""
        exchange = fetching.request(brief, verb, uri, host=authority, body=body)
        question = fetching.Question(token=token, command=f"{verb} {uri} HTTP/1.1")
        return await fetching.fetch(link, brief, exchange, question)

    return ask


async def _ask_by_ftp(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Ask for an ftp URI. A gateway that goes there waits for a greeting, which our canaries don't give.

    So to whoever tries, a port of the token's own is named, where it is enough to come.
    """
    opening = await _fetch_by_ftp(link, brief, str(destination), token)
    if opening.answer is Answer.FAILED and opening.page is not None:
        # Who says so of every scheme that it doesn't know, doesn't know this one.
        unknown = await ask_plainly(link, brief, str(destination), f"{_NO_SCHEME}://{destination}/")
        if unknown is not None and unknown.status_code == opening.page.status_code:
            return replace(opening, answer=Answer.NO, detail=AS_TO_THE_CONTROL)
    port = await OpenPort(token) if opening.answer is Answer.FAILED else None
    if port is None:
        return opening
    await open_link(link, brief)
    return await _fetch_by_ftp(link, brief, str(port), token)


async def _fetch_by_ftp(link: Link, brief: Brief, authority: str, token: Token) -> Opening:
    uri = f"ftp://{authority}/"
    exchange = fetching.request(brief, "GET", uri, host=authority)
    question = fetching.Question(token=token, command=f"GET {uri} HTTP/1.1")
    try:
        return await fetching.fetch(link, brief, exchange, question)
    except ReadTimeoutError as error:  # it waits for a greeting, or for a connection
        return Opening(answer=Answer.FAILED, command=question.command, detail=str(error))


WAYS = (
    Way(name="address", advisory=_FORWARD, ask=_ask("GET")),
    Way(name="name", advisory=_FORWARD, ask=_ask("GET"), by_name=True, ports=1, takes_smtp=False),
    Way(name="address-ipv6", advisory=_FORWARD, ask=_ask("GET"), to=Family.IPV6, ports=1, takes_smtp=False),
    Way(name="head", advisory=_FORWARD, ask=_ask("HEAD"), ports=1, takes_smtp=False),
    Way(name="post", advisory=_FORWARD, ask=_ask("POST"), ports=1),
    Way(name="https", advisory=_FORWARD, ask=_ask("GET", "https"), ports=1, takes_smtp=False),
    Way(name="ftp", advisory=_FORWARD, ask=_ask_by_ftp, ports=1, takes_smtp=False),
)


async def script(link: Link, brief: Brief) -> None:
    """Ask for our canary's page in every way, until its answer comes back."""
    await survey(link, brief, WAYS)


PROBE = Probe(
    name="http-forward",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(
        *((port, Transport.PLAIN) for port in (3128, 8080, 80, 8000, 8118, 8123, 8888, 3129, 1080)),
        *((port, Transport.TLS) for port in (443, 8443, 3129)),
    ),
    references=("RFC 9112 section 3.2.2", "RFC 9110 section 3.7", "VU#150227"),
    script=script,
    rank=20,
    services=frozenset({Service.HTTP, Service.TLS}),
)
