r"""What the sink reads of a message: its header section, cut to size, and whether it is a report.

All of it is a stranger's: text comes with octets that aren't UTF-8 written as ``\xNN``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

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
_END_OF_SECTION = re.compile(rb"\r?\n\r?\n")


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
    message = _parse(data)
    everything = [
        (_text(name)[:_NAME], _text(value)) for name, value in message.raw_items()
    ]  # as sent, undecoded
    return MessageFacts(
        subject=_first(everything, "subject"),
        received=tuple(value for name, value in everything if name.lower() == "received")[:_RECEIVED],
        fields=_bound(
            [(name, value) for name, value in everything if name.lower() not in {"received", "subject"}]
        ),
        is_report=_is_report(message),
        header_token=find_token(key, _first(everything, "x-relaywatch-token")),
    )


def _parse(data: bytes) -> Message:
    head = data[:_SECTION]
    end = _END_OF_SECTION.search(head)
    section = head[: end.start()] + b"\r\n" if end else head
    return BytesHeaderParser(policy=compat32).parsebytes(section.replace(b"\0", b""))


def _text(value: object) -> str:
    unfolded = re.sub(r"\r?\n[ \t]*|\r", " ", str(value))
    octets = unfolded.encode("utf-8", "surrogateescape")
    return octets.decode("utf-8", "backslashreplace").strip()[:_VALUE]


def _first(fields: list[tuple[str, str]], name: str) -> str:
    return next((value for field, value in fields if field.lower() == name), "")


def _bound(fields: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in fields[:_FIELDS]:
        size += len(name) + len(value)
        if size > _FIELDS_SIZE:
            break
        kept.append((name, value))
    return tuple(kept)


def _is_report(message: Message) -> bool:
    if message.get_content_type() == "multipart/report":
        return True
    return _text(message.get("Auto-Submitted", "")).lower().startswith("auto-replied")
