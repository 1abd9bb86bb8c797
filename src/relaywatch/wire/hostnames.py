"""Host names as others write them: in certificates, PTR records, greetings."""

from __future__ import annotations

import re

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


def plausible_host_name(text: str) -> str | None:
    """Give the name in lower case and without a last dot, if it may be one; otherwise nothing.

    Letters, digits, hyphens (RFC 952, RFC 1123 section 2.1) and underscores, which real hosts have; a
    name whose last label is all digits is an address.
    """
    name = text.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        return None
    return name
