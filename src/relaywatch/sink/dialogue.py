"""The sink's side of an SMTP dialogue (RFC 5321): octets in, steps out; no socket, no clock.

Lenient where a relay's odd habits would cost us an arrival: lines may end in a bare LF, parameters
that we didn't offer are ignored, header lines may have any length, HELO may be missing, paths may be
malformed. aiosmtpd 1.4.6, measured in its place, refuses a ``MAIL`` with ``AUTH=<>``, a ``RCPT`` with
``ORCPT=``, ``user@a@b`` and ``user@b.`` before its handler sees them, refuses a message whose trace
field is longer than 1,001 octets, and waits in vain for the end of one whose lines end in a bare LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from relaywatch.model.tokens import Token

from .recipients import Admit, Recipient

COMMAND_LIMIT = 2048
"""Octets of a command line; RFC 5321 section 4.5.3.1.4 says 512, extensions add to it."""
_OVERRUN = 8
"""So many times the message limit is read to its end, for a proper 552, before we hang up."""
_HELO_KEPT = 255
_PATH_KEPT = 512

_PATH = re.compile(r"""<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(.*)""", re.DOTALL)
_SIZE = re.compile(r"(?:^|\s)SIZE=(\d{1,20})(?:\s|$)", re.IGNORECASE)
_NOT_SMTP = frozenset({"GET", "HEAD", "OPTIONS", "CONNECT"})
"""Commands of HTTP. POST and PUT are errors like others: their bodies may hold lines that are commands of SMTP,
by which a proxy of HTTP is made to send mail; that ours came through shows that it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message with its envelope, complete and not yet answered."""

    helo: str
    reverse_path: str
    recipients: tuple[Recipient, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Say:
    """Send the octets; then hang up, if told to."""

    reply: bytes
    hang_up: bool = False


@dataclass(frozen=True, slots=True)
class BeginTLS:
    """Send the octets, then negotiate TLS; nothing that came in the clear is left."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Take:
    """Write the message down, and then answer it; no step comes before that."""

    message: Message


@dataclass(frozen=True, slots=True)
class AnswerFor:
    """Note that the token was said here, and then answer it; no step comes before that."""

    token: Token


Step = Say | BeginTLS | Take | AnswerFor


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all dialogues of one sink share."""

    domain: str
    notice: str
    """Who this is and whom to ask, said where somebody is refused."""
    admit: Admit
    refused: Callable[[], None]
    """Called for each forward-path that is refused."""
    find_token: Callable[[str], Token | None] = lambda _text: None
    """Finds a token of ours; whoever verifies one (``VRFY``) is answered as a canary answers."""
    offers_tls: bool = True
    message_limit: int = 131_072
    recipients_limit: int = 100
    errors_limit: int = 20
    commands_limit: int = 1000


class Dialogue:
    """One connection's dialogue: feed it octets, take its steps until there is none."""

    __slots__ = (
        "_buffer", "_commands", "_errors", "_helo", "_house", "_in_data", "_is_secure", "_line_end",
        "_overrun", "_recipients", "_reverse_path", "_searched",
    )  # fmt: skip

    def __init__(self, house: House) -> None:
        self._house = house
        self._buffer = bytearray()
        self._helo = ""
        self._is_secure = False
        self._errors = 0
        self._commands = 0
        self._line_end = b"\r\n"
        self._reverse_path: str | None = None
        self._recipients: list[Recipient] = []
        self._in_data = False
        self._searched = 0
        self._overrun = 0

    @property
    def greeting(self) -> bytes:
        """What to say first."""
        return _reply(220, f"{self._house.domain} ESMTP relaywatch sink. {self._house.notice}")

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        self._buffer += data

    def secured(self) -> None:
        """TLS stands: everything said before is forgotten (RFC 3207 section 4.2)."""
        self._is_secure = True
        self._helo = ""
        self._buffer.clear()
        self._reset()

    def step(self) -> Step | None:
        """The next thing to do, or nothing until more octets come."""
        return self._read_data() if self._in_data else self._read_command()

    # --- commands ------------------------------------------------------------------------------

    def _read_command(self) -> Step | None:
        end = self._buffer.find(b"\n")
        if end > COMMAND_LIMIT or (end < 0 and len(self._buffer) > COMMAND_LIMIT):
            self._buffer.clear()
            return Say(_reply(500, "5.5.2 Line too long"), hang_up=True)
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._line_end = b"\r\n" if line.endswith(b"\r") else b"\n"
        return self._count(self._command(line.rstrip(b"\r").decode("utf-8", "backslashreplace")))

    def _command(self, line: str) -> Step:
        verb, _, argument = line.strip().partition(" ")
        verb = verb.upper()
        if verb in _NOT_SMTP:
            return Say(_reply(421, "4.7.0 This is SMTP"), hang_up=True)
        handler = self._COMMANDS.get(verb)
        if handler is None:
            return Say(_reply(500, "5.5.2 Unknown command"))
        return handler(self, argument.strip())

    def _count(self, step: Step) -> Step:
        """End the connection of whoever goes on too long or does nothing but err."""
        self._commands += 1
        if isinstance(step, Say) and step.reply[:1] == b"5":
            self._errors += 1
        if self._errors >= self._house.errors_limit or self._commands > self._house.commands_limit:
            return Say(_reply(421, f"4.7.0 Too many commands or errors. {self._house.notice}"), hang_up=True)
        return step

    def _helo_command(self, argument: str) -> Step:
        self._reset()
        self._helo = argument[:_HELO_KEPT]
        return Say(_reply(250, self._house.domain))

    def _ehlo_command(self, argument: str) -> Step:
        self._reset()
        self._helo = argument[:_HELO_KEPT]
        offers = ["PIPELINING", f"SIZE {self._house.message_limit}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self._house.offers_tls and not self._is_secure:
            offers.append("STARTTLS")
        return Say(_reply(250, self._house.domain, *offers))

    def _mail_command(self, argument: str) -> Step:
        if self._reverse_path is not None:
            return Say(_reply(503, "5.5.1 Nested MAIL command"))
        path, parameters = _split_path(argument, "FROM:")
        if path is None:
            return Say(_reply(501, "5.5.4 Say MAIL FROM:<reverse-path>"))
        size = _SIZE.search(parameters)
        if size and int(size[1]) > self._house.message_limit:
            return Say(self._too_big())
        self._reverse_path = path
        return Say(_reply(250, "2.1.0 OK"))

    def _rcpt_command(self, argument: str) -> Step:
        if self._reverse_path is None:
            return Say(_reply(503, "5.5.1 MAIL first"))
        path, _ = _split_path(argument, "TO:")
        if path is None:
            return Say(_reply(501, "5.5.4 Say RCPT TO:<forward-path>"))
        if len(self._recipients) >= self._house.recipients_limit:
            return Say(_reply(452, "4.5.3 Too many recipients"))
        recipient = self._house.admit(path)
        if recipient is None:
            self._house.refused()
            return Say(_reply(550, f"5.1.1 No such mailbox here. {self._house.notice}"))
        self._recipients.append(recipient)
        return Say(_reply(250, "2.1.5 OK"))

    def _data_command(self, _: str) -> Step:
        if self._reverse_path is None or not self._recipients:
            return Say(_reply(503, "5.5.1 MAIL and an accepted RCPT first"))
        self._in_data = True
        # What was sent ahead of our 354 stays where it is: message data, if the peer is that hasty.
        self._buffer[:0] = self._line_end  # so that a dot alone is found too
        self._searched = 0
        return Say(_reply(354, "End data with <CR><LF>.<CR><LF>"))

    def _starttls_command(self, argument: str) -> Step:
        if not self._house.offers_tls:
            return Say(_reply(502, "5.5.1 Not offered"))
        if argument or self._is_secure:
            return Say(_reply(503, "5.5.1 No parameter, and once only"))
        self._buffer.clear()
        return BeginTLS(_reply(220, "2.0.0 Go ahead"))

    def _rset_command(self, _: str) -> Step:
        self._reset()
        return Say(_reply(250, "2.0.0 OK"))

    def _noop_command(self, _: str) -> Step:
        return Say(_reply(250, "2.0.0 OK"))

    def _vrfy_command(self, argument: str) -> Step:
        if token := self._house.find_token(argument):
            return AnswerFor(token)
        return Say(_reply(252, "2.5.0 Send it and see"))  # RFC 5321 section 7.3: tells nothing

    def _help_command(self, _: str) -> Step:
        return Say(_reply(214, f"2.0.0 {self._house.notice}"))

    def _not_here_command(self, _: str) -> Step:
        return Say(_reply(502, "5.5.1 Not here"))

    def _quit_command(self, _: str) -> Step:
        return Say(_reply(221, f"2.0.0 {self._house.domain} closing connection"), hang_up=True)

    _COMMANDS: ClassVar[Mapping[str, Callable[[Dialogue, str], Step]]] = {
        "HELO": _helo_command,
        "EHLO": _ehlo_command,
        "MAIL": _mail_command,
        "RCPT": _rcpt_command,
        "DATA": _data_command,
        "STARTTLS": _starttls_command,
        "RSET": _rset_command,
        "NOOP": _noop_command,
        "VRFY": _vrfy_command,
        "HELP": _help_command,
        "EXPN": _not_here_command,
        "AUTH": _not_here_command,
        "BDAT": _not_here_command,
        "ETRN": _not_here_command,
        "TURN": _not_here_command,
        "QUIT": _quit_command,
    }

    # --- message data --------------------------------------------------------------------------

    def _read_data(self) -> Step | None:
        # The dot's lines must end as the DATA line did: "\n.\n" inside ordinary mail ends nothing.
        mark = self._line_end + b"." + self._line_end
        end = self._buffer.find(mark, self._searched)
        if end < 0:
            return self._await_data(len(mark) - 1)
        text = bytes(self._buffer[: end + len(self._line_end)])
        del self._buffer[: end + len(mark)]
        return self._end_data(text)

    def _await_data(self, keep: int) -> Step | None:
        if self._overrun or len(self._buffer) > self._house.message_limit:
            self._overrun += max(len(self._buffer) - keep, 0)
            del self._buffer[:-keep]
        if self._overrun > self._house.message_limit * _OVERRUN:
            self._buffer.clear()
            return Say(self._too_big(), hang_up=True)
        self._searched = max(len(self._buffer) - keep, 0)
        return None

    def _end_data(self, text: bytes) -> Step:
        is_too_big = self._overrun or len(text) > self._house.message_limit
        plain = text.replace(self._line_end + b".", self._line_end)  # RFC 5321 section 4.5.2
        message = Message(
            helo=self._helo,
            reverse_path=self._reverse_path or "",
            recipients=tuple(self._recipients),
            data=plain.removeprefix(self._line_end),
        )
        self._reset()
        return self._count(Say(self._too_big()) if is_too_big else Take(message))

    def _too_big(self) -> bytes:
        return _reply(552, f"5.3.4 More than {self._house.message_limit} octets")

    def _reset(self) -> None:
        self._reverse_path = None
        self._recipients = []
        self._in_data = False
        self._searched = 0
        self._overrun = 0


def _split_path(argument: str, keyword: str) -> tuple[str | None, str]:
    """Read ``FROM:<path> parameters``; brackets may be missing, and spaces may be anywhere."""
    if not argument.upper().startswith(keyword):
        return None, ""
    rest = argument[len(keyword) :].strip()
    if match := _PATH.match(rest):
        return match[1].lstrip("<")[:_PATH_KEPT], match[2]
    path, _, parameters = rest.partition(" ")
    path = path.strip("<>")
    return (path[:_PATH_KEPT] or None), parameters


def _reply(code: int, *lines: str) -> bytes:
    """Write a reply; an enhanced status code is repeated by no one, so each line stands as given."""
    *head, last = lines
    text = "".join(f"{code}-{line}\r\n" for line in head) + f"{code} {last}\r\n"
    return text.encode("utf-8", "replace")
