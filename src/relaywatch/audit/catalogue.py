"""The rules of the audit: what each means in both languages, how it is known, and which remedy mends it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated

import msgspec

from relaywatch.advice.reading import CatalogueError
from relaywatch.advice.records import AdvisoryId, Bilingual, Record, Slug, Text
from relaywatch.advice.vocabulary import Language, Standing

SomeSlugs = Annotated[tuple[Slug, ...], msgspec.Meta(min_length=1)]


class AuditRule(Record, frozen=True, kw_only=True):
    """One dangerous setting of one server: the matrices of the field's reference as data."""

    id: Slug
    advisory: AdvisoryId | None = None
    """The outside probe's; there is none where the server is down, or nobody knows."""
    standing: Standing
    """Whether it was seen with the real server (``live``), is documented, or is general knowledge."""
    source: Text
    """Manual, page, or the lab's case that shows it."""
    remedies: tuple[Slug, ...] = ()
    """Of the advice, likeliest first."""
    title: Bilingual
    """What is wrong, in one sentence."""
    why: Bilingual
    """What a stranger makes of it, and why the setting isn't what it seems."""
    mend: Bilingual
    """What to set instead."""

    def title_in(self, language: Language) -> str:
        """The title in one language."""
        return self.title.text(language)


@cache
def load_rules() -> Mapping[str, AuditRule]:
    """All rules by id.

    :raises CatalogueError: naming the file and the field that is wrong.
    """
    return read_rules(files("relaywatch.audit") / "rules")


def read_rules(folder: Traversable) -> Mapping[str, AuditRule]:
    """Read ``*.toml``, one file a server with its ``[[rule]]`` tables.

    :raises CatalogueError: naming the file and the field that is wrong.
    """
    rules: dict[str, AuditRule] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        for rule in _rules_of(file):
            if rule.id in rules:
                raise CatalogueError(f"{file.name}: rule {rule.id!r} stands twice")
            rules[rule.id] = rule
    return MappingProxyType(rules)


class _RuleFile(Record, frozen=True, kw_only=True):
    rule: tuple[AuditRule, ...]


def _rules_of(file: Traversable) -> tuple[AuditRule, ...]:
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _RuleFile).rule
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise CatalogueError(f"{file.name}: {error}") from error
