"""Telnet on the wire: commands among the text, and how every option is refused (RFC 854, RFC 1143)."""

from __future__ import annotations

from dataclasses import dataclass

_IAC = 0xFF
_SE, _SB = 0xF0, 0xFA
_WILL, _DONT = 0xFB, 0xFE
_ANSWERS = {_WILL: _DONT, 0xFD: 0xFC}
"""What refuses an offer (WILL), or a wish (DO); WONT and DONT need no answer from whoever has agreed to nothing."""


@dataclass(frozen=True, slots=True)
class Parted:
    """What came, parted: the text, the refusals that it calls for, and the start of a command that isn't whole."""

    text: bytes
    refusals: bytes
    rest: bytes


def part(data: bytes) -> Parted:
    """Part commands from text; subnegotiations are dropped, since no option was agreed on (RFC 855).

    It goes once over what came, whatever that is: a search that starts again at every command would take a
    hostile peer's 64 KiB for a quarter of a minute.
    """
    text, refusals = bytearray(), bytearray()
    position = 0
    while (start := data.find(_IAC, position)) >= 0:
        text += data[position:start]
        end = _end_of_command(data, start)
        if end is None:
            return Parted(bytes(text), bytes(refusals), data[start:])
        position = end
        match data[start + 1]:
            case command if command in _ANSWERS:
                refusals.extend((_IAC, _ANSWERS[command], data[start + 2]))
            case command if command == _IAC:  # an octet 255 of the text
                text.append(_IAC)
            case command if command < _SE:  # no command at all
                text += data[start:end]
            case _:
                pass
    return Parted(bytes(text + data[position:]), bytes(refusals), b"")


def skip(data: bytes, blanks: bytes) -> int:
    """How much of the beginning are commands, octets 255, and octets that are blank."""
    position = 0
    while position < len(data):
        if data[position] in blanks:
            position += 1
        elif data[position] == _IAC and data[position + 1 : position + 2] >= bytes([_SE]):
            end = _end_of_command(data, position)
            if end is None:
                break
            position = end
        else:
            break
    return position


def _end_of_command(data: bytes, start: int) -> int | None:
    """Where the command ends that begins at an IAC; nothing if it isn't whole."""
    if len(data) < start + 2:
        return None
    command = data[start + 1]
    if command == _SB:
        return _end_of_subnegotiation(data, start + 2)
    end = start + (3 if _WILL <= command <= _DONT else 2)
    return end if end <= len(data) else None


def _end_of_subnegotiation(data: bytes, position: int) -> int | None:
    """Where IAC SE ends it; any other octet behind an IAC belongs to it."""
    while (position := data.find(_IAC, position) + 1) > 0:
        if data[position : position + 1] == bytes([_SE]):
            return position + 1
        position += 1
    return None
