"""Octets as a conversation writes them, for protocols that have no lines.

::

    C< 05 01 00 01 203.0.113.25 :443          hexadecimal, an address, a port of two octets
    C< "relaywatch {token:address-443}" 0d 0a  text in quotes, with \\r, \\n, \\" and \\\\
    C< 00 01 00 00 21 12 a4 42 ...             `..` is any one octet, `...` any number of them
    S< 01 01 00 00 {sent:4+16}                 octets 4 to 19 of what the script sent last on that channel
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relaywatch.model.places import parse_address

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\{[^}]*\}|[^\s"{}]+')
_SENT = re.compile(r"\{sent:(\d+)\+(\d+)\}")
_ESCAPES = {"r": "\r", "n": "\n", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Gap:
    """Octets that the conversation leaves open: so many, or any number."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """Octets of what the script sent last."""

    start: int
    count: int


Part = bytes | Gap | Sent


def read_octets(text: str, fill: Callable[[str], str]) -> list[Part]:
    """Read a line of octets; ``fill`` puts in what placeholders stand for.

    :raises ValueError: if it isn't understood.
    """
    rest = _WORD.sub("", text).strip()
    if rest:
        raise ValueError(f"what is {rest!r}")
    return [_read_word(word, fill) for word in _WORD.findall(text)]


def _read_word(word: str, fill: Callable[[str], str]) -> Part:
    if word.startswith('"'):
        unescaped = re.sub(r"\\(.)", lambda found: _ESCAPES[found[1]], word[1:-1])
        return fill(unescaped).encode("utf-8", "surrogateescape")
    if word.startswith("{"):
        if sent := _SENT.fullmatch(word):
            return Sent(int(sent[1]), int(sent[2]))
        filled = fill(word)
        if filled == word:
            raise ValueError(f"no such placeholder: {word}")
        return filled.encode()
    if word in {"..", "..."}:
        return Gap(1 if word == ".." else None)
    if re.fullmatch(r":\d+", word):
        return int(word[1:]).to_bytes(2, "big")
    return parse_address(word).packed if re.search(r"[.:]", word) else bytes.fromhex(word)


def fixed_octets(parts: Iterable[Part], sent: bytes = b"") -> bytes:
    """The octets, where the script has sent these; gaps hold nothing."""
    written = b""
    for part in parts:
        match part:
            case Sent(start, count):
                assert len(sent) >= start + count, f"only {len(sent)} octets were sent"
                written += sent[start : start + count]
            case bytes():
                written += part
    return written


def match_octets(parts: Iterable[Part], data: bytes) -> bool:
    """Whether the data is as written, but for its gaps."""
    pattern = b""
    for part in parts:
        match part:
            case Gap(count):
                pattern += b".*" if count is None else b".{%d}" % count
            case bytes():
                pattern += re.escape(part)
            case _:
                raise AssertionError("what was sent before stands in the peer's lines alone")
    return re.fullmatch(pattern, data, re.DOTALL) is not None
