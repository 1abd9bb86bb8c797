"""The first contact with a door, and every later way in: sessions, with what they give away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from relaywatch.model.errors import (
    ConnectRefusedError,
    ConnectTimeoutError,
    NetworkError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
    UnreachableError,
)
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Transport
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.ops import TLSSession
from relaywatch.script.smtp import Helo, Session, command, open_session
from relaywatch.script.software import Software, Where, find_software, recognise
from relaywatch.wire.hostnames import plausible_host_name
from relaywatch.wire.x509 import certificate_notes, read_certificate

from .forms import BEHIND_HEADER, OWN, PROXY_HEADER, HeloForm
from .planning import MAX_CONNECTIONS
from .readings import is_another_protocol, is_ftp, read_refusal

_TRIES = 3
"""Connections that may fail in a row once the server has served us."""
_TURNED_AWAY = (ConnectRefusedError, ConnectTimeoutError, UnreachableError, PeerClosedError)
"""How a server, or a firewall before it, shows those the door whom it has had enough of."""
_HEADER_PATIENCE = 10.0
"""Seconds for a greeting behind a PROXY header."""
_OLD_TLS = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})


@dataclass(slots=True)
class Contact:
    """What is known of the server behind the door so far, and how to reach it again."""

    link: Link
    brief: Brief
    software: Software | None = None
    names: list[str] = field(default_factory=list)
    """What the server calls itself, in the order in which it said so."""
    extensions: frozenset[str] = frozenset()
    is_shut: bool = False
    """Whether the server has stopped serving us for good, or we have come often enough."""
    connections: int = 0
    helo_form: HeloForm = OWN
    """How we present ourselves where we claim nothing."""

    @property
    def own_helo(self) -> Helo:
        """How we present ourselves when we claim nothing."""
        return Helo("EHLO", self.brief.identity.ehlo_name)

    async def first(self) -> Session | None:
        """Open the first session and report what it shows; nothing if there is no session to be had."""
        self.software = find_software(self.brief.software)
        try:
            session = await self._open_first()
        except (PeerClosedError, ReadTimeoutError):
            session = await self._open_behind_header()
            if session is None:
                raise
        if session is None:
            return None
        if session.greeting.code == 421:
            session = await self._open_behind_header() or session
        if is_ftp(session.greeting):
            await self._report(Fact.NOT_THIS_PROTOCOL, session.greeting)
            return None
        await self._learn(session)
        if session.is_ready and session.has_tls_for(self.brief.door.transport):
            return session
        is_empty_offer = "STARTTLS" in session.extensions and session.last_reply.is_permanent
        if session.is_ready or (session.tls is None and is_empty_offer):
            await self._report(Fact.NOT_OFFERED, session.last_reply)
        else:
            await self._report_shut(session.last_reply)
        return None

    async def again(self, helo: Helo) -> Session | None:
        """Open a further session, in patience with a server that wants a rest; nothing if it stays shut.

        The session isn't ready if the server refuses just this way to present ourselves.
        """
        trouble = ""
        for number in range(_TRIES):
            if self.is_shut or not await self.may_connect():
                return None
            patience = self.brief.patience
            pause = patience.after_rate_limit * number
            if pause:
                await self.link.pause(pause)
            try:
                session = await open_session(self.link, self.brief, helo)
            except _TURNED_AWAY as error:
                trouble = str(error) or type(error).__name__
                continue
            if session.is_ready and session.has_tls_for(self.brief.door.transport):
                return session
            trouble = str(session.last_reply)
            await self.link.close()
            if session.last_reply.is_permanent:
                if session.greeting.is_positive and helo != self.own_helo:
                    return session  # it is this claim that is refused, and not we
                break
        self.is_shut = True
        detail = "the server stopped serving us"
        await self.link.report(Observation(fact=Fact.RATE_LIMITED, reply=trouble, detail=detail))
        return None

    async def may_connect(self) -> bool:
        """Count one more connection, unless as many as are published have been made."""
        if self.connections < MAX_CONNECTIONS[self.brief.depth]:
            self.connections += 1
            return True
        if not self.is_shut:
            self.is_shut = True
            detail = f"left after {self.connections} connections"
            await self.link.report(Observation(fact=Fact.NOTE, detail=detail))
        return False

    async def ask_for_help(self) -> None:
        """Ask for HELP, where nothing else has given the software away yet."""
        if self.software is not None:
            return
        try:
            reply = await command(self.link, "HELP", within=self.brief.patience.reply)
        except PeerClosedError:
            return
        await self.recognise(Where.HELP, reply)

    async def recognise(self, where: Where, reply: Reply) -> None:
        """Look for the software's sign in a reply, and report it the first time."""
        if self.software is not None:
            return
        # A refusal's code is part of what gives it away.
        recognition = recognise(where, str(reply) if where is Where.REPLY else reply.text)
        if recognition is None:
            return
        self.software = recognition.software
        detail = recognition.software.name + (f" {recognition.version}" if recognition.version else "")
        await self.link.report(Observation(fact=Fact.SOFTWARE, reply=recognition.words, detail=detail))

    async def _open_behind_header(self) -> Session | None:
        """See whether the server waits for a PROXY header, and takes it from us; later sessions say it too."""
        if self.brief.door.transport is not Transport.PLAIN or not await self.may_connect():
            return None
        patience = replace(self.brief.patience, greeting=min(_HEADER_PATIENCE, self.brief.patience.greeting))
        brief = replace(self.brief, proxy_header=PROXY_HEADER, patience=patience)
        session = None
        try:
            session = await open_session(self.link, brief, self.own_helo)
        except (NetworkError, RemoteProtocolError):
            await self.link.close()
        if session is None or not session.is_ready:
            return None
        self.brief, self.helo_form = brief, BEHIND_HEADER
        detail = "answers behind a PROXY header, and takes it from us"
        await self.link.report(Observation(fact=Fact.NOTE, advisory=BEHIND_HEADER.advisory, detail=detail))
        return session

    async def _open_first(self) -> Session | None:
        own = Helo("EHLO", self.brief.identity.ehlo_name)
        session: Session | None = None
        for number in range(_TRIES):
            if session is not None:
                await self.link.close()
                await self.link.pause(self.brief.patience.after_rate_limit * number)
            self.connections += 1
            try:
                session = await open_session(self.link, self.brief, own)
            except RemoteProtocolError as error:
                if not is_another_protocol(error.data):
                    raise
                await self.link.report(
                    Observation(fact=Fact.NOT_THIS_PROTOCOL, reply=error.data.decode("utf-8", "replace"))
                )
                return None
            if session.last_reply.code != 421:
                break
        return session

    async def _learn(self, session: Session) -> None:
        said = [session.greeting.text.split(" ", 1)[0], session.extensions.name]
        if session.tls is not None:
            said += await self._read_certificate(session.tls)
        # A name of one label says nothing to anybody else.
        self.names += [name for text in said if (name := plausible_host_name(text)) and "." in name]
        self.extensions = frozenset(session.extensions.keywords)
        if self.extensions:
            keywords = " ".join(sorted(self.extensions))
            await self.link.report(
                Observation(fact=Fact.OFFERS, detail=keywords, reply=session.extensions.name)
            )
        await self.recognise(Where.GREETING, session.greeting)
        await self.recognise(Where.EHLO, session.ehlo)
        for trust in sorted({"XCLIENT", "XFORWARD"} & self.extensions):
            await self.link.report(
                Observation(
                    fact=Fact.NOTE, advisory="RW-1024", detail=f"advertises {trust} to us", reply=trust
                )
            )

    async def _read_certificate(self, tls: TLSSession) -> tuple[str, ...]:
        notes = [f"speaks {tls.version}"] if tls.version in _OLD_TLS else []
        if tls.dropped:
            notes.append(f"sent {tls.dropped} octets in the clear after its go-ahead for TLS")
        names: tuple[str, ...] = ()
        try:
            facts = read_certificate(tls.certificate)
        except RemoteProtocolError as error:
            notes.append(f"certificate can't be read: {error}")
        else:
            names = facts.names
            if self.brief.now is not None:
                notes += certificate_notes(facts, self.brief.now, self.brief.target_names)
        for note in notes:
            await self.link.report(Observation(fact=Fact.NOTE, detail=note))
        return names

    async def _report_shut(self, reply: Reply) -> None:
        reading = read_refusal(reply)
        fact = Fact.CLIENT_BLOCKED if reading is Fact.REFUSED else reading
        await self._report(fact, reply)

    async def _report(self, fact: Fact, reply: Reply) -> None:
        await self.link.report(Observation(fact=fact, reply=str(reply)))
