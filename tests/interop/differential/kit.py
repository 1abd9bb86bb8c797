"""What a server's configurations are made of, and how they come: seeded, so that a number names one for good."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy, lists, sampled_from

Files = Mapping[str, str]
"""A configuration: texts by their paths, the main file first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """One server, as the module of its name says."""

    server: str
    case: str  # the case of the lab in whose layers it is installed
    configurations: SearchStrategy[Files]
    probes: tuple[str, ...]  # of ours, that ask for what the settings decide
    start: str | None = None  # lines of sh; those of relaywatch.runs.starting if there are none
    explained: tuple[tuple[str, str, str], ...] = ()
    """Disagreements that stay: a pattern of the configuration, one of the pair *audit/server*, and why."""

    def why(self, files: Files, pair: str) -> str:
        """The explanation of a disagreement, if there is one."""
        text = "\n".join(files.values())
        found = (
            why
            for pattern, explained, why in self.explained
            if re.fullmatch(explained, pair) and re.search(pattern, text, re.MULTILINE)
        )
        return next(found, "")


def load_kits() -> dict[str, Kit]:
    """Return the kits by their servers' names: every module of ``servers`` has one."""
    package = importlib.import_module(f"{__package__}.servers")
    modules = [
        importlib.import_module(f"{package.__name__}.{one.name}")
        for one in pkgutil.iter_modules(package.__path__)
    ]
    return {module.KIT.server: module.KIT for module in modules}


def generated(kit: Kit, count: int, number: int) -> list[dict[str, str]]:
    """Return so many configurations, no two the same; the same ones for the same seed."""
    found: dict[tuple[tuple[str, str], ...], None] = {}

    @seed(number)
    @settings(
        max_examples=20 * count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kit.configurations)
    def keep(files: Files) -> None:
        if len(found) < count:
            found.setdefault(tuple(files.items()))

    keep()
    return [dict(files) for files in found]


def some(options: list[str], *, at_most: int, at_least: int = 0) -> SearchStrategy[list[str]]:
    """Some of these lines, in any order, none twice."""
    return lists(sampled_from(options), min_size=at_least, max_size=at_most, unique=True)
