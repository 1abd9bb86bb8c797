"""Advisories and remedies as lines of text, with as much room as a terminal has."""

from __future__ import annotations

from collections.abc import Iterator

from relaywatch.advice.catalogue import Catalogue
from relaywatch.advice.records import Advisory, Remedy, Step
from relaywatch.advice.references import link_of
from relaywatch.advice.vocabulary import Language
from relaywatch.cli.language import N_, Words

from .layout import Prose, Verbatim, prose

Part = Prose | Verbatim

STANDINGS = {
    "live": N_("applied in our lab to an open server that was then found closed"),
    "documented": N_("as its source says"),
    "unverified": N_("general knowledge, not verified"),
}


def language(words: Words) -> Language:
    """The catalogue's name for the language of the words."""
    return Language(words.language)


def advisory_lines(advisory: Advisory, words: Words) -> Iterator[Part]:
    """The whole advisory."""
    texts = advisory.text(language(words))
    yield prose(f"{advisory.id}  {texts.title}", style="bold")
    yield prose(rating(advisory, words))
    yield prose("")
    for paragraph in (texts.summary, *texts.description):
        yield from (prose(paragraph), prose(""))
    yield from _list(words("What follows from it"), texts.concerns)
    yield from _list(words("How to see it by hand"), texts.verify)
    yield from (Verbatim(line, style="dim") for line in advisory.dialogue)
    yield from _list(words("What looks like it and is not"), texts.false_alarms)
    yield from _list(words("References"), tuple(_reference(text) for text in advisory.references))


def rating(advisory: Advisory, words: Words) -> str:
    """Risk, complexity, popularity, impact, root cause and ease of fix in one line."""
    fields = (
        (words("risk"), advisory.risk),
        (words("complexity"), advisory.complexity),
        (words("popularity"), advisory.popularity),
        (words("root cause"), advisory.root_cause),
        (words("ease of fix"), advisory.ease_of_fix),
    )
    rated = [f"{name}: {words(RATINGS[value])}" for name, value in fields]
    impact = ", ".join(words(RATINGS[value]) for value in advisory.impact)
    return " · ".join([*rated, words("impact: {impact}", impact=impact)])


def remedy_lines(remedy: Remedy, words: Words) -> Iterator[Part]:
    """One remedy: its steps with the exact lines, its caveats, and how to see that it worked."""
    texts = remedy.text(language(words))
    yield prose(f"{texts.title} [{remedy.software}]", style="bold")
    source = f" ({remedy.source})" if remedy.source else ""
    yield prose(f"{words('Standing')}: {words(STANDINGS[remedy.standing])}{source}", style="dim")
    for number, step in enumerate(remedy.step, 1):
        yield from _step_lines(f"{number}. ", step, words)
    yield from _list(words("Mind"), texts.caveats)
    for step in remedy.verify:
        yield from _step_lines(f"{words('Verify')}: ", step, words)
    yield prose("")


def remedies_for(
    catalogue: Catalogue, advisory_id: str, software: str | None, words: Words
) -> Iterator[Part]:
    """What mends the advisory on the software, or why there is nothing to mend."""
    if software and (exempt := catalogue.not_applicable(advisory_id, software)):
        yield prose(exempt.text(language(words)))
    for remedy in catalogue.remedies(advisory_id, software):
        yield from remedy_lines(remedy, words)


def _step_lines(mark: str, step: Step, words: Words) -> Iterator[Part]:
    yield prose(f"{mark}{step.text(language(words))}")
    if step.file:
        yield Verbatim(f"{step.file}:", style="")
    yield from (Verbatim(f"- {line}", style="red") for line in step.remove)
    yield from (Verbatim(f"+ {line}", style="green") for line in step.lines)
    yield from (Verbatim(f"$ {command}") for command in step.commands)


def _list(title: str, items: tuple[str, ...]) -> Iterator[Part]:
    if items:
        yield prose(f"{title}:")
        yield from (prose(f"- {item}", 2) for item in items)
        yield prose("")


def _reference(text: str) -> str:
    link = link_of(text)
    return f"{text}  {link}" if link and link != text else text


RATINGS = {
    "low": N_("low"),
    "medium": N_("medium"),
    "high": N_("high"),
    "critical": N_("critical"),
    "simple": N_("simple"),
    "moderate": N_("moderate"),
    "hard": N_("hard"),
    "obsolete": N_("obsolete"),
    "rare": N_("rare"),
    "occasional": N_("occasional"),
    "popular": N_("popular"),
    "widespread": N_("widespread"),
    "accountability": N_("accountability"),
    "availability": N_("availability"),
    "confidentiality": N_("confidentiality"),
    "integrity": N_("integrity"),
    "reputation": N_("reputation"),
    "misconfiguration": N_("misconfiguration"),
    "unsafe-default": N_("unsafe default"),
    "software-defect": N_("software defect"),
    "network-design": N_("network design"),
    "stolen-credentials": N_("stolen credentials"),
    "by-design": N_("by design"),
}
