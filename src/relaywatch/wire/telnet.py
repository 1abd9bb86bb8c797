"""Telnet on the wire: commands among the text, and how every option is refused (RFC 854, RFC 1143)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_IAC = 0xFF
_WILL, _WONT, _DO, _DONT = 0xFB, 0xFC, 0xFD, 0xFE
_ANSWERS = {_WILL: _DONT, _DO: _WONT}
"""What refuses an offer, or a wish; WONT and DONT need no answer from whoever has agreed to nothing."""
_SEQUENCE = re.compile(
    rb"\xff(?:\xff|[\xfb-\xfe].|\xfa(?:[^\xff]|\xff[^\xf0])*\xff\xf0|[\xf0-\xf9])", re.DOTALL
)
_UNFINISHED = re.compile(rb"\xff(?:[\xfb-\xfe]|\xfa(?:[^\xff]|\xff[^\xf0])*\xff?)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parted:
    """What came, parted: the text, the refusals that it calls for, and the start of a command that isn't whole."""

    text: bytes
    refusals: bytes
    rest: bytes


def part(data: bytes) -> Parted:
    """Part commands from text; subnegotiations are dropped, since no option was agreed on (RFC 855)."""
    refusals = bytearray()

    def replace(match: re.Match[bytes]) -> bytes:
        sequence = match[0]
        if sequence[1] == _IAC:
            return b"\xff"  # an octet 255 of the text
        if sequence[1] in _ANSWERS:
            refusals.extend((_IAC, _ANSWERS[sequence[1]], sequence[2]))
        return b""

    unfinished = _UNFINISHED.search(_SEQUENCE.sub(lambda match: b"\0" * len(match[0]), data))
    end = unfinished.start() if unfinished else len(data)
    return Parted(_SEQUENCE.sub(replace, data[:end]), bytes(refusals), data[end:])
