"""What a stranger's server said, made safe to show."""

from __future__ import annotations

import re

LENGTH_LIMIT = 500
_UNSAFE = re.compile(r"[^ -~]")


def neutralise(text: str, limit: int = LENGTH_LIMIT) -> str:
    r"""Write control characters, escapes, bidirectional controls and broken octets visibly; cut what is long.

    What is left does nothing to a terminal but stand there: no cursor is moved, no title is set, no line is
    ended, and no text runs the other way. An octet that was no UTF-8 is shown as ``\xNN``.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if cut.isascii() and cut.isprintable() else _UNSAFE.sub(_visible, cut)


def without_lone_surrogates(text: str) -> str:
    r"""Write octets that were no UTF-8 as ``\xNN``, so that the text can be encoded; the rest stays."""
    return re.sub(r"[\ud800-\udfff]", lambda match: _escape(match[0]), text)


def _visible(match: re.Match[str]) -> str:
    char = match[0]
    # str.isprintable is false for all of Unicode's control, format, surrogate, private and unassigned
    # characters, and for all separators but the space.
    return char if char.isprintable() else _escape(char)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # what surrogateescape made of an octet
        code -= 0xDC00
    if code <= 0xFF:
        return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
