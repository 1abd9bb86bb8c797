"""What all proxy probes have in common: destinations, the canary's words, controls, the course of a door.

A probe brings its ways: each takes a connected link and asks the target to lead to one destination, which
is always a canary of ours (or the dead one). The rest is here, so that every protocol is judged alike:
*reached* only if our canary's own answer came back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from relaywatch.model import errors
from relaywatch.model.canary import MAX_ANSWER, canary_words, read_canary_answer
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Address, Family, Transport
from relaywatch.model.tokens import Token

from .brief import Brief, CanaryPlaces, Depth
from .link import Link, Stream

SHOWN_OCTETS = 300
"""Octets of what came instead of an answer that are worth keeping."""
_DATAGRAMS = 3
"""How often the words are said where they may get lost."""
_STANDARD_PORTS = 4
"""Destination ports that are asked of a door that has let none through."""


class CanaryKind(StrEnum):
    """What waits at the destination."""

    WORDS = "words"
    """Takes ``relaywatch TOKEN``, HTTP or TLS."""
    SMTP = "smtp"
    """Our SMTP server: greets, and answers ``VRFY TOKEN``."""
    DATAGRAMS = "datagrams"
    NOTHING = "nothing"
    """The dead canary: a port at which nobody listens, or a name that can't exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a proxy is asked to lead: an address of ours, or with ``name`` whatever that resolves to."""

    address: Address
    port: int
    kind: CanaryKind
    name: str | None = None

    @property
    def host(self) -> str:
        """The host as a URI writes it: the name, or the address, in brackets if need be (RFC 3986)."""
        if self.name is not None:
            return self.name
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Answer(StrEnum):
    """What the target says to a request for a tunnel."""

    YES = "yes"
    NO = "no"
    PAGE = "page"
    """A page of its own: it takes the request for one to itself."""
    CREDENTIALS = "credentials"
    FAILED = "failed"
    """It tried, and could not connect."""
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
    that of the door if none; ``kind`` is what has to wait there; ``ports`` is how many destination ports
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


async def ask_canary(
    stream: Stream, brief: Brief, destination: Destination, token: Token
) -> tuple[Address | None, bytes]:
    """Say the token through an open tunnel: from where our canary was reached, if it was, and what was heard."""
    if destination.kind is CanaryKind.DATAGRAMS:
        return await _ask_by_datagrams(stream, brief, token)
    if destination.kind is CanaryKind.SMTP:
        heard = await _listen(stream, lambda text: text.startswith("220") and "\n" in text, brief)
        if not heard.startswith(b"220"):
            return None, heard
        await stream.send(b"VRFY " + token.encode() + b"\r\n")
    else:
        await stream.send(canary_words(token) + b"\r\n")

    def is_answered(text: str) -> bool:
        return read_canary_answer(brief.mint.key, token, text) is not None

    heard = await _listen(stream, is_answered, brief)
    return read_canary_answer(brief.mint.key, token, as_text(heard)), heard


async def _listen(stream: Stream, is_enough: Callable[[str], bool], brief: Brief) -> bytes:
    """What comes, until it is enough, is too much, or nothing more comes."""
    heard = bytearray()
    while len(heard) < MAX_ANSWER and not is_enough(as_text(bytes(heard))):
        try:
            data = await stream.read_some(within=brief.patience.canary)
        except (errors.PeerClosedError, errors.ReadTimeoutError):
            break
        if not data:
            break
        heard += data
    return bytes(heard)


async def _ask_by_datagrams(stream: Stream, brief: Brief, token: Token) -> tuple[Address | None, bytes]:
    heard = b""
    for _ in range(_DATAGRAMS):
        await stream.send(canary_words(token))
        try:
            heard = await stream.read_some(within=brief.patience.datagram)
        except errors.ReadTimeoutError:
            continue
        reached_from = read_canary_answer(brief.mint.key, token, as_text(heard))
        if reached_from is not None:
            return reached_from, heard
    return None, heard


def as_text(octets: bytes) -> str:
    """Octets of a peer as text; what is no UTF-8 stays as surrogates."""
    return octets.decode("utf-8", "surrogateescape")


def destinations(brief: Brief, way: Way) -> tuple[Destination, ...]:
    """The destinations of a way, likeliest to be let through first; none if our sink has no such canary."""
    places = brief.canaries
    address = places.address_of(way.to or brief.door.family)
    name = _name(places) if way.by_name else None
    if address is None or (way.by_name and name is None) or way.to is brief.door.family:
        return ()  # of the door's own family another way asks
    if way.kind is CanaryKind.DATAGRAMS:
        ports = (places.udp_port,) if places.udp_port is not None else ()
        return tuple(Destination(address=address, port=port, kind=way.kind, name=name) for port in ports)
    smtp = places.smtp_ports if way.takes_smtp else ()
    return tuple(
        Destination(address=address, port=port, kind=kind, name=name)
        for port, kind in _interleaved(places.ports, smtp)
    )


def _interleaved(ports: Sequence[int], smtp: Sequence[int]) -> Iterable[tuple[int, CanaryKind]]:
    """The three likeliest, then the first SMTP port, then the others."""
    words = [(port, CanaryKind.WORDS) for port in ports]
    mail = [(port, CanaryKind.SMTP) for port in smtp]
    return (*words[:3], *mail[:1], *mail[1:], *words[3:])


def _name(places: CanaryPlaces) -> str | None:
    return places.name or places.zone


def dead_destination(brief: Brief, way: Way) -> Destination | None:
    """Where nothing of ours or anybody's can answer, for the negative control; of datagrams nobody could tell."""
    places = brief.canaries
    address = places.address_of(way.to or brief.door.family)
    if address is None or places.dead_port is None or way.kind is CanaryKind.DATAGRAMS:
        return None
    name = f"{brief.mint.random_local_part('dead')}.invalid" if way.by_name else None
    return Destination(address=address, port=places.dead_port, kind=CanaryKind.NOTHING, name=name)


async def open_link(link: Link, brief: Brief, *, alpn: tuple[str, ...] = ()) -> None:
    """Connect to the door, with TLS if it is one of TLS; one of datagrams is opened by whoever asks there.

    :raises NetworkError: refused, no answer, unreachable, no TLS.
    """
    if brief.door.transport in {Transport.UDP, Transport.QUIC}:
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
    is_reached: bool = False
    accepted: list[Token] = field(default_factory=list)
    """Canaries of tunnels that were granted and through which nothing came back."""
    pretending: Way | None = None
    """The first way that got such a yes."""


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
        if await _ask_way(course, way, where):
            break
        if not course.has_talked:
            await link.report(Observation(fact=Fact.NOT_THIS_PROTOCOL))
            break
    if not course.is_reached and course.pretending is not None:
        await _ask_dead_canary(course, course.pretending)
    await link.close()
    if course.accepted and not course.is_reached:
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
        if not course.has_talked:
            return False
    return is_open and not exhaustive


async def _ask(course: _Course, way: Way, destination: Destination) -> bool:
    """Ask for one destination and report what came of it; whether our canary was reached."""
    link, brief = course.link, course.brief
    case = f"{way.name}-{destination.port}"
    token = brief.token(case)
    about = Observation(
        fact=Fact.UNANSWERED, case=case, advisory=way.advisory, token=token, destination=str(destination)
    )
    opening = await _open(course, way, destination, token)
    if opening is None:
        await link.report(about)
        return False
    about = replace(about, reply=opening.reply, detail=opening.detail, command=opening.command)
    if opening.answer is Answer.FOREIGN:
        return False
    if not course.has_talked:
        await link.report(Observation(fact=Fact.TALKS, reply=opening.reply))
        course.has_talked = True
    is_open = await _report(course, way, destination, opening, about)
    if opening.release is not None:
        await opening.release()
    return is_open


async def _open(course: _Course, way: Way, destination: Destination, token: Token) -> Opening | None:
    """Connect and ask; nothing if the target is silent.

    Whoever hangs up instead of answering has refused, if it ever spoke the protocol; at the first question it
    may just as well not know it.
    """
    await course.open_link(course.link, course.brief)
    try:
        return await way.ask(course.link, course.brief, destination, token)
    except errors.ReadTimeoutError:
        if not course.has_talked:
            raise
        return None
    except (errors.PeerClosedError, errors.RemoteProtocolError) as error:
        if not course.has_talked:
            return Opening(answer=Answer.FOREIGN)
        return Opening(answer=Answer.NO, detail=str(error))


async def _report(
    course: _Course, way: Way, destination: Destination, opening: Opening, about: Observation
) -> bool:
    """Report the answer, after trying the tunnel if it is a yes; whether our canary was reached."""
    link = course.link
    match opening.answer:
        case Answer.YES:
            return await _try(course, way, destination, opening, about)
        case Answer.CREDENTIALS:
            await link.report(replace(about, fact=Fact.REFUSED, detail="credentials"))
            await link.report(Observation(fact=Fact.AUTH_REQUIRED, reply=opening.reply))
        case Answer.FAILED:
            await link.report(replace(about, fact=Fact.FAILED))
        case Answer.PAGE:
            await link.report(replace(about, fact=Fact.REFUSED, detail=opening.detail or "page"))
            await link.report(Observation(fact=Fact.NOTE, advisory="RW-2031", detail="answers with a page"))
        case _:
            await link.report(replace(about, fact=Fact.REFUSED))
    return False


async def _try(
    course: _Course, way: Way, destination: Destination, opening: Opening, about: Observation
) -> bool:
    """Say the words through the tunnel, and report whether our canary answered."""
    link, brief = course.link, course.brief
    token = brief.token(about.case)
    try:
        reached_from, heard = await _hear(brief, destination, opening, token)
    except errors.NetworkError as error:
        reached_from, heard = None, str(error).encode()
    except errors.RelaywatchError:  # we are told to stop: the yes is kept
        await link.report(replace(about, fact=Fact.ACCEPTED))
        raise
    if reached_from is not None:
        course.is_reached = True
        await link.report(replace(about, fact=Fact.CANARY_REACHED, exit_address=str(reached_from)))
        return True
    if heard.startswith(b"HTTP/1."):  # it took our words for the next request: no tunnel
        page = Opening(answer=Answer.PAGE, reply=opening.reply, detail="page")
        return await _report(course, way, destination, page, about)
    detail = about.detail if brief.canaries.is_proved else "sink-unproved"
    await link.report(replace(about, fact=Fact.ACCEPTED, detail=detail))
    course.accepted.append(token)
    course.pretending = course.pretending or way
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


async def _ask_dead_canary(course: _Course, way: Way) -> None:
    """Ask for a destination where nothing listens: a yes to that makes every other yes worthless."""
    destination = dead_destination(course.brief, way)
    if destination is None:
        return
    try:
        opening = await _open(course, way, destination, course.brief.token("dead"))
    except errors.NetworkError:
        return
    if opening is not None and opening.answer is Answer.YES:
        yes = Observation(fact=Fact.DECEPTIVE, reply=opening.reply, command=opening.command)
        await course.link.report(replace(yes, destination=str(destination)))
    if opening is not None and opening.release is not None:
        await opening.release()
