"""Connections that a proxy takes for us (SOCKS5's BIND): dial them, and see whether words cross."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from relaywatch.model.canary import canary_words
from relaywatch.model.errors import NetworkError, RemoteProtocolError, UnreachableError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Endpoint
from relaywatch.wire.socks5 import BoundAddress, Command

from . import socks5
from .asking import listen
from .brief import Brief
from .link import Link
from .tunnels import Answer, open_link

_FACTS = {Answer.YES: Fact.ACCEPTED, Answer.NO: Fact.REFUSED, Answer.FAILED: Fact.FAILED}
_UNHEARD = "it opened a port, and no words of ours crossed"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is to come to the proxy: the address to name, and the one to come from if we can."""

    name: str
    at: Endpoint
    source: Address | None = None

    @property
    def waited_for(self) -> str:
        """The address as a report shows it: without a port, since BIND lets through to none of ours."""
        return f"[{self.at.address}]" if self.at.address.version == 6 else str(self.at.address)


async def ask(link: Link, brief: Brief, peer: Peer, about: Observation) -> Observation:
    """Have the proxy wait for the peer, be that peer, and tell what came of it."""
    await open_link(link, brief)
    try:
        reply = await socks5.request(link, brief, Command.BIND, peer.at.address, peer.at.port)
    except (NetworkError, RemoteProtocolError) as error:
        return replace(about, fact=Fact.UNANSWERED, detail=str(error))
    about = replace(about, reply=reply.text, detail=reply.detail, destination=peer.waited_for)
    if reply.bound is None:
        return replace(about, fact=_FACTS.get(reply.answer, Fact.REFUSED))
    return await _come(link, brief, peer, reply.bound, about)


async def _come(link: Link, brief: Brief, peer: Peer, bound: BoundAddress, about: Observation) -> Observation:
    """Dial the port that it has opened, and see whether words cross."""
    beside = link.beside(1)
    try:
        came_to, is_named = await _dial(beside, brief, peer, bound)
    except NetworkError as error:
        return replace(
            about, fact=Fact.ACCEPTED, detail=f"it opened port {bound.port}; dialled by us: {error}"
        )
    about = replace(about, detail=f"it opened {came_to}")
    try:
        seen = await _cross(link, beside, brief, about)
    except (NetworkError, RemoteProtocolError) as error:
        seen = replace(about, fact=Fact.ACCEPTED, detail=f"{_UNHEARD}: {error}")
    await beside.close()
    if seen.fact is Fact.CANARY_REACHED:
        return replace(seen, exit_address=str(came_to.address))
    # Whoever waits for another address than the one that we come from is right to turn us away.
    return (
        seen if is_named else replace(seen, fact=Fact.UNANSWERED, detail="we couldn't come from that address")
    )


async def _dial(beside: Link, brief: Brief, peer: Peer, bound: BoundAddress) -> tuple[Endpoint, bool]:
    """Where we came to, and whether from the address that was named."""
    try:
        return await socks5.dial(beside, bound, brief, peer.source), True
    except UnreachableError:  # that address isn't this machine's: the sink is elsewhere
        return await socks5.dial(beside, bound, brief), peer.source is None


async def _cross(link: Link, beside: Link, brief: Brief, about: Observation) -> Observation:
    """See that it announces us, and that words go in and come out at the other end, both ways."""
    second = await socks5.read_reply(link, within=brief.patience.tunnel)
    if second.bound is None:
        return replace(about, fact=_FACTS[second.answer], reply=second.text)
    for label, here, there in ("out", link, beside), ("in", beside, link):
        words = canary_words(brief.token(f"{about.case} {label}"))
        await here.send(words + b"\r\n")
        heard = await listen(there, partial(_holds, words), within=brief.patience.canary)
        if words not in heard:
            return replace(about, fact=Fact.ACCEPTED, detail=_UNHEARD)
    return replace(about, fact=Fact.CANARY_REACHED)


def _holds(words: bytes, said: bytes) -> bool:
    return words in said
