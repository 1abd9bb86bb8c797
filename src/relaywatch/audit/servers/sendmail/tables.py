"""Sendmail's tables in text, as makemap(8) reads them: the source of a binary map lies beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup

_TAGS = {"from": "sm-mail-from", "connect": "sm-access-relay", "to": "sm-access-relay"}
_BINARY = (".db", ".cdb", ".dir", ".pag")


class UnknownError(Exception):
    """Something that decides can't be read or isn't evaluated."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(gap.subject)
        self.gap = gap


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its key in lower case, its value, and where it stands."""

    key: str
    value: str
    position: Position

    @property
    def tag(self) -> str:
        """``connect``, ``from``, ``to`` or another; empty if the key stands for all of them."""
        tag, colon, _ = self.key.partition(":")
        return tag if colon and tag.isalpha() else ""

    @property
    def name(self) -> str:
        """The key without its tag."""
        return self.key[len(self.tag) + 1 :] if self.tag else self.key

    @property
    def cause(self) -> Cause:
        """The line; it is one to mend if it relays."""
        relays = self.value.upper() == "RELAY"
        rule = _TAGS.get(self.tag, "" if self.tag else "sm-access-untagged") if relays else ""
        return Cause(f"{self.key}\t{self.value}", self.position, rule)


@dataclass(slots=True)
class Table:
    """One table's lines by their keys; ``gap`` if it can't be read."""

    entries: dict[str, Entry] = field(default_factory=dict)
    gap: Gap | None = None

    def find(self, key: str) -> Entry | None:
        """The line with this key, if there is one.

        :raises UnknownError: if the table can't be read.
        """
        if self.gap is not None:
            raise UnknownError(self.gap)
        return self.entries.get(key.lower())


def read_table(setup: Setup, path: str, position: Position | None, *, is_optional: bool = False) -> Table:
    """A table's text. Of two lines with the same key makemap(8) keeps the first."""
    if not setup.has(path):
        if any(setup.has(path + end) for end in _BINARY):
            return Table(gap=setup.note(Gap(GapKind.BINARY, path, position)))
        if is_optional:
            return Table()
    source = setup.read(path, position)
    if source is None:
        return Table(gap=setup.latest_gap)
    entries: dict[str, Entry] = {}
    for number, line in enumerate(source.lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        key, _, value = line.strip().partition(" ") if "\t" not in line else _parted(line)
        entries.setdefault(key.lower(), Entry(key.lower(), value.strip(), source.at(number)))
    return Table(entries)


def _parted(line: str) -> tuple[str, str, str]:
    parts = re.split(r"\s+", line.strip(), maxsplit=1)
    return parts[0], "", parts[1] if len(parts) > 1 else ""


def read_words(
    setup: Setup, path: str, position: Position | None, *, is_optional: bool, whole_line: bool = True
) -> Iterator[tuple[str, Position]]:
    """The words of a file that fills a class; what stands behind ``#`` doesn't count."""
    if is_optional and not setup.has(path):
        return
    source = setup.read(path, position)
    if source is None:
        return
    for number, line in enumerate(source.lines, 1):
        words = line.partition("#")[0].split()
        for word in words if whole_line else words[:1]:
            yield word, source.at(number)


def addresses_of(name: str) -> AddressSet:
    """The addresses that a key stands for: whole octets of IPv4, or groups behind ``IPv6:``; often none."""
    text = name.strip("[]").lower()
    try:
        if text.startswith("ipv6:"):
            return _of_groups(text.removeprefix("ipv6:"))
        octets = [str(int(part)) for part in text.removesuffix(".").split(".")]
        if not 1 <= len(octets) <= 4:
            return AddressSet()
        filled = octets + ["0"] * (4 - len(octets))
        return AddressSet.of([f"{'.'.join(filled)}/{8 * len(octets)}"])
    except ValueError:
        return AddressSet()


def _of_groups(text: str) -> AddressSet:
    if "::" in text.rstrip(":"):
        return AddressSet.of([f"{text.rstrip(':') if not text.endswith('::') else text}/128"])
    groups = text.rstrip(":").split(":")
    if len(groups) >= 8:
        return AddressSet.of([":".join(groups[:8])])
    return AddressSet.of([f"{':'.join(groups)}::/{16 * len(groups)}"])
