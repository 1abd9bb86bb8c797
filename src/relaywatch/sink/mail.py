"""What becomes of a message: its tokens are noted, mail for people is kept, the reply says which."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.tokens import Token

from .counters import Counters
from .dialogue import Message
from .journal import Record
from .mailbox import Origin
from .message import MessageFacts, read_message
from .notebook import Notebook
from .people import PeopleMail
from .recipients import Recipient
from .settings import SinkSettings

_log = logging.getLogger(__name__)

_NOTED = b"250 2.0.0 Noted\r\n"
_TRY_LATER = b"451 4.3.0 Can't write it down now, try later\r\n"
_NO_ROOM = b"452 4.2.2 Nobody has read the mail here for long, try later\r\n"


class MailDesk:
    """Takes the sink's messages."""

    def __init__(self, settings: SinkSettings, key: bytes, notebook: Notebook, counters: Counters) -> None:
        self._settings, self._key, self._notebook, self._counters = settings, key, notebook, counters
        self._people: PeopleMail | None = None

    def open(self) -> None:
        """Make the Maildir for people, if there is to be one."""
        if self._settings.human_maildir:
            room = self._settings.limits.human_messages
            self._people = PeopleMail(self._settings.human_maildir, room=room)

    async def take(self, message: Message, origin: Origin) -> bytes:
        """Write down what a message proves; the reply tells whether that is done."""
        self._counters.messages += 1
        try:
            await self._notebook.note(self._records(message, origin))
        except Exception:  # noqa: BLE001  whatever it is, 250 would be a lie
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
        return {
            token: path
            for token, path in paths.items()
            if self._notebook.is_worth_noting(token, ArrivalKind.MAIL)
        }

    async def _keep_for_people(self, message: Message, origin: Origin) -> bytes:
        self._counters.for_people += 1
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        trace = (
            f"Return-Path: <{_printable(message.reverse_path)}>\r\n"
            f"Received: from {_printable(message.helo) or 'unknown'} ({origin.peer})\r\n"
            f"\tby {self._settings.domain} with SMTP; {now}\r\n"
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
        port=origin.port,
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
