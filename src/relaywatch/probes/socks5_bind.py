"""BIND of SOCKS5 without authentication: the proxy takes connections for anybody, at its own address.

No sink is needed: we dial the port that it opens for us, and what we say at one end must come out of the
other, both ways. What merely answers, or gives back our own words, shows nothing.
"""

from __future__ import annotations

from dataclasses import replace

from relaywatch.model.evidence import Fact, Observation, Weakness
from relaywatch.model.places import Endpoint, Service, Transport
from relaywatch.script import socks5
from relaywatch.script.brief import Brief
from relaywatch.script.inward import Peer, ask
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe

_BIND = "RW-2009"


async def script(link: Link, brief: Brief) -> None:
    """Ask it to wait for our canary's address, then for anybody, and dial it each time."""
    if not await socks5.lets_in(link, brief, _BIND):
        return
    peers = _peers(brief)
    await link.report(Observation(fact=Fact.PLANNED, count=len(peers)))
    await link.report(Observation(fact=Fact.TALKS))
    for peer in peers:
        about = Observation(
            fact=Fact.UNANSWERED, case=peer.name, advisory=_BIND, token=brief.token(peer.name)
        )
        seen = await ask(link, brief, peer, replace(about, command=f"BIND {peer.at}"))
        await link.report(seen)
        if seen.fact is Fact.CANARY_REACHED:
            break
    await link.close()


def _peers(brief: Brief) -> tuple[Peer, ...]:
    """Whom it is told to wait for: our sink, from whose address we dial if it is on this machine; anybody."""
    sink = brief.canaries.address_of(brief.door.family)
    anybody = Peer("anybody", Endpoint(socks5.anywhere(brief), 0))
    return (anybody,) if sink is None else (Peer("sink", Endpoint(sink, 0), source=sink), anybody)


PROBE = Probe(
    name="socks5-bind",
    weakness=Weakness.OPEN_PROXY,
    default_doors=tuple((port, Transport.PLAIN) for port in (1080, 1081, 9050, 10808)),
    references=("RFC 1928 section 4",),
    script=script,
    services=frozenset({Service.SOCKS5}),
)
