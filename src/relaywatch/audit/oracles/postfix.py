"""Postfix's own reading: parameters as ``postconf`` has them, tables as ``postmap -q`` looks them up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from relaywatch.audit.findings import AuditVerdict, OracleAnswer
from relaywatch.audit.servers.postfix.parameters import Entry, NestingError, Parameters, read_main_cf
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree

from .asking import Question, Said, ask, compared, disagrees
from .syntax import taken

_WARNING = re.compile(r"unused parameter: (\w+)=")
_TABLE = re.compile(r"\b((?:hash|btree|lmdb|cdb|texthash):)(/[^\s,{}]+)")
_OF_THE_HOST = ("myhostname", "mydomain")
_MOST_KEYS = 200
_MOST_TABLES = 20


def parameters(question: Question) -> Iterator[OracleAnswer]:
    """Postconf -n and -x: what each parameter of main.cf is set to, as it stands and expanded."""
    folder = str(question.main.parent)
    entries = _entries(question)
    plain = ask("postconf", "-c", folder, "-n")
    if plain.code or question.report.verdict is not AuditVerdict.DOWN:  # it takes what smtpd(8) refuses
        yield taken(question, plain)
    if plain.code:
        return
    ours = {name: _flat(entry.value.text) for name, entry in entries.items()}
    yield from compared(plain, list(_differing(plain, ours, entries)), "main.cf")
    by_host = [name for name in _OF_THE_HOST if name not in entries]
    expanded = ask("postconf", "-c", folder, "-n", "-x")
    known = dict(_expanded(entries, by_host))
    yield from compared(expanded, list(_differing(expanded, known, entries)), "main.cf, expanded")


def tables(question: Question) -> Iterator[OracleAnswer]:
    """Postmap -q: each key of a table's source, as the table that was made of it answers."""
    named = {found for entry in _entries(question).values() for found in _TABLE.findall(entry.value.text)}
    tree = question.setup.tree
    assert isinstance(tree, FolderTree)  # noqa: S101 -- others are never asked about
    for kind, name in sorted(named)[:_MOST_TABLES]:
        source = question.setup.sources.get(_path(question.setup, name))
        if source is None:
            continue
        rows = [line.split(None, 1) for line in source.lines if line[:1].strip() and line[0] != "#"]
        wanted = {row[0].lower(): _flat(row[1]) for row in rows if len(row) == 2}
        keys = list(wanted)[:_MOST_KEYS]
        place = tree.place(_path(question.setup, name))
        said = ask("postmap", "-q", "-", f"{kind}{place}", stdin="".join(f"{key}\n" for key in keys))
        if said.code and said.errors:
            yield disagrees(said, name, theirs=said.complaint, ours="it is looked up in its source")
            continue
        found = dict(_pairs(said.output, "\t"))
        differing = [
            disagrees(said, key, theirs=found.get(key) or "not found", ours=wanted[key])
            for key in keys
            if found.get(key) != wanted[key]
        ]
        yield from compared(said, differing, name)


def _entries(question: Question) -> dict[str, Entry]:
    setup = question.setup.afresh()
    source = setup.read_main()
    return read_main_cf(source, setup)[0] if source else {}


def _expanded(entries: dict[str, Entry], by_host: list[str]) -> Iterator[tuple[str, str]]:
    """Our expansions, but for those that hang on what the machine is called."""
    known = Parameters(entries, {})
    unlike = {f"${name}" for name in by_host}
    for name, entry in entries.items():
        try:
            text = known.text(name)
        except NestingError:
            continue
        if not any(mark in entry.value.text for mark in unlike) and ".localdomain" not in f".{text}":
            yield name, _flat(text)


def _differing(said: Said, ours: dict[str, str], entries: dict[str, Entry]) -> Iterator[OracleAnswer]:
    theirs = {name.strip(): _flat(value) for name, value in _pairs(said.output, "=")}
    unused = set(_WARNING.findall(said.errors))
    for name, value in ours.items():
        if name in unused or name not in theirs:
            continue  # no parameter of Postfix's, or one of master.cf's, which it doesn't print
        if theirs[name] != value:
            position = entries[name].value.position
            yield disagrees(said, name, theirs=theirs[name], ours=value, position=position)


def _pairs(text: str, between: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, found, value = line.partition(between)
        if found:
            yield name, _flat(value)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _path(setup: Setup, name: str) -> PurePosixPath:
    return next((place for place in setup.places(name) if place in setup.sources), PurePosixPath(name))
