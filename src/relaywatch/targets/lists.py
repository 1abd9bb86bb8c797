"""Target lists as people and scanners write them, read line by line and never whole.

What a line is, is seen from the line: plain text, zmap's CSV, masscan's list, or JSON as zmap, masscan
and zgrab2 write it; a list that begins as XML is nmap's. A line that can't be read is told and passed over, and the rest goes on.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from .nmap import NmapReader
from .parse import Origin, Target, parse_name, parse_target

LINE_LIMIT = 2**20
"""Octets in one line; zgrab2's hold whole certificate chains."""

_ADDRESS_KEYS = ("ip", "saddr")
_PORT_KEYS = ("port", "sport")
_PUNCTUATION = frozenset({"[", "]", ","})
_MASSCAN_STATES = frozenset({"open", "closed", "banner"})


@dataclass(frozen=True, slots=True)
class BadTarget:
    """A line, or an argument, that is no target: where it stands, what it says (untrusted), why it is none."""

    origin: Origin
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


Entry = Target | BadTarget


def read_arguments(arguments: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[Entry]:
    """Read each argument: ``-`` is standard input, what names a file is that list, the rest are targets."""
    for argument in arguments:
        if argument == "-":
            with _standard_input(stdin) as stream:
                yield from read_list(stream, "-")
        elif _names_a_file(argument):
            yield from read_file(Path(argument))
        else:
            yield _parsed(argument, Origin())


@contextmanager
def _standard_input(stdin: BinaryIO | None) -> Iterator[BinaryIO]:
    """Standard input, through a buffer of our own.

    A thread that waits for input holds its buffer's lock, and Python can't end while that is its own.
    """
    if stdin is not None:
        yield stdin
        return
    try:
        descriptor = os.dup(sys.stdin.fileno())
    except (OSError, ValueError):  # no file stands behind it
        yield sys.stdin.buffer
        return
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def read_file(path: Path) -> Iterator[Entry]:
    """Read a file of targets; one that can't be read is a bad target."""
    try:
        with path.open("rb") as stream:
            yield from read_list(stream, str(path))
    except OSError as error:
        yield BadTarget(Origin(str(path)), str(path), error.strerror or "unreadable")


def read_list(stream: BinaryIO, source: str) -> Iterator[Entry]:
    """Read a stream of targets, one line at a time; ``source`` is the name that origins bear."""
    lines = _Lines()
    for number, octets in enumerate(_bounded_lines(stream), 1):
        origin = Origin(source, number)
        if len(octets) > LINE_LIMIT:
            yield BadTarget(
                origin, octets[:200].decode("utf-8", "replace"), f"longer than {LINE_LIMIT} octets"
            )
            continue
        try:
            text = octets.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield BadTarget(origin, octets[:200].decode("utf-8", "replace"), "not UTF-8")
            continue
        if lines.document is None and not lines.has_read and text.lstrip().startswith(("<?xml", "<nmaprun")):
            lines.document = NmapReader(_joined)
        if lines.document is None:
            yield from lines.read(text.strip(), origin)
            continue
        try:
            yield from lines.document.read(octets, origin)
        except ValueError as error:
            yield BadTarget(origin, text[:200], str(error))
            return


def _names_a_file(argument: str) -> bool:
    path = Path(argument)
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # too long for a file's name, or NUL in it
        return False


def _bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Each line, cut one octet behind the limit if it is longer."""
    while line := stream.readline(LINE_LIMIT + 1):
        yield line
        while line and not line.endswith(b"\n"):
            line = stream.readline(LINE_LIMIT + 1)


def _parsed(text: str, origin: Origin) -> Entry:
    try:
        return parse_target(text, origin)
    except ValueError as error:
        return BadTarget(origin, text[:200], str(error))


@dataclass(slots=True)
class _Lines:
    """Reads lines; all it remembers are the columns that a CSV header named, and the document that it is within."""

    columns: dict[str, int] = field(default_factory=dict)
    document: NmapReader | None = None
    has_read: bool = False

    def read(self, line: str, origin: Origin) -> Iterator[Entry]:
        """The targets of one line: none, one, or several."""
        if not line or line.startswith("#") or line in _PUNCTUATION:
            return
        self.has_read = True
        try:
            yield from self._recognise(line, origin)
        except ValueError as error:
            yield BadTarget(origin, line[:200], str(error))

    def _recognise(self, line: str, origin: Origin) -> Iterator[Entry]:
        first, *rest = line.split()
        if line.startswith("{"):
            return _from_json(line.rstrip(","), origin)
        if first in _MASSCAN_STATES and rest:
            return _from_masscan(first, rest, origin)
        if "," in line or "saddr" in line:
            return self._from_csv(line, origin)
        return iter([_parsed(line.partition("#")[0], origin)])

    def _from_csv(self, line: str, origin: Origin) -> Iterator[Entry]:
        cells = next(csv.reader([line]))
        if "saddr" in cells:
            self.columns = {name: place for place, name in enumerate(cells)}
            return
        address = _cell(cells, self.columns.get("saddr", 0))
        port = _cell(cells, self.columns["sport"]) if "sport" in self.columns else None
        yield _joined(address, port, origin)


def _cell(cells: list[str], place: int) -> str:
    if place < len(cells):
        return cells[place].strip()
    raise ValueError("fewer columns than the header names")


def _joined(address: str, port: object, origin: Origin) -> Target:
    """A target of an address and a port that stand apart."""
    if port is None:
        return parse_target(address, origin)
    return parse_target(f"[{address}]:{port}" if ":" in address else f"{address}:{port}", origin)


def _from_masscan(state: str, rest: list[str], origin: Origin) -> Iterator[Entry]:
    """``open tcp 25 192.0.2.7 1732413600``; what isn't open over TCP is no door of ours."""
    if len(rest) < 3:
        raise ValueError("a masscan line has a state, a protocol, a port and an address")
    protocol, port, address, *_ = rest
    if state == "open" and protocol == "tcp":
        yield _joined(address, port, origin)


def _from_json(line: str, origin: Origin) -> Iterator[Entry]:
    if "".join(line.split()) == "{finished:1}":
        return  # old versions of masscan end so, which isn't JSON
    record = _json_object(line)
    if set(record) == {"finished"}:
        return
    address = next((record[key] for key in (*_ADDRESS_KEYS, "domain") if record.get(key)), None)
    if not isinstance(address, str):
        raise ValueError("no address: neither ip, saddr nor domain")  # noqa: TRY004 -- a bad line like others
    for port in _ports_in(record):
        target = _joined(address, port, origin)
        yield replace(target, name=target.name or _name_in(record))


def _json_object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    return record  # type: ignore[no-any-return]


def _name_in(record: dict[str, Any]) -> str | None:
    """The name that zgrab2 was given beside the address."""
    domain = record.get("domain")
    if isinstance(domain, str):
        with suppress(ValueError):
            return parse_name(domain)
    return None


def _ports_in(record: dict[str, Any]) -> Iterator[object]:
    """The ports that masscan found open or zmap names; nothing, which is the usual doors, if neither."""
    if not isinstance(record.get("ports"), list):
        yield next((record[key] for key in _PORT_KEYS if record.get(key)), None)
        return
    for entry in record["ports"]:
        if not isinstance(entry, dict) or "port" not in entry:
            raise ValueError("an entry of ports has no port")
        if entry.get("proto", "tcp") == "tcp" and entry.get("status", "open") == "open":
            yield entry["port"]
