"""SMTP dialogues over a link: replies, commands, pipelined groups, the opening of a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.places import Transport
from relaywatch.model.smtp import Reply
from relaywatch.wire import smtp as wire

from .brief import Brief
from .link import Link
from .ops import TLSSession


async def read_reply(link: Link, *, within: float | None = None) -> Reply:
    """Read one reply with all of its lines.

    :raises RemoteProtocolError: if a line is none, is too long, or if there are too many of them.
    """
    lines: list[wire.ReplyLine] = []
    while not lines or not lines[-1].is_last:
        if len(lines) == wire.REPLY_LINES_LIMIT:
            raise RemoteProtocolError(f"a reply of more than {wire.REPLY_LINES_LIMIT} lines")
        line = await link.read_line(limit=wire.REPLY_LINE_LIMIT, within=within)
        lines.append(wire.parse_reply_line(line))
    return wire.join_reply(lines)


async def command(link: Link, verb: str, argument: str = "", *, within: float | None = None) -> Reply:
    """Send a command and read its reply.

    :raises RemoteProtocolError: if something lies there unread: then every further reply would be taken
        for the answer to another command.
    """
    await _expect_silence(link)
    await link.send(wire.encode_command(verb, argument))
    return await read_reply(link, within=within)


async def commands(
    link: Link,
    lines: Sequence[tuple[str, str]],
    *,
    pipelined: bool,
    replies: list[Reply],
    within: float | None = None,
) -> None:
    """Send several commands, in groups where the server takes that (RFC 2920), and add their replies.

    ``replies`` grows as they come, so that those before a failure aren't lost. Ends early after a
    421: the server is closing (RFC 5321 section 3.8).

    :raises RemoteProtocolError: if something lies there unread before a group is sent.
    """
    for group in _groups(lines) if pipelined else ([line] for line in lines):
        await _expect_silence(link)
        await link.send(b"".join(wire.encode_command(*line) for line in group))
        for _ in group:
            replies.append(await read_reply(link, within=within))
            if replies[-1].code == 421:
                return


def _groups(lines: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Cut commands into groups that may be one write: EHLO and HELO end theirs (RFC 2920 section 3.1)."""
    group: list[tuple[str, str]] = []
    for line in lines:
        group.append(line)
        if line[0] in {"EHLO", "HELO"}:
            yield group
            group = []
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class Helo:
    """How to present ourselves: EHLO or HELO, and the name or literal behind it."""

    verb: str
    argument: str
    prelude: str = ""
    """A command that claims another client before we present ourselves again: XCLIENT."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has been opened: all that the server said up to its EHLO answer."""

    greeting: Reply
    ehlo: Reply
    extensions: wire.Extensions
    tls: TLSSession | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the server let us in."""
        return self.greeting.is_positive and self.ehlo.is_positive

    def has_tls_for(self, transport: Transport) -> bool:
        """Whether the session has the TLS that such a door is named for."""
        return transport is Transport.PLAIN or self.tls is not None

    @property
    def pipelines(self) -> bool:
        """Whether commands may be sent in groups."""
        return "PIPELINING" in self.extensions

    @property
    def last_reply(self) -> Reply:
        """The reply that decided."""
        return self.ehlo if self.greeting.is_positive else self.greeting


async def open_session(link: Link, brief: Brief, helo: Helo) -> Session:
    """Connect, read the greeting in patience, say EHLO, and take TLS as the door demands.

    Never talks before the greeting has ended (a server may listen for early talkers), but for a PROXY
    header, which a server that wants one waits for. Where the door
    is STARTTLS and the server doesn't offer it, or refuses it, the session that comes back has no ``tls``.
    """
    await link.connect()
    if brief.proxy_header:
        await link.send(brief.proxy_header.encode("ascii") + b"\r\n")
    tls = None
    if brief.door.transport is Transport.TLS:
        tls = await link.start_tls(_server_name(brief))
    greeting = await read_reply(link, within=brief.patience.greeting)
    if not greeting.is_positive:
        return Session(greeting, greeting, wire.Extensions(), tls)
    if brief.door.transport is not Transport.STARTTLS:
        return await _introduce(link, brief, helo, greeting, tls)
    # Only EHLO's answer offers STARTTLS, whatever is said behind it.
    session = await _introduce(link, brief, Helo("EHLO", helo.argument), greeting, tls)
    if not session.is_ready or "STARTTLS" not in session.extensions:
        return session
    go_ahead = await command(link, "STARTTLS", within=brief.patience.reply)
    if not go_ahead.is_positive:
        return Session(greeting, go_ahead, session.extensions)
    tls = await link.start_tls(_server_name(brief))
    # RFC 3207 section 4.2: forget what was learned in the clear.
    return await _introduce(link, brief, helo, greeting, tls)


async def _introduce(
    link: Link, brief: Brief, helo: Helo, greeting: Reply, tls: TLSSession | None
) -> Session:
    within = brief.patience.reply
    answer = await command(link, helo.verb, helo.argument, within=within)
    if helo.prelude and answer.is_positive:
        claimed = await command(link, helo.prelude, within=within)
        if not claimed.is_positive:
            return Session(greeting, claimed, wire.Extensions(), tls)
        answer = await command(link, helo.verb, helo.argument, within=within)
    if answer.is_positive and answer.code != 250:
        raise RemoteProtocolError("replies out of step", str(answer).encode("utf-8", "surrogateescape"))
    if helo.verb == "EHLO" and answer.code in {500, 501, 502, 504}:
        answer = await command(link, "HELO", helo.argument, within=within)
        return Session(greeting, answer, wire.Extensions(answer.lines[0].split(" ", 1)[0]), tls)
    if helo.verb == "HELO" or not answer.is_positive:
        return Session(greeting, answer, wire.Extensions(answer.lines[0].split(" ", 1)[0]), tls)
    return Session(greeting, answer, wire.parse_extensions(answer), tls)


async def leave(link: Link) -> None:
    """Say QUIT and close; the reply would tell nothing, and without QUIT many servers log a lost connection."""
    with suppress(PeerClosedError):
        await link.send(wire.encode_command("QUIT"))
    await link.close()


async def _expect_silence(link: Link) -> None:
    if await link.has_early_octets():
        raise RemoteProtocolError("the server speaks out of turn")


def _server_name(brief: Brief) -> str | None:
    return brief.target_names[0] if brief.target_names else None
