r"""What the sink reads of a message: its header section, cut to size, and whether it is a report.

All of it is a stranger's: text comes with octets that aren't UTF-8 written as ``\xNN``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.model.tokens import Token

from .recipients import find_token

_SECTION = 32_768
"""Octets of header section that are read."""
_VALUE = 1000
_NAME = 100
_RECEIVED = 50
"""Trace fields that are kept; RFC 5321 section 6.3 takes 100 hops for a loop."""
_FIELDS = 60
_FIELDS_SIZE = 8000
_END_OF_SECTION = re.compile(rb"(?:^|\n)\r?\n")
_NEW_FIELD = re.compile(rb"\r?\n(?![ \t])")

Field = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """What a message's header section says."""

    subject: str
    received: tuple[str, ...]
    """Outermost first."""
    fields: tuple[tuple[str, str], ...]
    """The other header fields, the first ones of them."""
    is_report: bool
    """A multipart/report (RFC 6522) or an automatic answer (RFC 3834)."""
    header_token: Token | None
    """The token that our message carries in ``X-Relaywatch-Token``."""


def read_message(key: bytes, data: bytes) -> MessageFacts:
    """Read message data; whatever they are, there is an answer."""
    everything = list(_split(data))
    return MessageFacts(
        subject=_first(everything, "subject"),
        received=tuple(value for name, value in everything if name.lower() == "received")[:_RECEIVED],
        fields=bound_fields(
            [(name, value) for name, value in everything if name.lower() not in {"received", "subject"}]
        ),
        is_report=_is_report(everything),
        header_token=find_token(key, _first(everything, "x-relaywatch-token")),
    )


def _split(data: bytes) -> Iterator[tuple[str, str]]:
    """Give the fields of the header section; a line that is none costs itself alone.

    The standard library's parser ends the section at such a line, and relays put them there.
    """
    section = _END_OF_SECTION.split(data[:_SECTION], maxsplit=1)[0]
    for line in _NEW_FIELD.split(section):
        name, colon, value = _text(line).partition(":")
        if colon and name.strip():
            yield name.strip()[:_NAME], value.strip()[:_VALUE]


def _text(octets: bytes) -> str:
    unfolded = re.sub(rb"\r?\n[ \t]*|\r", b" ", octets.replace(b"\0", b""))
    return unfolded.decode("utf-8", "backslashreplace")


def _first(fields: list[Field], name: str) -> str:
    return next((value for field, value in fields if field.lower() == name), "")


def bound_fields(fields: list[Field]) -> tuple[Field, ...]:
    """Keep the first fields, few and small enough to be written down."""
    kept: list[Field] = []
    size = 0
    for name, value in fields[:_FIELDS]:
        size += len(name) + len(value)
        if size > _FIELDS_SIZE:
            break
        kept.append((name, value))
    return tuple(kept)


def _is_report(fields: list[Field]) -> bool:
    media_type = _first(fields, "content-type").partition(";")[0].strip().lower()
    return media_type == "multipart/report" or _first(fields, "auto-submitted").lower().startswith(
        "auto-replied"
    )
