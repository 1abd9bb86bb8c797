"""What all proxy probes have in common: destinations, the canary's words, controls, the course of a door.

A probe brings its ways: each takes a connected link and asks the target to lead to one destination, which
is always a canary of ours (or the dead one). The rest is here, so that every protocol is judged alike:
*reached* only if our canary's own answer came back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from relaywatch.model import errors
from relaywatch.model.canary import read_canary_answer
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import DATAGRAMS, Address, Family, Transport
from relaywatch.model.tokens import Token

from .asking import CanaryKind, Destination, as_text, ask_canary
from .brief import Brief, CanaryPlaces, Depth
from .link import Link, Stream

__all__ = [
    "Answer",
    "CanaryKind",
    "Destination",
    "OpenTunnel",
    "Opening",
    "Way",
    "as_text",
    "ask_canary",
    "dead_destination",
    "destinations",
    "open_link",
    "survey",
]

SHOWN_OCTETS = 300
"""Octets of what came instead of an answer that are worth keeping."""
_STANDARD_PORTS = 4
"""Destination ports that are asked of a door that has let none through."""
_PAGE = (b"http/1.", b"<!doctype html", b"<html")
"""How a web server begins to answer, in lower case."""


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
    release: Callable[[], Awaitable[None]] | None = None


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


async def open_link(link: Link, brief: Brief, *, alpn: tuple[str, ...] = ()) -> None:
    """Connect to the door, with TLS if it is one of TLS; one of datagrams is opened by whoever asks there.

    :raises NetworkError: refused, no answer, unreachable, no TLS.
    """
    if brief.door.transport in DATAGRAMS:
        return
    await link.connect(within=brief.patience.connect)
    if brief.door.transport is Transport.TLS:
        await link.start_tls(next(iter(brief.target_names), None), alpn=alpn)


OpenLink = Callable[[Link, Brief], Awaitable[None]]


@dataclass(slots=True)
class _Course:
    """What one door has said so far."""

    link: Link
    brief: Brief
    open_link: OpenLink
    has_talked: bool = False
    is_foreign: bool = False
    """What came was no word of this protocol."""
    is_reached: bool = False
    silence: errors.ReadTimeoutError | None = None
    unheard: list[Observation] = field(default_factory=list)
    """What came of cases before it ever spoke, should it do so after all."""
    accepted: list[Token] = field(default_factory=list)
    """Canaries of tunnels that were granted and through which nothing came back."""
    is_deceptive: bool | None = None
    """Whether it says yes to the dead canary, once it was asked."""
    gave_page: bool = False
    """Whether it has answered with a page of its own, as web servers do."""

    def hurried(self, opening: Opening | None = None) -> Brief:
        """The brief, with less patience where little is to be hoped for: after a page, or a yes to nothing."""
        is_page = opening is not None and opening.answer is Answer.PAGE
        if not (self.is_deceptive or self.gave_page or is_page):
            return self.brief
        patience = self.brief.patience
        hurry = replace(patience, canary=min(patience.canary, patience.first_words))
        return replace(self.brief, patience=hurry)


async def survey(link: Link, brief: Brief, ways: Sequence[Way], *, opener: OpenLink = open_link) -> bool:
    """Ask every way for every destination, until one is reached; then only which ports are let through.

    Gives whether our canary was reached. Reports a fact for each case, the dead canary's after a yes that
    led nowhere, and that it isn't this protocol if nothing that came was of it.
    """
    plan = [(way, where) for way in ways if (where := destinations(brief, way))]
    course = _Course(link, brief, opener)
    planned = sum(len(where[: way.ports]) for way, where in plan)
    await link.report(Observation(fact=Fact.PLANNED, count=planned))
    if not planned:
        await link.report(Observation(fact=Fact.NOTE, detail="no canary of ours that it could be led to"))
        return False
    for way, where in plan:
        if await _ask_way(course, way, where) or course.is_deceptive:
            break
        if not course.has_talked:
            await _report_stranger(course)
            break
    await link.close()
    if course.accepted and not (course.is_reached or course.is_deceptive):
        await link.await_arrival(*course.accepted)
    return course.is_reached


async def _ask_way(course: _Course, way: Way, where: Sequence[Destination]) -> bool:
    """Ask one way for its destinations; whether the rest may be left out."""
    exhaustive = course.brief.depth is Depth.EXHAUSTIVE
    is_open = False
    for number, destination in enumerate(where):
        if number >= way.ports and not (is_open or exhaustive):
            break
        is_open = await _ask(course, way, destination) or is_open
        if course.is_foreign:
            return False
    return is_open and not exhaustive


async def _report_stranger(course: _Course) -> None:
    """Say that it doesn't speak the protocol, unless it may just have been slow to reach us, wherever we were.

    :raises ReadTimeoutError: if it was silent.
    """
    if course.silence is not None and not course.is_foreign:
        raise course.silence
    await course.link.report(Observation(fact=Fact.NOT_THIS_PROTOCOL))


async def _ask(course: _Course, way: Way, destination: Destination) -> bool:
    """Ask for one destination and report what came of it; whether our canary was reached."""
    link, brief = course.link, course.brief
    case = f"{way.name}-{destination.port}"
    token = brief.token(case)
    about = Observation(
        fact=Fact.UNANSWERED, case=case, advisory=way.advisory, token=token, destination=str(destination)
    )
    opening = await _open(course, way, destination, about)
    if opening is None:
        return False
    about = replace(about, reply=opening.reply, detail=opening.detail, command=opening.command)
    if opening.answer is Answer.FOREIGN and not course.has_talked:
        course.is_foreign = True
        return False
    if not course.has_talked:
        course.has_talked = True
        await link.report(Observation(fact=Fact.TALKS, reply=opening.reply))
        for seen in course.unheard:
            await link.report(seen)
    is_open = await _report(course, way, destination, opening, about)
    await _release(opening)
    if course.accepted and course.is_deceptive is None and not course.is_reached:
        course.is_deceptive = await _is_deceptive(course, way)
    return is_open


async def _open(course: _Course, way: Way, destination: Destination, about: Observation) -> Opening | None:
    """Connect and ask; nothing if the target doesn't answer, which is then reported.

    Whoever hangs up instead of answering has refused, if it speaks the protocol at all: another destination
    tells that. Whoever is silent may be trying to reach us at a port that something on the way swallows.
    """
    await course.open_link(course.link, course.brief)
    try:
        return await way.ask(course.link, course.hurried(), destination, course.brief.token(about.case))
    except errors.ReadTimeoutError as error:
        course.silence = error
        await _report_unheard(course, about)
    except errors.PeerClosedError as error:
        await _report_unheard(course, replace(about, fact=Fact.REFUSED, detail=str(error)))
    except errors.RemoteProtocolError as error:
        return Opening(answer=Answer.FOREIGN, detail=str(error))
    return None


async def _report_unheard(course: _Course, seen: Observation) -> None:
    if course.has_talked:
        await course.link.report(seen)
    else:
        course.unheard.append(seen)


async def _release(opening: Opening) -> None:
    """Give back what the target holds for us, if it still listens."""
    if opening.release is not None:
        with suppress(errors.NetworkError):
            await opening.release()


async def _report(
    course: _Course, way: Way, destination: Destination, opening: Opening, about: Observation
) -> bool:
    """Report the answer, after trying the tunnel if it is a yes; whether our canary was reached."""
    link = course.link
    match opening.answer:
        case Answer.YES:
            return await _try(course, way, destination, opening, about)
        case Answer.PAGE if opening.stream is not None:  # our canary can tell better than the page's head
            return await _try(course, way, destination, opening, about)
        case Answer.CREDENTIALS:
            await link.report(replace(about, fact=Fact.REFUSED, detail="credentials"))
            await link.report(Observation(fact=Fact.AUTH_REQUIRED, reply=opening.reply))
        case Answer.FAILED:
            await link.report(replace(about, fact=Fact.FAILED))
        case Answer.TOO_MANY:
            await link.report(replace(about, fact=Fact.DEFERRED))
            await link.report(Observation(fact=Fact.RATE_LIMITED, reply=opening.reply))
        case Answer.PAGE:
            course.gave_page = True
            await link.report(replace(about, fact=Fact.REFUSED, detail=opening.detail or "page"))
            await link.report(Observation(fact=Fact.NOTE, advisory="RW-2031", detail="answers with a page"))
        case _:  # whoever has talked and talks in other words now doesn't do it
            await link.report(replace(about, fact=Fact.REFUSED))
    return False


async def _try(
    course: _Course, way: Way, destination: Destination, opening: Opening, about: Observation
) -> bool:
    """Say the words through the tunnel, and report whether our canary answered."""
    link, brief = course.link, course.brief
    token = brief.token(about.case)
    try:
        reached_from, heard = await _hear(course.hurried(opening), destination, opening, token)
    except (errors.NetworkError, errors.RemoteProtocolError):
        reached_from, heard = None, b""
    except errors.RelaywatchError:  # we are told to stop: the yes is kept
        if opening.answer is Answer.YES:
            await link.report(replace(about, fact=Fact.ACCEPTED))
        raise
    if reached_from is not None:
        course.is_reached = True
        await link.report(replace(about, fact=Fact.CANARY_REACHED, exit_address=str(reached_from)))
        return True
    if opening.answer is Answer.PAGE or heard.lstrip().lower().startswith(_PAGE):
        # It gave us a page, or took our words for the next request: no tunnel.
        page = Opening(answer=Answer.PAGE, reply=opening.reply)
        return await _report(course, way, destination, page, about)
    detail = about.detail if brief.canaries.is_proved else "sink-unproved"
    await link.report(replace(about, fact=Fact.ACCEPTED, detail=detail))
    course.accepted.append(token)
    if heard:
        shown = as_text(heard[:SHOWN_OCTETS])
        await link.report(
            Observation(fact=Fact.NOTE, case=about.case, reply=shown, detail="other words came back")
        )
    return False


async def _hear(
    brief: Brief, destination: Destination, opening: Opening, token: Token
) -> tuple[Address | None, bytes]:
    if opening.stream is None:
        heard = opening.heard
        return read_canary_answer(brief.mint.key, token, heard), heard.encode("utf-8", "surrogateescape")
    return await ask_canary(opening.stream, brief, destination, token)


async def _is_deceptive(course: _Course, way: Way) -> bool:
    """Ask for a destination where nothing listens: a yes to that makes every other yes worthless.

    It may be a proxy all the same, one that says yes before it has tried: then another port of ours tells.
    """
    destination = dead_destination(course.brief, way)
    if destination is None:
        return False
    try:
        await course.open_link(course.link, course.brief)
        opening = await way.ask(course.link, course.brief, destination, course.brief.token("dead"))
    except (errors.NetworkError, errors.RemoteProtocolError):
        return False
    await _release(opening)
    if opening.answer is not Answer.YES:
        return False
    yes = Observation(fact=Fact.DECEPTIVE, reply=opening.reply, command=opening.command)
    await course.link.report(replace(yes, destination=str(destination)))
    return True
