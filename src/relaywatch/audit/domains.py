"""Domains that somebody registered, suffixes that nobody owns, and who is meant by mistake."""

from __future__ import annotations

from .patterns import Pattern, sample

_MOST_TRIED = 12
_SECOND_LEVEL = frozenset(
    {"ac", "co", "com", "edu", "go", "gov", "gob", "ne", "net", "nom", "or", "org", "pe", "re"}
)
"""Second levels under which registries of countries give out names."""


def outsiders(pattern: Pattern) -> list[str]:
    """Domains that an expression matches although they are none of those that it seems to mean."""
    if pattern.is_negated:
        return []
    text = sample(pattern.expression)
    if text is None:
        return []
    meant = registered(text.strip(".@"))
    tried = [f"{text}.elsewhere.example", f"x.{text.lstrip('.')}.elsewhere.example", f"elsewhere{text}", text]
    return [
        domain
        for domain in dict.fromkeys(one.strip(".").lower() for one in tried)
        if pattern.holds(domain) and _is_domain(domain) and (not meant or registered(domain) != meant)
    ][:_MOST_TRIED]


def registered(domain: str) -> str:
    """The part of a domain that somebody registered; empty if it is only a suffix."""
    labels = domain.lower().split(".")
    for count in (2, 3):
        part = ".".join(labels[-count:])
        if len(labels) >= count and not is_public_suffix(part):
            return part
    return ""


def is_public_suffix(domain: str) -> bool:
    """Whether registries give out names right under it: a top-level domain, or a country's second level."""
    labels = domain.lower().split(".")
    return len(labels) == 1 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL)


def _is_domain(text: str) -> bool:
    return "." in text and all(label and label.replace("-", "").isalnum() for label in text.split("."))
