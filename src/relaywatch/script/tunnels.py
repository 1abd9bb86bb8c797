"""What all proxy probes have in common: destinations, the canary's words, controls, the course of a door.

A probe brings its ways: each takes a connected link and asks the target to lead to one destination, which
is always a canary of ours (or the dead one). The rest is here, so that every protocol is judged alike:
*reached* only if our canary's own answer came back.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from relaywatch.model import errors
from relaywatch.model.canary import read_canary_answer
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import DATAGRAMS, Address, Transport
from relaywatch.model.tokens import Token

from .asking import CanaryKind, Destination, as_text, ask_canary
from .brief import Brief, Depth
from .link import Link
from .ways import Answer, Opening, OpenTunnel, Way, dead_destination, destinations

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
_PAGE = (b"http/1.", b"<!doctype html", b"<html")
"""How a web server begins to answer, in lower case."""
_FAULT = re.compile(rb"HTTP/1\.[01] 4[0-9][0-9]\b", re.IGNORECASE)
"""How whoever waits for requests finds fault with our words."""


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
    is_named: bool = False
    """Whether an answer has given the software away."""
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
    is_silent: bool = False
    """Whether nothing at all came back through the tunnel that it granted last."""
    carries_http: bool | None = None
    """Whether it carries HTTP where it carried no words, once that was tried."""

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
    is_exhaustive = brief.depth is Depth.EXHAUSTIVE
    planned = sum(len(where if is_exhaustive else where[: way.ports]) for way, where in plan)
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
    await _report_software(course, opening)
    is_open = await _report(course, way, destination, opening, about)
    await _release(opening)
    if course.accepted and course.is_deceptive is None and not course.is_reached:
        course.is_deceptive = await _is_deceptive(course, way)
    if course.is_silent and _may_carry_http(course, destination, opening):
        reached_from = await _hear_by_http(course, way, destination, token)
        is_open = await _report_reached(course, about, reached_from)
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


async def _report_software(course: _Course, opening: Opening) -> None:
    """Report the software once, as soon as an answer gives it away."""
    told = opening.software
    if told is not None and not course.is_named:
        course.is_named = True
        await course.link.report(Observation(fact=Fact.SOFTWARE, reply=told.words, detail=told.detail))


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
    course.is_silent = False
    try:
        reached_from, heard = await _hear(course, destination, opening, token)
        course.is_silent = not heard
        if _FAULT.match(heard) and _may_carry_http(course, destination, opening):
            reached_from = await _hear_by_http(course, way, destination, token)
    except (errors.NetworkError, errors.RemoteProtocolError):
        reached_from, heard = None, b""
    except errors.RelaywatchError:  # we are told to stop: the yes is kept
        if opening.answer is Answer.YES:
            await link.report(replace(about, fact=Fact.ACCEPTED))
        raise
    if await _report_reached(course, about, reached_from):
        return True
    if opening.answer is Answer.PAGE or _is_page(heard):
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


async def _report_reached(course: _Course, about: Observation, reached_from: Address | None) -> bool:
    if reached_from is None:
        return False
    course.is_reached = True
    await course.link.report(replace(about, fact=Fact.CANARY_REACHED, exit_address=str(reached_from)))
    return True


def _is_page(heard: bytes) -> bool:
    return heard.lstrip().lower().startswith(_PAGE)


async def _hear(
    course: _Course, destination: Destination, opening: Opening, token: Token
) -> tuple[Address | None, bytes]:
    brief = course.hurried(opening)
    if opening.stream is None:
        heard = opening.heard
        return read_canary_answer(brief.mint.key, token, heard), heard.encode("utf-8", "surrogateescape")
    by_http = course.carries_http is True
    return await ask_canary(opening.stream, brief, destination, token, by_http=by_http)


def _may_carry_http(course: _Course, destination: Destination, opening: Opening) -> bool:
    """Whether it is worth the question; asked where our words got nothing, or were taken for a broken request."""
    is_tunnel = opening.answer is Answer.YES and opening.stream is not None
    may_answer = is_tunnel and destination.kind is CanaryKind.WORDS
    return may_answer and course.carries_http is None and not course.is_deceptive


async def _hear_by_http(course: _Course, way: Way, destination: Destination, token: Token) -> Address | None:
    """Open the tunnel again, and say the words as a request: once a door, and from then on if that helps.

    Some proxies look into what they carry, and take our words for a request that is broken, or not whole yet.
    """
    course.carries_http = False
    try:
        await course.open_link(course.link, course.brief)
        again = await way.ask(course.link, course.brief, destination, token)
        if again.answer is not Answer.YES or again.stream is None:
            return None
        reached_from, _ = await ask_canary(again.stream, course.brief, destination, token, by_http=True)
        await _release(again)
    except (errors.NetworkError, errors.RemoteProtocolError):
        return None
    course.carries_http = reached_from is not None
    return reached_from


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
