"""FTP dialogues over a link: replies, commands, and the way in that is open to anybody (RFC 959, RFC 1635)."""

from __future__ import annotations

from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.evidence import Fact
from relaywatch.model.smtp import Reply
from relaywatch.wire import ftp as wire
from relaywatch.wire.smtp import decode_text, encode_command

from .brief import Brief
from .link import Link

_UNKNOWN_COMMAND = frozenset({500, 502, 503})
"""To USER: whoever says that is no FTP server, though it greets like one."""
_IN = frozenset({202, 230})


async def read_reply(link: Link, *, within: float) -> Reply:
    """Read one reply with all of its lines (RFC 959 section 4.2).

    :raises RemoteProtocolError: if it is none, if a line is too long, or if there are too many of them.
    """
    first = await link.read_line(limit=wire.REPLY_LINE_LIMIT, within=within)
    code = wire.parse_reply_code(first)
    lines = [first]
    is_over = not wire.is_first_of_many(first)
    while not is_over:
        if len(lines) == wire.REPLY_LINES_LIMIT:
            raise RemoteProtocolError(f"a reply of more than {wire.REPLY_LINES_LIMIT} lines")
        lines.append(await link.read_line(limit=wire.REPLY_LINE_LIMIT, within=within))
        is_over = wire.is_last(lines[-1], code)
    return Reply(code, tuple(decode_text(line.removeprefix(b"%d" % code)[1:]) for line in lines))


async def command(link: Link, brief: Brief, verb: str, argument: str = "") -> Reply:
    """Send a command and read its reply."""
    await link.send(encode_command(verb, argument))
    return await read_reply(link, within=brief.patience.reply)


async def enter(link: Link, brief: Brief) -> tuple[Fact | None, Reply]:
    """Come in as ``anonymous``, with our address of contact, as RFC 1635 has it; what keeps us out, if anything.

    That name is the one by which a server lets in the public; no other is tried.
    """
    greeting = await read_reply(link, within=brief.patience.greeting)
    if greeting.code != 220:
        return (Fact.RATE_LIMITED if greeting.code == 421 else Fact.CLIENT_BLOCKED), greeting
    reply = await command(link, brief, "USER", "anonymous")
    if reply.code in _UNKNOWN_COMMAND:
        return Fact.NOT_THIS_PROTOCOL, reply
    if reply.code == 331:
        reply = await command(link, brief, "PASS", brief.identity.contact or "guest")
    if reply.code in _IN:
        return None, reply
    return (Fact.RATE_LIMITED if reply.code == 421 else Fact.AUTH_REQUIRED), reply
