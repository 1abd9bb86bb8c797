"""The data files read strictly: every complaint names the file and the field."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import msgspec

from relaywatch.advice.records import Advisory, Guide, Remedy, Step
from relaywatch.advice.vocabulary import Kind, Phase, Standing

_Record = TypeVar("_Record")


class CatalogueError(ValueError):
    """A data file of the catalogue is wrong; the message names the file and the field."""


def read_advisories(directory: Traversable) -> dict[str, Advisory]:
    """Read one advisory a file, by id; raises CatalogueError."""
    advisories: dict[str, Advisory] = {}
    for name, table in _tables(directory):
        advisory = _convert(name, table, Advisory)
        _require_stem(name, "id", advisory.id)
        advisories[advisory.id] = advisory
    _refuse_doubles(directory.name, "slug", (a.slug for a in advisories.values()))
    return advisories


def read_guides(directory: Traversable, advisories: Mapping[str, Advisory]) -> dict[str, Guide]:
    """Read one guide a file, by software, and hold it to the advisories; raises CatalogueError."""
    guides: dict[str, Guide] = {}
    for name, table in _tables(directory):
        guide = _convert(name, _with_software(name, table), Guide)
        _require_stem(name, "software", guide.software)
        for complaint in _complaints(guide, advisories):
            raise CatalogueError(f"{name}: {complaint}")
        guides[guide.software] = guide
    names = (name for guide in guides.values() for name in (guide.software, *guide.also))
    _refuse_doubles(directory.name, "software or also", names)
    _refuse_doubles(directory.name, "remedy id", (r.id for g in guides.values() for r in g.remedy))
    return guides


def _tables(directory: Traversable) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            yield file.name, _table(file)


def _table(file: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{file.name}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{file.name}: not UTF-8: {error}") from error


def _convert(name: str, table: dict[str, Any], record: type[_Record]) -> _Record:
    try:
        return msgspec.convert(table, record)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{name}: {error}") from error


def _with_software(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return the guide's table with its software's name in each remedy, as the record wants it."""
    remedies = table.get("remedy", [])
    if not isinstance(remedies, list) or not all(isinstance(remedy, dict) for remedy in remedies):
        raise CatalogueError(f"{name}: Expected tables [[remedy]] - at `$.remedy`")
    for number, remedy in enumerate(remedies):
        if "software" in remedy:
            raise CatalogueError(f"{name}: `software` belongs to the file - at `$.remedy[{number}]`")
    return table | {"remedy": [remedy | {"software": table.get("software")} for remedy in remedies]}


def _require_stem(name: str, field: str, value: str) -> None:
    if name != f"{value}.toml":
        raise CatalogueError(f"{name}: `{field}` is {value!r}, which is not the file's name")


def _refuse_doubles(name: str, field: str, values: Iterable[str]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise CatalogueError(f"{name}: `{field}` {value!r} stands {times} times")


def _complaints(guide: Guide, advisories: Mapping[str, Advisory]) -> Iterator[str]:
    for remedy in guide.remedy:
        where = f"remedy {remedy.id!r}"
        yield from (
            f"{where}: no advisory {a} - at `advisories`" for a in remedy.advisories if a not in advisories
        )
        yield from (f"{where}: {complaint}" for complaint in _standing_complaints(remedy))
        yield from (f"{where}: {complaint}" for complaint in _phase_complaints(remedy, advisories))
        yield from (
            f"{where}: {c}" for step in (*remedy.step, *remedy.verify) for c in _step_complaints(step)
        )
    exempt = [advisory for entry in guide.not_applicable for advisory in entry.advisories]
    yield from (f"not_applicable: no advisory {a}" for a in exempt if a not in advisories)
    mended = {advisory for remedy in guide.remedy for advisory in remedy.advisories}
    yield from (f"not_applicable: {a} has a remedy too" for a in exempt if a in mended)


def _standing_complaints(remedy: Remedy) -> Iterator[str]:
    if (remedy.standing is Standing.LIVE) != bool(remedy.lab_cases):
        yield "live with cases of the lab, and with them only - at `lab_cases`"
    if remedy.standing is Standing.DOCUMENTED and remedy.source is None:
        yield "documented without a source - at `source`"


def _phase_complaints(remedy: Remedy, advisories: Mapping[str, Advisory]) -> Iterator[str]:
    known = [advisories[a] for a in remedy.advisories if a in advisories]
    incident = any(advisory.kind is Kind.INCIDENT for advisory in known)
    phases = [step.phase for step in remedy.step]
    if incident != (None not in phases) or (not incident and any(phases)):
        yield "steps have a phase in remedies of an incident, all of them, and nowhere else - at `step.phase`"
    order = [list(Phase).index(phase) for phase in phases if phase]
    if order != sorted(order):
        yield "steps out of the order of their phases - at `step.phase`"


def _step_complaints(step: Step) -> Iterator[str]:
    if (step.lines or step.remove or step.if_present) and step.file is None:
        yield f"lines without a file - at `step.file` of {step.en!r}"
    if step.under and step.above:
        yield f"under one line and above another - at `step.above` of {step.en!r}"
    if (step.under or step.above) and not step.lines:
        yield f"a place without lines - at `step.lines` of {step.en!r}"
