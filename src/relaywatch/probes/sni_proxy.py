"""SNI proxies: the target reads the name in our TLS hello and connects to whoever bears it.

They go to port 443 of that name, or to the port at which they listen themselves: the port isn't ours to
choose. So one case asks, and only where our sink has a name and a canary at one of the two.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.errors import (
    NetworkError,
    PeerClosedError,
    RemoteProtocolError,
    TLSFailedError,
    TLSRefusedError,
)
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport
from relaywatch.model.tokens import Token
from relaywatch.script import fetching
from relaywatch.script.brief import Brief
from relaywatch.script.hello import hello_names
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe
from relaywatch.script.tunnels import Answer, Destination, Opening, Way, survey

_HTTPS = 443


async def ask(link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """Say hello by our canary's name, and within TLS ask whoever is there for our canary's page."""
    name, path = fetching.labelled(destination, brief, token), fetching.canary_path(token)
    command = f"TLS to {name}; GET {path} HTTP/1.1"
    try:
        await link.start_tls(name)
        exchange = fetching.request(brief, "GET", path, host=name)
        question = fetching.Question(token=token, command=command)
        opening = await fetching.fetch(link, brief, exchange, question)
    except TLSFailedError as error:
        has_spoken = isinstance(error, TLSRefusedError)
        answer = Answer.NO if has_spoken and await _speaks_tls(link, brief) else Answer.FOREIGN
        return Opening(answer=answer, detail=str(error), command=command)
    except (PeerClosedError, RemoteProtocolError) as error:
        return Opening(answer=Answer.NO, detail=str(error), command=command)
    if opening.answer is Answer.YES:
        return opening
    return replace(opening, answer=Answer.NO, detail="page of its own")


async def _speaks_tls(link: Link, brief: Brief) -> bool:
    """Whether it speaks TLS to whoever asks for the target itself; not known where asking so may do harm."""
    for name in hello_names(brief)[1:]:
        try:
            await _connect(link, brief)
            await link.start_tls(name)
        except NetworkError:
            return False
        return True
    return False


async def _connect(link: Link, brief: Brief) -> None:
    await link.connect(within=brief.patience.connect)


WAYS = (Way(name="name", advisory="RW-2015", ask=ask, by_name=True, ports=1, takes_smtp=False),)


async def script(link: Link, brief: Brief) -> None:
    """Ask by our canary's name, at the port to which a proxy at this door would lead."""
    places = brief.canaries
    port = next((port for port in (_HTTPS, brief.door.port) if port in places.ports), None)
    ports = () if port is None else (port,)
    await survey(link, replace(brief, canaries=replace(places, ports=ports)), WAYS, opener=_connect)


PROBE = Probe(
    name="sni-proxy",
    weakness=Weakness.OPEN_PROXY,
    default_doors=((443, Transport.TLS), (8443, Transport.TLS)),
    references=("RFC 6066 section 3",),
    script=script,
    services=frozenset({Service.TLS, Service.MUTE}),
)
