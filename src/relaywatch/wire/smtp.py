"""SMTP on the wire: reply lines, the EHLO answer, commands, paths, message data (RFC 5321, RFC 2034)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relaywatch.model.errors import LocalProtocolError, RemoteProtocolError
from relaywatch.model.smtp import EnhancedStatusCode, Reply

REPLY_LINE_LIMIT = 4096
"""RFC 5321 section 4.5.3.1.5 says 512 octets; real servers exceed it."""
REPLY_LINES_LIMIT = 100
"""More continuation lines than any honest EHLO answer has."""

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:[ \t]+|$)")


@dataclass(frozen=True, slots=True)
class ReplyLine:
    """One line of a reply; ``is_last`` unless a hyphen follows the code."""

    code: int
    is_last: bool
    text: str


def parse_reply_line(line: bytes) -> ReplyLine:
    """Read a reply line, given without its line ending.

    :raises RemoteProtocolError: if it isn't one.
    """
    match = _REPLY_LINE.fullmatch(line)
    if match is None:
        raise RemoteProtocolError("not an SMTP reply line", line)
    code, mark, text = match.groups()
    return ReplyLine(int(code), mark != b"-", decode_text(text or b""))


def join_reply(lines: Iterable[ReplyLine]) -> Reply:
    """Put a reply together from its lines; the last line's code is the reply's.

    Lines of differing codes are a fault that some servers have; RFC 5321 section 4.2.1 tells the
    client to go by the last one.
    """
    parts = tuple(lines)
    last = parts[-1]
    enhanced = parse_enhanced_status_code(last.code, last.text)
    return Reply(last.code, tuple(part.text for part in parts), enhanced)


def parse_enhanced_status_code(code: int, text: str) -> EnhancedStatusCode | None:
    """Read the enhanced status code at the start of a reply's text, if it fits the reply code."""
    match = _ENHANCED.match(text)
    if match is None or int(match[1]) != code // 100:
        return None  # RFC 2034 section 4: the class must agree with the code's first digit
    return EnhancedStatusCode(int(match[1]), int(match[2]), int(match[3]))


def decode_text(data: bytes) -> str:
    """Read a server's text, whatever it is: UTF-8, and what isn't stays as surrogates."""
    return data.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the EHLO answer advertises: the server's name, and keywords with their parameters."""

    name: str = ""
    keywords: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords


def parse_extensions(reply: Reply) -> Extensions:
    """Read an EHLO answer (RFC 5321 section 4.1.1.1); keywords are folded to upper case."""
    first, *rest = reply.lines
    keywords: dict[str, str] = {}
    for line in rest:
        keyword, _, parameters = line.strip().replace("=", " ", 1).partition(" ")
        if keyword:
            keywords[keyword.upper()] = parameters
    return Extensions(first.split(" ", 1)[0] if first else "", keywords)


def encode_command(verb: str, argument: str = "") -> bytes:
    """Write a command line.

    :raises LocalProtocolError: if it holds a control character, which would make it two commands.
    """
    line = f"{verb} {argument}" if argument else verb
    if _CONTROL.search(line):
        raise LocalProtocolError(f"control character in command {line!r}")
    return line.encode("utf-8", "surrogateescape") + b"\r\n"


def encode_message(message: bytes) -> bytes:
    """Write message data with dot-stuffing and the closing dot (RFC 5321 section 4.5.2).

    :raises LocalProtocolError: if a line doesn't end in CR LF, which is what smuggling is made of.
    """
    if re.search(rb"(?<!\r)\n|\r(?!\n)", message):
        raise LocalProtocolError("bare CR or LF in message data")
    body = message if message.endswith(b"\r\n") else message + b"\r\n"
    stuffed = body.replace(b"\r\n.", b"\r\n..")
    return (b"." if body.startswith(b".") else b"") + stuffed + b".\r\n"
