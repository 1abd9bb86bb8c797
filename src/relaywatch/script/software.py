"""Recognises software by what it says: a hint for the order of cases, and for the remedy; never proof.

A proxy's answer may be another's that it only passed on. So a page counts where nobody else can have written it,
and the fields of an answer count together: where they name two, they name none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Where(StrEnum):
    """Where a sign was seen."""

    GREETING = "greeting"
    EHLO = "ehlo"
    HELP = "help"
    REPLY = "reply"
    FIELD = "field"
    """A field of an HTTP answer, as a line of its own."""
    PAGE = "page"
    SSH = "ssh"
    FTP = "ftp"
    TELNET = "telnet"
    TURN = "turn"
    """STUN's attribute SOFTWARE (RFC 8489 section 14.14)."""


_FILES = ("software.toml", "proxy_software.toml")
_READ = 4096
"""Characters that are looked at."""


@dataclass(frozen=True, slots=True)
class Software:
    """What a software is known to bear and to fall for."""

    name: str
    refusals: int | None = None
    """Refusals that one connection bears; nothing if that isn't known."""
    forms: tuple[str, ...] = ()
    """Forward-path forms to ask first."""
    crossings: tuple[tuple[str, str], ...] = ()
    """Pairs of forward-path and reverse-path forms to ask as well."""


class Sign(NamedTuple):
    """One way in which a software gives itself away."""

    software: str
    where: Where
    pattern: re.Pattern[str]
    evidence: str


@dataclass(frozen=True, slots=True)
class Recognition:
    """A software as recognised, with the words that gave it away."""

    software: Software
    version: str | None
    where: Where
    words: str

    @property
    def detail(self) -> str:
        """The name, and the version if that is known."""
        return f"{self.software.name} {self.version}" if self.version else self.software.name


@cache
def _catalogue() -> tuple[Mapping[str, Software], tuple[Sign, ...]]:
    tables = [tomllib.loads(files(__package__).joinpath(name).read_text("utf-8")) for name in _FILES]
    known = {
        row["name"]: Software(
            row["name"],
            row.get("refusals"),
            tuple(row.get("forms", ())),
            tuple((forward, reverse) for forward, reverse in row.get("crossings", ())),
        )
        for table in tables
        for row in table["software"]
    }
    signs = tuple(
        Sign(row["software"], Where(row["where"]), re.compile(row["pattern"], re.IGNORECASE), row["evidence"])
        for table in tables
        for row in table["sign"]
    )
    return known, signs


def all_signs() -> tuple[Sign, ...]:
    """Every sign, in the order in which they are tried."""
    return _catalogue()[1]


def all_software() -> Mapping[str, Software]:
    """Every software that has a row, by name."""
    return _catalogue()[0]


def find_software(name: str | None) -> Software | None:
    """The software of that name; one without a row is known by its name alone."""
    if not name:
        return None
    return all_software().get(name, Software(name))


def recognise(where: Where, text: str) -> Recognition | None:
    """Read a server's words for a sign; the first row that fits wins."""
    for sign in all_signs():
        if sign.where is where and (match := sign.pattern.search(text[:_READ])):
            version = match.groupdict().get("version")
            software = all_software().get(sign.software, Software(sign.software))
            return Recognition(software, version, where, match[0].strip())
    return None


def recognise_answer(fields: Iterable[tuple[str, str]], body: str, *, is_own: bool) -> Recognition | None:
    """Tell who gave an HTTP answer, by its fields or else by its page; nothing if the fields name several.

    Of Via the last entry counts, which is the nearest one's (RFC 9110 section 7.6.3). ``is_own`` says that the
    answer can't be our canary's: else who wrote Server and the page isn't known.
    """
    lines = [
        f"{name.lower()}: {value.rpartition(',')[2].strip() if name.lower() == 'via' else value}"
        for name, value in fields
        if is_own or name.lower() != "server"
    ]
    seen = [recognition for line in lines if (recognition := recognise(Where.FIELD, line)) is not None]
    if seen:
        told = min(seen, key=lambda recognition: recognition.version is None)
        return told if len({recognition.software.name for recognition in seen}) == 1 else None
    return recognise(Where.PAGE, body) if is_own else None


def recognise_words(where: Where, text: str) -> Recognition | None:
    """Tell who says these first words at a door; those of a page are its head and body as they came."""
    if where is not Where.PAGE:
        return recognise(where, text)
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    fields = [
        (name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in head.split("\n"))
    ]
    return recognise_answer(fields, body, is_own=True)
