"""Recognises mail software by what it says: a hint for the order of cases, and for the remedy; never proof."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
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


@cache
def _catalogue() -> tuple[Mapping[str, Software], tuple[Sign, ...]]:
    data = tomllib.loads(files(__package__).joinpath("software.toml").read_text("utf-8"))
    known = {
        row["name"]: Software(
            row["name"],
            row.get("refusals"),
            tuple(row.get("forms", ())),
            tuple((forward, reverse) for forward, reverse in row.get("crossings", ())),
        )
        for row in data["software"]
    }
    signs = tuple(
        Sign(row["software"], Where(row["where"]), re.compile(row["pattern"], re.IGNORECASE), row["evidence"])
        for row in data["sign"]
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
        if sign.where is where and (match := sign.pattern.search(text)):
            version = match.groupdict().get("version")
            software = all_software().get(sign.software, Software(sign.software))
            return Recognition(software, version, where, match[0].strip())
    return None
