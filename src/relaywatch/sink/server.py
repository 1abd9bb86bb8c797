"""The sink as a whole: listeners, mailbox, journal, and whoever wants to know of arrivals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.places import Address, Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script.brief import CanaryPlaces

from .certificate import make_certificate
from .counters import Counters
from .dialogue import House, Message
from .journal import GroupCommit, Journal, Record
from .listening import endpoints, listen
from .mailbox import Mailbox, Origin
from .message import MessageFacts, read_message
from .people import PeopleMail
from .recipients import Recipient, admit_recipients
from .settings import SinkSettings

OnArrival = Callable[[Arrival], object]

_log = logging.getLogger(__name__)
_TOKENS_COUNTED = 200_000
"""Tokens whose arrivals are counted; beyond, the oldest half is forgotten."""

_NOTED = b"250 2.0.0 Noted\r\n"
_TRY_LATER = b"451 4.3.0 Can't write it down now, try later\r\n"
_NO_ROOM = b"452 4.2.2 Nobody has read the mail here for long, try later\r\n"


class Sink:
    """Receives our own test messages for as long as it is entered.

    ::

        async with Sink(settings, key, on_arrival=board.note) as sink: ...

    Works in the running event loop, asyncio's or uvloop's. Each of ``on_arrival`` is called in that loop
    after the arrival is in the journal and before the relay hears 250.
    """

    def __init__(
        self, settings: SinkSettings, key: bytes, *, on_arrival: OnArrival | Iterable[OnArrival] = ()
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.journal: Journal | None = None
        self._key = key
        self._listeners: list[OnArrival] = [on_arrival] if callable(on_arrival) else list(on_arrival)
        self._seen: Counter[Token] = Counter()
        self._servers: list[asyncio.Server] = []
        self._mailbox = self._make_mailbox()
        self._commit: GroupCommit | None = None
        self._people: PeopleMail | None = None
        self._opened = contextlib.ExitStack()

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports that it got."""
        return endpoints(self._servers)

    async def __aenter__(self) -> Self:
        """Open the journal, then listen.

        :raises ListenError: if an address and port can't be had.
        :raises JournalError: if the journal can't be opened.
        """
        try:
            self._open_files()
            self._servers = await listen(self.settings.listen, self._mailbox.connection)
        except BaseException:
            await self._close()
            raise
        self._mailbox.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def listen_at(self, where: Iterable[Endpoint]) -> None:
        """Listen there as well.

        :raises ListenError: if an address and port can't be had.
        """
        self._servers += await listen(where, self._mailbox.connection)

    # --- canaries, behind which proxies are proven ---------------------------------------------

    @property
    def canary_endpoints(self) -> tuple[Endpoint, ...]:
        """Where canaries wait over TCP, in the order in which they were wanted."""
        raise NotImplementedError

    @property
    def left_out(self) -> tuple[str, ...]:
        """Where it was to listen and can't, with the reason, for people."""
        raise NotImplementedError

    async def listen_canaries_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Have canaries wait there too, over TCP: those that could be had.

        :raises ListenError: if none can be had.
        """
        raise NotImplementedError

    async def listen_datagrams_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Have canaries wait there too, over UDP: those that could be had.

        :raises ListenError: if none can be had.
        """
        raise NotImplementedError

    async def listen_smtp_also_at(self, where: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """Take mail there too, like `listen_at`: those that could be had.

        :raises ListenError: if none can be had.
        """
        raise NotImplementedError

    def reserve_dead_port(self, *addresses: Address) -> int:
        """Hold a port at which nobody answers at any of these addresses while the sink is up, TCP and UDP.

        The same again for the same addresses.

        :raises ListenError: if there is none.
        """
        raise NotImplementedError

    def canary_places(self, *addresses: Address, name: str | None = None) -> CanaryPlaces:
        """What waits at each of these addresses of ours, with the dead port if one was reserved there."""
        raise NotImplementedError

    async def open_port(self, token: Token, address: Address) -> Endpoint:
        """Listen on a port of the token's own: any connection there is an arrival of its.

        It closes after two minutes at the latest.

        :raises ListenError: if it can't be had, or too many are open.
        """
        raise NotImplementedError

    def close_port(self, token: Token) -> None:
        """Close the token's own port, if it has one."""
        raise NotImplementedError

    def subscribe(self, on_arrival: OnArrival) -> Callable[[], None]:
        """Call this at each arrival too, until the function that comes back is called."""
        self._listeners.append(on_arrival)
        return lambda: self._listeners.remove(on_arrival)

    # --- opening and closing -------------------------------------------------------------------

    def _make_mailbox(self) -> Mailbox:
        settings, limits = self.settings, self.settings.limits
        people_at = (settings.domain, *settings.human_domains) if settings.human_maildir else ()
        certificate = settings.certificate or make_certificate([settings.domain])
        house = House(
            domain=settings.domain,
            notice=_notice(settings),
            admit=admit_recipients(self._key, people_at=people_at),
            refused=self._count_refused,
            message_limit=limits.message,
            recipients_limit=limits.recipients,
            errors_limit=limits.errors,
            commands_limit=limits.commands,
        )
        return Mailbox(
            house,
            self._take,
            limits=limits,
            counters=self.counters,
            tls=certificate.server_context(takes_old_tls=True),
        )

    def _open_files(self) -> None:
        settings, limits = self.settings, self.settings.limits
        if settings.human_maildir:
            self._people = PeopleMail(settings.human_maildir, room=limits.human_messages)
        if settings.journal:
            self.journal = Journal(
                settings.journal,
                segment_octets=limits.journal_segment,
                segments=limits.journal_segments,
            )
            self._opened.callback(self.journal.close)
            self._commit = GroupCommit(self.journal)
            self._opened.callback(self._commit.close)
            self._seen = Counter(record.token for record in self.journal.read_all())

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._mailbox.stop()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        self._opened.close()

    # --- a message -----------------------------------------------------------------------------

    def _count_refused(self) -> None:
        self.counters.unknown_recipients += 1

    async def _take(self, message: Message, origin: Origin) -> bytes:
        """Write down what a message proves; the reply tells whether that is done."""
        self.counters.messages += 1
        records = self._records(message, origin)
        try:
            await self._note(records)
        except Exception:  # noqa: BLE001  whatever it is, 250 would be a lie
            self.counters.failures += 1
            self._seen.subtract(record.token for record in records)
            _log.exception("an arrival can't be written down; the relay is told to try later")
            return _TRY_LATER
        if any(recipient.token is None for recipient in message.recipients):
            return await self._keep_for_people(message, origin)
        return _NOTED

    def _records(self, message: Message, origin: Origin) -> list[Record]:
        paths = self._worth_noting(message.recipients)
        if not paths:
            return []  # a flood of repeats isn't worth reading
        facts = read_message(self._key, message.data)
        return [_record(message, token, path, facts=facts, origin=origin) for token, path in paths.items()]

    def _worth_noting(self, recipients: Iterable[Recipient]) -> dict[Token, str]:
        """Each token with its first forward-path, without those that have come often enough."""
        paths: dict[Token, str] = {}
        for recipient in recipients:
            if recipient.token:
                paths.setdefault(recipient.token, recipient.forward_path)
        most = self.settings.limits.arrivals_per_token
        kept = {token: path for token, path in paths.items() if self._seen[token] < most}
        self.counters.repeated += len(paths) - len(kept)
        self._seen.update(kept.keys())
        self._forget_oldest()
        return kept

    def _forget_oldest(self) -> None:
        if len(self._seen) > _TOKENS_COUNTED:
            for token in list(self._seen)[: _TOKENS_COUNTED // 2]:
                del self._seen[token]

    async def _note(self, records: list[Record]) -> None:
        if not records:
            return
        if self._commit:
            records = await self._commit.append(records)
        self.counters.arrivals += len(records)
        for record in records:
            self._tell(record.arrival())

    def _tell(self, arrival: Arrival) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(arrival)
            except Exception:  # noqa: BLE001  a listener's fault must not cost the relay its 250
                _log.exception("a listener failed at an arrival")

    async def _keep_for_people(self, message: Message, origin: Origin) -> bytes:
        self.counters.for_people += 1
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        trace = (
            f"Return-Path: <{_printable(message.reverse_path)}>\r\n"
            f"Received: from {_printable(message.helo) or 'unknown'} ({origin.peer})\r\n"
            f"\tby {self.settings.domain} with SMTP; {now}\r\n"
        )
        is_kept = self._people is not None and await self._people.keep(trace, message.data)
        return _NOTED if is_kept else _NO_ROOM


def _record(
    message: Message, token: Token, forward_path: str, *, facts: MessageFacts, origin: Origin
) -> Record:
    is_bounce = facts.is_report and not message.reverse_path
    return Record(
        at=datetime.now(UTC),
        token=token,
        kind=ArrivalKind.BOUNCE if is_bounce else ArrivalKind.MAIL,
        source_address=str(origin.peer.address),
        source_port=origin.peer.port,
        tls=origin.tls,
        helo=message.helo,
        reverse_path=message.reverse_path,
        forward_path=forward_path,
        subject=facts.subject,
        received=facts.received,
        fields=facts.fields,
        is_report=facts.is_report,
        header_token=facts.header_token,
        octets=len(message.data),
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _notice(settings: SinkSettings) -> str:
    contact = f" Questions: {settings.contact}" if settings.contact else ""
    text = f"Takes only its own test messages, relays nothing. Run by {settings.operator}.{contact}"
    return " ".join(text.split())[:400]
