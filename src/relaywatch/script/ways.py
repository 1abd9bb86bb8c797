"""Ways to ask a proxy for a destination, what it answers, and which destinations there are to ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relaywatch.model.places import Address, Family
from relaywatch.model.tokens import Token

from .asking import CanaryKind, Destination
from .brief import Brief, CanaryPlaces
from .link import Link, Stream
from .page import Page
from .software import Recognition

_STANDARD_PORTS = 4
"""Destination ports that are asked of a door that has let none through."""


class Answer(StrEnum):
    """What the target says to a request for a tunnel."""

    YES = "yes"
    NO = "no"
    PAGE = "page"
    """A page of its own: it takes the request for one to itself."""
    CREDENTIALS = "credentials"
    FAILED = "failed"
    """It tried, and could not connect."""
    TOO_MANY = "too-many"
    """It says that we ask too much, and decides nothing."""
    FOREIGN = "foreign"
    """It doesn't speak this protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What came of asking for a tunnel: the peer's words in ``reply``, ours in ``detail``.

    With a yes, ``stream`` is the tunnel; or ``heard`` is all that came back already, where the request
    itself carried the words to the canary. ``release`` gives back what the target would go on holding for us.
    """

    answer: Answer
    reply: str = ""
    detail: str = ""
    command: str = ""
    stream: Stream | None = None
    heard: str = ""
    page: Page | None = None
    """The answer itself where it is one of HTTP, for a control to be compared with."""
    release: Callable[[], Awaitable[None]] | None = None
    software: Recognition | None = None
    """Whom the answer gives away, if it does."""


OpenTunnel = Callable[[Link, Brief, Destination, Token], Awaitable[Opening]]
"""Asks for the tunnel on a link that is connected (and has TLS, if the door has)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to ask: a row of a probe's table. Its cases are called ``NAME-PORT``.

    ``by_name`` asks for our canary's name instead of its address; ``to`` is the family of the destination,
    that of the door if none and if we have one; ``kind`` is what has to wait there; ``ports`` is how many destination ports
    are tried at most where none is let through.
    """

    name: str
    advisory: str
    ask: OpenTunnel
    by_name: bool = False
    to: Family | None = None
    kind: CanaryKind = CanaryKind.WORDS
    ports: int = _STANDARD_PORTS
    takes_smtp: bool = True
    """Whether SMTP ports are destinations too."""


def destinations(brief: Brief, way: Way) -> tuple[Destination, ...]:
    """The destinations of a way, likeliest to be let through first; none if our sink has no such canary."""
    places, address = brief.canaries, _address(brief, way)
    name = _name(places) if way.by_name else None
    if address is None or (way.by_name and name is None):
        return ()
    if way.kind is CanaryKind.DATAGRAMS:
        ports = (places.udp_port,) if places.udp_port is not None else ()
        return tuple(Destination(address=address, port=port, kind=way.kind, name=name) for port in ports)
    smtp = places.smtp_ports if way.takes_smtp else ()
    return tuple(
        Destination(address=address, port=port, kind=kind, name=name)
        for port, kind in _interleaved(places.ports, smtp)
    )


def _interleaved(ports: Sequence[int], smtp: Sequence[int]) -> Iterable[tuple[int, CanaryKind]]:
    """The three likeliest, then the SMTP ports, so that the first of these is among the four, then the others."""
    words = [(port, CanaryKind.WORDS) for port in ports]
    mail = [(port, CanaryKind.SMTP) for port in smtp]
    return (*words[:3], *mail, *words[3:])


def _address(brief: Brief, way: Way) -> Address | None:
    """Our canary's address of the door's family, or of the one that we have; of another if a way wants that.

    A way that wants what the ways without a wish ask for already has none.
    """
    places = brief.canaries
    usual = places.address_of(brief.door.family) or next(iter(places.addresses), None)
    if way.to is None:
        return usual
    wanted = places.address_of(way.to)
    return wanted if wanted != usual else None


def _name(places: CanaryPlaces) -> str | None:
    return places.name or places.zone


def dead_destination(brief: Brief, way: Way) -> Destination | None:
    """Where nothing of ours or anybody's can answer, for the negative control; of datagrams nobody could tell."""
    places, address = brief.canaries, _address(brief, way)
    if address is None or places.dead_port is None or way.kind is CanaryKind.DATAGRAMS:
        return None
    name = f"{brief.mint.random_local_part('dead')}.invalid" if way.by_name else None
    return Destination(address=address, port=places.dead_port, kind=CanaryKind.NOTHING, name=name)
