"""A file edited as a remedy's step says: what the fields of ``Step`` promise, and nothing of what they mend."""

import re
from collections.abc import Iterator, Sequence

from relaywatch.advice.records import Step

_SETTING = re.compile(r"([\w.+-]+(?: [\w.+-]+)?)\s*=")  # "mynetworks =", "hostlist relay_from_hosts ="


class EditError(ValueError):
    """The step can't be carried out on this file."""


def edited(text: str, step: Step) -> str:
    """Return a file's text after the step's ``remove`` and ``lines``; raise EditError for a missing anchor."""
    lines: list[str | None] = [*text.splitlines()]  # None where a removed line stood
    for pattern in step.remove:
        _remove(lines, pattern)
    new = [block for block in _blocks(step.lines) if not _stands(lines, block, step.file or "")]
    if new:
        spot = _spot(lines, step)
        lines[spot:spot] = [line for block in new for line in block]
    return "".join(f"{line}\n" for line in lines if line is not None)


def _remove(lines: list[str | None], pattern: str) -> None:
    """Put None for each line like the pattern, drop what belongs to it, and take a single word out of lists."""
    like = _like(pattern)
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if line is not None and like.fullmatch(_flat(line)):
            lines[number : _end(lines, number)] = [None]
        elif line is not None and _is_word(pattern) and not line.lstrip().startswith("#"):
            lines[number] = re.sub(rf"(?<![\w./:-]){re.escape(pattern)}(?![\w./:-])\s*,?\s*", "", line)


def _stands(lines: list[str | None], block: list[str], file: str) -> bool:
    """Tell whether the block is in its place: it was there, or the setting of its name has given way to it."""
    if (name := _name(block[0], file)) is not None:
        places = [n for n, line in enumerate(lines) if line is not None and _name(line, file) == name]
        for number in reversed(places[1:]):
            lines[number : _end(lines, number)] = []
        for number in places[:1]:
            lines[number : _end(lines, number)] = block
        return bool(places)
    flat = [_flat(line) for line in block]
    heads = [n for n, line in enumerate(lines) if line is not None and _flat(line) == flat[0]]
    return not _indent(block[0]) and any(
        [_flat(line or "") for line in lines[n : _end(lines, n)]] == flat for n in heads
    )


def _spot(lines: Sequence[str | None], step: Step) -> int:
    """Return where new lines go: at the anchor, else where a removed line stood, else at the end."""
    if anchor := step.under or step.above:
        for number, line in enumerate(lines):
            if line is not None and _flat(line).startswith(_flat(anchor)):
                return number + bool(step.under)
        raise EditError(f"{step.file}: no line begins with {anchor!r}")
    return lines.index(None) if None in lines else len(lines)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Cut lines into those that begin something, each with the deeper ones under it."""
    number = 0
    while number < len(lines):
        end = _end(lines, number)
        yield [*lines[number:end]]
        number = end


def _end(lines: Sequence[str | None], number: int) -> int:
    """Return the number after the last line that belongs to this one."""
    head, end = _indent(lines[number] or ""), number + 1
    while end < len(lines) and (line := lines[end]) and line.strip() and _indent(line) > head:
        end += 1
    return end


def _name(line: str, file: str) -> str | None:
    """Return what a line sets, None if it sets nothing by a name."""
    if file.endswith("/master.cf"):
        fields = line.split()
        return " ".join(fields[:2]) if fields and not _indent(line) and not line.startswith("#") else None
    found = _SETTING.match(line)
    return " ".join(found[1].split()) if found else None


def _like(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in _flat(pattern).split("…")))


def _flat(line: str) -> str:
    """Return the line with every run of white space as one space: nobody reads the difference."""
    return " ".join(line.split())


def _indent(line: str) -> int:
    return len(line.expandtabs()) - len(line.expandtabs().lstrip())


def _is_word(pattern: str) -> bool:
    return not re.search(r"[\s=…]", pattern)
