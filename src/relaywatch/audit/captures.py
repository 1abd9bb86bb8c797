"""Hosts out of what a client asks for: subjects made for a pattern, and the host that comes of them.

Servers build a backend's address out of captures. Whether an outside host can come of it is tried with subjects
that are made for the pattern, not reasoned about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .witness import OUTSIDE_HOST

_LABEL = OUTSIDE_HOST.partition(".")[0]
_MOST_PATTERN = 500
_GROUP = re.compile(r"\((?!\?)|\(\?P?<(?![=!])[^>]*>|\(\?:")
_LOOSE = re.compile(r"\[(?:\\.|[^\]\\])*\](?:[*+?]|\{[^}]*\})?|\\[wWdDsSbB](?:[*+?]|\{[^}]*\})?|\.[*+][?+]?")
_FILLINGS = (
    OUTSIDE_HOST,
    f"{OUTSIDE_HOST}/",
    f"{OUTSIDE_HOST}:25",
    f"/{OUTSIDE_HOST}/",
    f"@{OUTSIDE_HOST}",
    f".{OUTSIDE_HOST}",
    f"{OUTSIDE_HOST}/a/",
    f"http://{OUTSIDE_HOST}",
    "a",
    "80",
    "http",
    "",
)


def compiled(pattern: str, *, ignoring_case: bool = False) -> re.Pattern[str] | None:
    """A PCRE pattern as ours; nothing if it is none that we can run, or too long to be tried."""
    ours = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
    if len(ours) > _MOST_PATTERN or re.search(r"[*+}]\)[*+]", ours):
        return None
    try:
        return re.compile(ours, re.IGNORECASE if ignoring_case else 0)
    except (re.error, RecursionError, OverflowError):
        return None


def subjects(pattern: str, start: str = "") -> Iterator[str]:
    """Texts that a pattern may match, with an outside host in the place of what isn't fixed; ``start`` begins them."""
    parts = [_literal(part) for part in _LOOSE.split(_without_groups(pattern))]
    for filling in _FILLINGS:
        made = filling.join(parts)
        for text in (made, f"{made}{filling}", f"{filling}{made}"):
            yield text if text.startswith(start) else start + text
    for first in _FILLINGS:
        for second in _FILLINGS[:3]:
            made = first + second.join(parts) if len(parts) < 3 else parts[0] + first + second.join(parts[1:])
            yield made if made.startswith(start) else start + made


def _without_groups(pattern: str) -> str:
    """Without anchors and brackets; of alternatives the first is taken."""
    flat = _GROUP.sub("(", pattern.removeprefix("^").removesuffix("$"))
    for _ in range(8):
        flat, count = re.subn(r"\(((?:\\.|[^()\\])*)\)([?*+]?)", _first, flat)
        if not count:
            break
    return flat


def _first(group: re.Match[str]) -> str:
    return group[1].split("|", 1)[0]


def _literal(part: str) -> str:
    part = re.sub(r"(\w)\{(\d)[^}]*\}", lambda found: found[1] * int(found[2]), part)
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[\^$?*+]", "", part))


def is_fixed(pattern: str) -> bool:
    """Whether all that it captures is one of a few fixed texts."""
    return _LOOSE.search(pattern) is None


def host_of(url: str, *, userinfo: bool = True) -> str:
    """The host of a URL, whatever it has beside it; a text without a scheme begins with the host.

    ``userinfo``: whether what stands before an ``@`` is taken for a user's name. Where it isn't, it is no host.
    """
    authority = re.split(r"[/?#]", url.split("://", 1)[-1], maxsplit=1)[0]
    if "@" in authority and not userinfo:
        return ""
    host = authority.rpartition("@")[2]
    return host.partition("]")[0].strip("[]") if host.startswith("[") else host.partition(":")[0]


def is_outside(host: str) -> bool:
    """Whether its domain is the stranger's own choice: what he registers under a top-level domain."""
    labels = host.lower().rstrip(".").split(".")
    return len(labels) > 1 and labels[-2].startswith(_LABEL)


def is_of_own_names(pattern: str) -> bool:
    """Whether all that a pattern matches is below a domain that it names."""
    tail = _literal(_LOOSE.split(_without_groups(pattern))[-1])
    return pattern.endswith("$") and "." in tail.strip(".")


def names_for(pattern: str) -> Iterator[str]:
    """Outside hosts' names that a pattern for names matches, as one that isn't anchored does."""
    regex = compiled(pattern, ignoring_case=True)
    if regex is None:
        return
    literal = _literal(re.sub(r"[()]|\.\*|\|.*", "", pattern)).strip(".")
    parts = [_literal(part) for part in _LOOSE.split(_without_groups(pattern))]
    made = [
        OUTSIDE_HOST,
        f"{literal}.{OUTSIDE_HOST}",
        f"{_LABEL}.{literal}",
        f"{_LABEL}-{literal}",
        *(filling.join(parts) for filling in (_LABEL, f"a.{_LABEL}")),
        *(f"{_LABEL}{filling.join(parts)}" for filling in ("", _LABEL)),
        *subjects(pattern),
    ]
    yield from (name for name in dict.fromkeys(made) if is_outside(name) and regex.search(name))
