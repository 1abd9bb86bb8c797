"""Telnet dialogues over a link: a prompt, a line, and what is said to it.

Nothing tells where a prompt ends, so that everything is read until the peer has been quiet for a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from relaywatch.model.canary import read_canary_answer
from relaywatch.model.errors import NetworkError, PeerClosedError, ReadTimeoutError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.tokens import Token
from relaywatch.wire import telnet as wire

from .asking import listen
from .brief import Brief
from .entry import report_no_entry
from .link import Deadline, Link
from .tunnels import SHOWN_OCTETS, Answer, CanaryKind, Destination, Opening, as_text, ask_canary, open_link

MAX_TEXT = 4096
"""Octets of a prompt, or of what is said to a line."""
_MAX_COMMANDS = 256
"""Reads without any text, in a row."""
_MAX_LOOKS = 50
"""How often what has come so far is looked at as a whole; a peer may send a line in a thousand pieces."""
_MAX_REFUSALS = 32
"""Options that are refused; a peer that insists is not spoken to further."""
_LOGIN = re.compile(
    r"(?:login|user\s?name|user|account|pass(?:word|code|phrase)|pin)\b[^\r\n]{0,40}[:>?]\s*\Z", re.IGNORECASE
)
_PROMPT = re.compile(r"[>#$%:?\]]\s*\Z")
_REFUSED = re.compile(
    r"denied|refused|reject|not (?:allowed|permitted|authori[sz]ed)|forbidden|prohibited|invalid|illegal|unknown"
    r"|unrecogni[sz]ed|bad |not found|incorrect|syntax|usage|ambiguous|error",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"connection refused|timed? ?out|unreachable|no route|(?:can't|cannot|couldn't|could not|unable to|failed to)"
    r" (?:connect|reach|open)|connect(?:ion)? failed|host is down",
    re.IGNORECASE,
)
_GREETING = re.compile(r"^220[ -]", re.MULTILINE)
_PAUSE = 1.0
"""Seconds without a word after which we take it that all has been said."""
_CONNECTED = re.compile(
    r"\b(?:connected|connection (?:opened|established)|open)\b|escape character is", re.IGNORECASE
)


class Prompt(Enum):
    """What a service shows to whoever comes."""

    COMMAND = auto()
    """It waits for a line of ours."""
    LOGIN = auto()
    """It waits for a name or a password: nothing is typed there."""
    NONE = auto()


class TelnetStream:
    """A link's text: commands are taken out of it, and every option is refused (RFC 854)."""

    __slots__ = ("_ahead", "_link", "_refusals_left", "_rest", "is_over")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._rest = self._ahead = b""
        self._refusals_left = _MAX_REFUSALS
        self.is_over = False

    async def send(self, data: bytes) -> None:
        """Send text; ours has no octet 255, which would have to be doubled."""
        await self._link.send(data)

    async def read_some(self, *, within: float) -> bytes:
        """Read what text comes next; none at all once the peer has closed, or goes on with commands alone.

        :raises ReadTimeoutError: if nothing comes within so many seconds.
        """
        if self._ahead:
            text, self._ahead = self._ahead, b""
            return text
        deadline = await Deadline.after(2 * within)
        for _ in range(_MAX_COMMANDS):
            data = await self._link.read_some(within=min(within, await deadline.rest()))
            if not data:
                break
            parted = wire.part(self._rest + data)
            self._rest = parted.rest[:MAX_TEXT]
            await self._refuse(parted.refusals)
            if parted.text:
                return parted.text
        self.is_over = True
        return b""

    async def read_until_quiet(
        self, *, within: float, quiet: float, is_enough: Callable[[str], bool] | None = None
    ) -> str:
        """Read all that comes: the first of it within so many seconds, the rest until it is quiet or enough.

        :raises ReadTimeoutError: if nothing comes at all.
        """
        text = await self.read_some(within=within)

        def has_said_enough(more: bytes) -> bool:
            return is_enough is not None and is_enough(as_text(text + more))

        if not self.is_over:
            text += await listen(self, has_said_enough, within=quiet, limit=MAX_TEXT - len(text))
        return as_text(text)

    def unread(self, text: str) -> None:
        """Put text back that is somebody else's to read."""
        self._ahead = text.encode("utf-8", "surrogateescape")

    async def _refuse(self, refusals: bytes) -> None:
        count = min(len(refusals) // 3, self._refusals_left)
        self._refusals_left -= count
        if count:
            await self._link.send(refusals[: 3 * count])


async def read_prompt(stream: TelnetStream, brief: Brief) -> tuple[Prompt, str]:
    """What the service shows, and what that is.

    :raises ReadTimeoutError: if it shows nothing.
    """
    patience = brief.patience
    shown = await stream.read_until_quiet(within=patience.reply, quiet=min(patience.first_words, _PAUSE))
    if _LOGIN.search(shown):
        return Prompt.LOGIN, shown
    return Prompt.COMMAND if _PROMPT.search(shown) and not stream.is_over else Prompt.NONE, shown


async def awaits_command(link: Link, brief: Brief, advisory: str) -> bool:
    """Connect, and whether it waits for a command of anybody's; reports it if not."""
    await open_link(link, brief)
    prompt, shown = await read_prompt(TelnetStream(link), brief)
    if prompt is Prompt.NONE:
        await link.report(Observation(fact=Fact.NOT_THIS_PROTOCOL, reply=shown[:SHOWN_OCTETS]))
    if prompt is Prompt.LOGIN:
        await report_no_entry(link, advisory, reply=shown[:SHOWN_OCTETS], command="")
    return prompt is Prompt.COMMAND


def read_answer(said: str, line: str, host: str) -> Answer | None:
    """What the text behind our line says of the connection; nothing if it says neither yes nor no.

    A yes names the host, beside our own line's echo: services that talk of being connected are many.
    """
    text = said.replace(line, "", 1)
    if _FAILED.search(text):
        return Answer.FAILED
    if host in text and _CONNECTED.search(text):
        return Answer.YES
    return Answer.NO if _REFUSED.search(text) else None


async def ask_by_line(link: Link, brief: Brief, destination: Destination, token: Token, line: str) -> Opening:
    """Type a line at the prompt, then our words: a tunnel is what leads to our canary, or says so in words.

    Anything but a clear no is tried; what says neither and leads nowhere has no idea of what we want.
    """
    stream = TelnetStream(link)
    prompt, shown = await read_prompt(stream, brief)
    if prompt is not Prompt.COMMAND:
        no = Answer.CREDENTIALS if prompt is Prompt.LOGIN else Answer.NO
        return Opening(answer=no, reply=shown[:SHOWN_OCTETS], detail="shows no prompt")
    await stream.send(f"{line}\r\n".encode())
    said = await _read_said(stream, brief, destination, line)
    answer = read_answer(said, line, str(destination.address))
    heard = said
    if answer in {Answer.YES, None} and not stream.is_over:
        heard = await _say_words(stream, brief, destination, token)
    if read_canary_answer(brief.mint.key, token, heard) is not None:
        answer = Answer.YES
    return Opening(answer=answer or Answer.NO, reply=said[:SHOWN_OCTETS], command=line, heard=heard)


async def _read_said(stream: TelnetStream, brief: Brief, destination: Destination, line: str) -> str:
    """What it says to the line, without the greeting of our SMTP server, which is left to be read.

    That greeting may be long in coming, and nothing else tells when it would have; but a clear no is the end.
    """
    patience = brief.patience
    is_mail = destination.kind is CanaryKind.SMTP
    within = patience.canary if is_mail else patience.first_words
    quiet = within if is_mail else min(within, _PAUSE)

    looks = iter(range(_MAX_LOOKS))

    def is_enough(said: str) -> bool:
        if not (is_mail and said.endswith("\n")) or next(looks, None) is None:
            return False
        no = read_answer(said, line, str(destination.address)) in {Answer.NO, Answer.FAILED}
        return no or _GREETING.search(said) is not None

    try:
        said = await stream.read_until_quiet(within=within, quiet=quiet, is_enough=is_enough)
    except (ReadTimeoutError, PeerClosedError):
        return ""
    greeting = _GREETING.search(said) if is_mail else None
    if greeting is None:
        return said
    stream.unread(said[greeting.start() :])
    return said[: greeting.start()]


async def _say_words(stream: TelnetStream, brief: Brief, destination: Destination, token: Token) -> str:
    try:
        _, heard = await ask_canary(stream, brief, destination, token)
    except NetworkError:
        return ""
    return as_text(heard)
