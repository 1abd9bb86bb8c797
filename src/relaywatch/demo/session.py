"""One SMTP session (RFC 5321) of a server whose policy may be sloppy, but whose protocol is not."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from relaywatch.model.smtp import Reply

from .addresses import read_path
from .admission import Client, GreylistMemory, Recipient, admit, greylisted
from .line import Line, LineTooLongError
from .phrases import say
from .policy import Policy, RelayCheck

CONTENT_LIMIT = 1_048_576
RECIPIENTS_LIMIT = 50
ERRORS_LIMIT = 100

_WANTS_TLS = frozenset({"MAIL", "RCPT", "DATA", "BDAT", "AUTH", "VRFY"})
"""What a server that requires TLS answers inside TLS only (RFC 3207 section 4)."""

Step = Callable[[str], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a server took: the envelope, the content, and from whom."""

    client: Client
    esmtp: bool
    number: str
    reverse_path: str
    recipients: tuple[Recipient, ...]
    content: bytes


@dataclass(slots=True)
class Transaction:
    """A mail transaction under way."""

    reverse_path: str
    recipients: list[Recipient] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What the sessions of one server share."""

    policy: Policy
    tls: ssl.SSLContext | None
    greylist: GreylistMemory
    take: Callable[[Accepted], None]
    """Called with each message that was answered 250 after the dot."""


class Session:
    """Speaks with one client until either has had enough."""

    def __init__(self, house: House, line: Line, *, tls: bool = False) -> None:
        self._house, self._line = house, line
        self._policy = house.policy
        self._client = Client(address=line.peer, tls=tls)
        self._esmtp = False
        self._transaction: Transaction | None = None
        self._errors = 0
        self._steps: dict[str, Step] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "HELP": self._help,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Greet, then answer until QUIT, 421, silence or the client's end."""
        try:
            if not await self._greet():
                return
            while (await self._exchange()).code not in {221, 421}:
                pass
        except LineTooLongError:
            await self._line.reply(say("421 4.5.2 Line too long"))
        except EOFError:
            return

    async def _greet(self) -> bool:
        wait = self._policy.conduct.greeting_seconds
        if wait and await self._line.speaks_within(wait):
            await self._line.reply(say("554 5.5.0 Error: you spoke before the greeting"))
            return False
        greeting = say(self._policy.phrases.greeting, hostname=self._policy.hostname, date=formatdate())
        await self._line.reply(greeting)
        return True

    async def _exchange(self) -> Reply:
        command = await self._line.read_line()
        reply = await self._count_error(await self._answer(command))
        await self._line.reply(reply)
        if reply.code == 220 and self._house.tls is not None:
            await self._begin_tls(self._house.tls)
        return reply

    async def _answer(self, command: bytes) -> Reply:
        text = command.decode("utf-8", "surrogateescape").rstrip("\r\n")
        verb, _, argument = text.partition(" ")
        step = self._steps.get(verb.upper())
        if step is None:
            return say("500 5.5.2 Command unrecognized")
        if self._policy.requires_tls and not self._client.tls and verb.upper() in _WANTS_TLS:
            return say("530 5.7.0 Must issue a STARTTLS command first")
        return await step(argument)

    async def _count_error(self, reply: Reply) -> Reply:
        if reply.code < 400:
            return reply
        self._errors += 1
        conduct = self._policy.conduct
        if self._errors >= (conduct.drops_after_errors or ERRORS_LIMIT):
            await self._line.reply(reply)
            return say(self._policy.phrases.too_many_errors, hostname=self._policy.hostname)
        if conduct.sleeps_after_errors is not None and self._errors > conduct.sleeps_after_errors:
            await asyncio.sleep(conduct.error_sleep_seconds)
        return reply

    async def _begin_tls(self, context: ssl.SSLContext) -> None:
        await self._line.start_tls(context)
        self._client = Client(address=self._client.address, tls=True)
        self._transaction = None

    # --- the verbs ---------------------------------------------------------------------------------

    async def _ehlo(self, argument: str) -> Reply:
        return self._hello(argument, esmtp=True)

    async def _helo(self, argument: str) -> Reply:
        return self._hello(argument, esmtp=False)

    def _hello(self, argument: str, *, esmtp: bool) -> Reply:
        if not argument.strip():
            return say("501 5.5.4 A name is wanted")
        self._client = replace(self._client, helo=argument.strip())
        self._esmtp, self._transaction = esmtp, None
        policy = self._policy
        first = policy.phrases.hello.format(
            hostname=policy.hostname, helo=argument.strip(), client=self._client.address
        )
        return Reply(250, (first, *(self._extensions() if esmtp else ())))

    def _extensions(self) -> tuple[str, ...]:
        policy = self._policy
        offered = {
            "STARTTLS": policy.offers_starttls and not self._client.tls,
            "AUTH PLAIN LOGIN": policy.requires_auth,
            "CHUNKING": policy.offers_chunking,
        }
        return (*policy.phrases.extensions, *(keyword for keyword, offer in offered.items() if offer))

    async def _starttls(self, _argument: str) -> Reply:
        if not self._policy.offers_starttls:
            return say("502 5.5.1 Not implemented")
        if self._client.tls:
            return say("503 5.5.1 TLS is active already")
        return say("220 2.0.0 Ready to start TLS")

    async def _auth(self, argument: str) -> Reply:
        if not self._policy.requires_auth:
            return say("503 5.5.1 Authentication is not enabled")
        if len(argument.split()) < 2:
            return say("504 5.5.4 Initial response is wanted")
        return say("535 5.7.8 Authentication failed")

    async def _mail(self, argument: str) -> Reply:
        if not self._client.helo:
            return say("503 5.5.1 Say hello first")
        if self._policy.requires_auth:
            return say("530 5.7.0 Authentication required")
        if self._transaction is not None:
            return say("503 5.5.1 Nested MAIL command")
        path = read_path(argument[5:]) if argument[:5].upper() == "FROM:" else None
        if path is None or not path.text.isascii():
            return say("501 5.1.7 Bad reverse-path syntax")
        self._transaction = Transaction(path.text)
        return say(self._policy.phrases.sender_ok, path=path.text)

    async def _rcpt(self, argument: str) -> Reply:
        if self._transaction is None:
            return say("503 5.5.1 Need MAIL command")
        path = read_path(argument[3:]) if argument[:3].upper() == "TO:" else None
        if path is None or not path.text or not path.text.isascii():
            return say("501 5.1.3 Bad forward-path syntax")
        if (no := self._turned_away(self._transaction, path.text)) is not None:
            return no
        answer = admit(
            self._policy,
            self._client,
            self._line.own,
            self._transaction.reverse_path,
            path,
            first=not self._transaction.recipients,
        )
        if isinstance(answer, Reply):
            return answer
        self._transaction.recipients.append(answer)
        return say(self._policy.phrases.recipient_ok, path=path.text)

    def _turned_away(self, transaction: Transaction, path: str) -> Reply | None:
        policy = self._policy
        client = str(self._client.address)
        if policy.conduct.blocks_client:
            return say(
                "553 5.7.1 <{path}> Mail from {client} refused: listed by bl.example",
                path=path,
                client=client,
            )
        if len(transaction.recipients) >= RECIPIENTS_LIMIT:
            return say("452 4.5.3 Too many recipients")
        if policy.greylist is not None:
            triplet = (client, transaction.reverse_path, path)
            left = self._house.greylist.defers(policy.greylist, triplet, time.monotonic())
            return None if left is None else greylisted(policy, left)
        return None

    async def _data(self, _argument: str) -> Reply:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            return say("503 5.5.1 Need RCPT command")
        if (no := self._refused_late(transaction)) is not None:
            return no
        await self._line.reply(say(self._policy.phrases.go_ahead))
        await self._read_content(transaction)
        return self._end_of_data(transaction)

    async def _read_content(self, transaction: Transaction) -> None:
        while (line := await self._line.read_line()) != b".\r\n":
            if len(transaction.content) <= CONTENT_LIMIT:
                transaction.content += line[1:] if line.startswith(b".") else line

    async def _bdat(self, argument: str) -> Reply:
        size, _, last = argument.strip().partition(" ")
        octets = int(size) if size.isascii() and size.isdigit() else CONTENT_LIMIT + 1
        if not self._policy.offers_chunking or octets > CONTENT_LIMIT:
            return say("421 5.5.4 Can't take that chunk")  # its octets would be read as commands
        chunk = await self._line.read_exactly(octets)
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            return say("503 5.5.1 Need RCPT command")
        if not self._policy.bdat_unchecked and (no := self._refused_late(transaction)) is not None:
            return no
        if len(transaction.content) <= CONTENT_LIMIT:
            transaction.content += chunk
        if last.upper() != "LAST":
            return say("250 2.0.0 {octets} octets received", octets=size)
        return self._end_of_data(transaction)

    def _refused_late(self, transaction: Transaction) -> Reply | None:
        if self._policy.relay_check is RelayCheck.AT_RCPT:
            return None
        return next((one.refusal for one in transaction.recipients if one.refusal is not None), None)

    def _end_of_data(self, transaction: Transaction) -> Reply:
        self._transaction = None
        if len(transaction.content) > CONTENT_LIMIT:
            return say("552 5.3.4 Message too big")
        number = secrets.token_hex(5).upper()
        self._house.take(
            Accepted(
                client=self._client,
                esmtp=self._esmtp,
                number=number,
                reverse_path=transaction.reverse_path,
                recipients=tuple(transaction.recipients),
                content=bytes(transaction.content),
            )
        )
        return say(self._policy.phrases.queued, id=number, number=str(int(number, 16)))

    async def _rset(self, _argument: str) -> Reply:
        self._transaction = None
        return say("250 2.0.0 Ok")

    async def _noop(self, _argument: str) -> Reply:
        return say("250 2.0.0 Ok")

    async def _vrfy(self, _argument: str) -> Reply:
        return say("252 2.5.2 Send some mail, and it will be tried")

    async def _help(self, _argument: str) -> Reply:
        return say(self._policy.phrases.help)

    async def _quit(self, _argument: str) -> Reply:
        return say(self._policy.phrases.bye, hostname=self._policy.hostname)
