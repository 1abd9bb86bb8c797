"""Where a reference of the catalogue can be read."""

import re
from collections.abc import Callable
from typing import Final

_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"RFC ([0-9]+)\Z"), lambda m: f"https://www.rfc-editor.org/rfc/rfc{m[1]}"),
    (
        re.compile(r"RFC ([0-9]+) (section|appendix) (\S+)\Z"),
        lambda m: f"https://www.rfc-editor.org/rfc/rfc{m[1]}#{m[2]}-{m[3]}",
    ),
    (re.compile(r"(CVE-.+)\Z"), lambda m: f"https://www.cve.org/CVERecord?id={m[1]}"),
    (re.compile(r"VU#([0-9]+)\Z"), lambda m: f"https://www.kb.cert.org/vuls/id/{m[1]}"),
    (re.compile(r"(https://.+)\Z"), lambda m: m[1]),
)


def link_of(reference: str) -> str | None:
    """Return the page where `reference` can be read, or None where no lasting page exists (MS.., KB..)."""
    for pattern, link in _RULES:
        if found := pattern.match(reference):
            return link(found)
    return None
