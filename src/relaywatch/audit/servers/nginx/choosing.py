"""Which location nginx chooses for a path: an exact one, the longest prefix, or the first pattern that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relaywatch.audit.captures import compiled

from .reading import Node
from .values import Values

_LEADING = frozenset(
    {"try_files", "error_page", "post_action", "recursive_error_pages", "auth_request", "mirror"}
)


def fits(level: Node, values: Values) -> bool:
    """Whether a location's own prefix or pattern fits the path; its captures are kept."""
    if not level.words or level.words[0].startswith("@"):
        return True
    path = values.value("uri")
    if is_pattern(level):
        return values.matched(level.words[-1], path, ignoring_case=level.words[0] == "~*") is not False
    return path == level.words[-1] if level.words[0] == "=" else path.startswith(level.words[-1])


def is_pattern(level: Node) -> bool:
    """Whether it is one by a regular expression."""
    return level.words[:1] in {("~",), ("~*",)}


def is_chosen(levels: Sequence[Node], number: int, values: Values) -> bool:
    """Whether no location beside it takes the path, which fits."""
    level = levels[number]
    if not level.words or level.words[0] == "=" or level.words[0].startswith("@"):
        return True
    path = values.value("uri")
    beside = [one for one in levels[number - 1].all("location") if one.words]
    if any(one.words[0] == "=" and one.words[-1] == path for one in beside):
        return False
    prefixes = [one for one in beside if _is_prefix(one) and path.startswith(one.words[-1])]
    longest = max((len(one.words[-1]) for one in prefixes), default=0)
    is_final = any(one.words[0] == "^~" for one in prefixes if len(one.words[-1]) == longest)
    first = next((one for one in beside if is_pattern(one) and _matches(one, path)), None)
    if is_pattern(level):
        return not is_final and (first is None or first is level)
    within = levels[number + 1 :]
    is_decided_within = any(
        one.words[:1] == ("=",) or is_pattern(one) for one in within if one.name == "location"
    )
    return len(level.words[-1]) == longest and (is_final or is_decided_within or first is None)


def _is_prefix(level: Node) -> bool:
    return level.words[0] == "^~" or (len(level.words) == 1 and not level.words[0].startswith("@"))


def _matches(level: Node, path: str) -> bool:
    pattern = compiled(level.words[-1], ignoring_case=level.words[0] == "~*")
    return pattern is not None and pattern.search(path) is not None


def is_led_to(level: Node, around: Sequence[Node]) -> bool:
    """Whether anything leads to a location that has a name only."""
    named = level.words[0] if level.words else ""
    return any(named in one.words for top in around for one in _all_in(top) if one.name in _LEADING)


def _all_in(node: Node) -> Iterator[Node]:
    left = [node]
    while left:
        one = left.pop()
        yield one
        left += one.inside
