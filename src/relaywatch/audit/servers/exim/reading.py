"""Exim's configuration as its preprocessor hands it on: logical lines, macros, conditions, includes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile

_MACRO = re.compile(r"(?P<name>[A-Z_][A-Za-z0-9_]*)\s*==?\s*(?P<value>.*)", re.DOTALL)
_DIRECTIVE = re.compile(
    r"\.(?P<word>ifdef|ifndef|elifdef|elifndef|else|endif|include_if_exists|include)\b\s*(?P<rest>.*)"
)
_BUILT_IN = re.compile(r"\b_(?:HAVE|OPT|DRIVER|EXP|LOG)_\w+")
"""What the binary defines; taken for defined, since none has to do with relaying."""
_MARKER = "UPEX4CmacrosUPEX4C"
"""Where Debian's update-exim4.conf puts what its questions answered."""
_ASSIGNMENT = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)=(?P<value>'[^']*'|\"[^\"]*\"|\S*)\s*(?:#.*)?")
_SECTIONS = ("main", "acl", "router", "transport", "retry", "rewrite", "auth")
_PART = re.compile(r"[A-Za-z0-9_-]+")
_DEEPEST = 16
_MOST_LINES = 200_000
_MOST_LENGTH = 65_536


@dataclass(slots=True)
class Preprocessor:
    """Turns files into lines; keeps the macros."""

    setup: Setup
    macros: dict[str, Placed] = field(default_factory=dict)
    answers: dict[str, Placed] = field(default_factory=dict)
    """Debian's: the variables of update-exim4.conf.conf."""
    _skipping: list[bool] = field(default_factory=list)
    _taken: list[bool] = field(default_factory=list)

    def lines(self, sources: Iterable[SourceFile], depth: int = 0) -> Iterator[Placed]:
        """The lines that count, macros replaced."""
        for source in sources:
            for line in _logical(source):
                if line.text.startswith(_MARKER) and self.answers:
                    self._answer()
                    continue
                yield from self._of(line, depth)

    def _of(self, line: Placed, depth: int) -> Iterator[Placed]:
        directive = _DIRECTIVE.match(line.text)
        if directive is not None and not directive["word"].startswith("include"):
            self._condition(directive["word"], directive["rest"])
            return
        if any(self._skipping):
            return
        macro = _MACRO.fullmatch(line.text)
        if macro is not None:
            value = line.part(macro.start("value"), macro.end("value"))
            self.macros[macro["name"]] = self._replaced(value).or_at(line.position)
            return
        if directive is not None:
            yield from self._include(line, directive["word"], depth)
            return
        yield self._replaced(line)

    def _condition(self, word: str, rest: str) -> None:
        if word in {"ifdef", "ifndef"}:
            holds = self._is_defined(rest) is (word == "ifdef")
            self._skipping.append(not holds)
            self._taken.append(holds)
        elif not self._skipping:
            return
        elif word == "endif":
            self._skipping.pop()
            self._taken.pop()
        else:
            holds = word == "else" or self._is_defined(rest) is (word == "elifdef")
            self._skipping[-1] = self._taken[-1] or not holds
            self._taken[-1] = self._taken[-1] or holds

    def _is_defined(self, rest: str) -> bool:
        return any(name in rest for name in self.macros) or _BUILT_IN.search(rest) is not None

    def _include(self, line: Placed, word: str, depth: int) -> Iterator[Placed]:
        name = self._replaced(line).text[len(word) + 1 :].strip().strip('"')
        if depth > _DEEPEST:
            self.setup.note(Gap(GapKind.LOOP, name, line.position))
            return
        if word == "include_if_exists" and not self.setup.has(name):
            return
        source = self.setup.read(name, line.position)
        if source is not None:
            yield from self.lines([source], depth + 1)

    def _replaced(self, line: Placed) -> Placed:
        """Every macro's name replaced by its value, one macro after the other, wherever it stands."""
        for name, value in self.macros.items():
            at = 0
            while (found := line.text.find(name, at)) >= 0 and len(line.text) < _MOST_LENGTH:
                parts = [line.part(0, found), value, line.part(found + len(name), len(line.text))]
                line = Placed.joined(part for part in parts if part.text)
                at = found + len(value.text)
        return line

    def _answer(self) -> None:
        """The macros that update-exim4.conf makes of the answers."""
        for name, value in _macros_of(self.answers, self.setup):
            self.macros.setdefault(name, value)


def sources_of(setup: Setup, preprocessor: Preprocessor) -> list[SourceFile]:
    """The files that make up the configuration: Debian's are put together as update-exim4.conf does it."""
    if setup.main.name != "update-exim4.conf.conf":
        source = setup.read_main()
        return [source] if source is not None else []
    if setup.has("exim4.conf"):
        source = setup.read("exim4.conf")
        return [source] if source is not None else []
    answers = setup.read_main()
    if answers is None:
        return []
    preprocessor.answers = dict(_answers(answers, setup))
    split = preprocessor.answers.get("dc_use_split_config", Placed()).text.lower() == "true"
    if split:
        return [source for section in _SECTIONS for source in _parts(setup, section)]
    names = ["exim4.conf.localmacros"] if setup.has("exim4.conf.localmacros") else []
    read = [setup.read(name) for name in [*names, "exim4.conf.template"]]
    return [source for source in read if source is not None]


def _parts(setup: Setup, section: str) -> Iterator[SourceFile]:
    """The files of one folder of conf.d, a ``.rul`` in place of what it overrules."""
    names = [PurePosixPath(name).name for name in setup.glob(f"conf.d/{section}/*")]
    if not names:
        setup.note(Gap(GapKind.MISSING, f"conf.d/{section}"))
    for name in names:
        if _PART.fullmatch(name):
            chosen = f"{name}.rul" if f"{name}.rul" in names else name
            source = setup.read(f"conf.d/{section}/{chosen}")
            if source is not None:
                yield source


def _answers(source: SourceFile, setup: Setup) -> Iterator[tuple[str, Placed]]:
    """The assignments of a file that the shell reads; what else stands in it isn't known."""
    for number, line in enumerate(source.lines, 1):
        found = _ASSIGNMENT.fullmatch(line)
        if found is not None:
            yield found["name"], Placed(found["value"].strip("'\""), ((0, source.at(number)),))
        elif line.strip() and not line.lstrip().startswith("#"):
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))


def _macros_of(answers: dict[str, Placed], setup: Setup) -> Iterator[tuple[str, Placed]]:
    def answer(name: str) -> Placed:
        return answers.get(name, Placed())

    kind = answer("dc_eximconfig_configtype").text.lower()
    if kind not in {"satellite", "smarthost", "local", "internet"}:
        return
    mailname = setup.read("/etc/mailname") if setup.has("/etc/mailname") else None
    name = mailname.lines[0].strip().lower() if mailname and mailname.lines else "$primary_hostname"
    others = answer("dc_other_hostnames")
    yield "MAIN_LOCAL_INTERFACES", _semicolons(answer("dc_local_interfaces"))
    yield "MAIN_PACKAGE_VERSION", Placed("4")
    yield (
        "MAIN_LOCAL_DOMAINS",
        _with(others, f"@:localhost:{others.text.lower().replace(';', ':')}".rstrip(";: ")),
    )
    yield "MAIN_RELAY_TO_DOMAINS", _semicolons(answer("dc_relay_domains"))
    yield "ETC_MAILNAME", Placed(name)
    yield "LOCAL_DELIVERY", answer("dc_localdelivery")
    nets = _semicolons(answer("dc_relay_nets"))
    own = " ; 127.0.0.1 ; ::1" if nets.text.startswith("<;") else " : 127.0.0.1 : ::::1"
    yield "MAIN_RELAY_NETS", _with(nets, nets.text.lower() + own)
    yield "DCreadhost", answer("dc_readhost")
    yield "DCsmarthost", answer("dc_smarthost")
    if answer("dc_minimaldns").text.lower() == "true":
        yield "DC_minimaldns", Placed("1")
    yield "DC_eximconfig_configtype", answer("dc_eximconfig_configtype")
    yield f"DCconfig_{kind}", Placed("1")
    yield from ((name, value) for name, value in answers.items() if name[0].isupper() and name != "CFILEMODE")


def _semicolons(value: Placed) -> Placed:
    return _with(value, f"<; {value.text}") if ";" in value.text and not value.text.startswith("<") else value


def _with(value: Placed, text: str) -> Placed:
    return Placed(text, ((0, value.position),))


def _logical(source: SourceFile) -> Iterator[Placed]:
    """Lines joined at their backslashes; comment lines may stand between them."""
    parts: list[Placed] = []
    for number, line in enumerate(source.lines[:_MOST_LINES], 1):
        said = line.strip()
        if said.startswith("#") or (not said and not parts):
            continue
        goes_on = said.endswith("\\")
        text = said[:-1] if goes_on else said
        parts.append(Placed(text, ((0, source.at(number)),)))
        if not goes_on:
            yield Placed.joined(part for part in parts if part.text)
            parts = []
    if parts:
        yield Placed.joined(parts)
