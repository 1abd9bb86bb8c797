"""master.cf (master(5)): the services, their listeners and the parameters that they override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from relaywatch.audit.addresses import LOOPBACK
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.placed import Placed, unbraced
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile

from .parameters import logical

_FIELDS = 8


@dataclass(frozen=True, slots=True)
class MasterService:
    """One line of master.cf."""

    name: Placed
    """``smtp``, ``127.0.0.1:10025``, ``smtpd``."""
    kind: str
    """``inet``, ``unix``, ``pass``, ``fifo``."""
    command: str
    overrides: Mapping[str, Placed]

    @property
    def label(self) -> str:
        """As ``postconf -P`` has it."""
        return f"{self.name.text}/{self.kind}"

    @property
    def port(self) -> str:
        """The port or its name."""
        return self.name.text.rpartition(":")[2]

    @property
    def host(self) -> str:
        """The address that it listens on; empty where inet_interfaces decides."""
        return self.name.text.rpartition(":")[0].strip("[]")


def read_master_cf(source: SourceFile, setup: Setup) -> Iterator[MasterService]:
    """Every service, in order."""
    for line in logical(source):
        words = list(line.words())
        if len(words) < _FIELDS:
            setup.set_aside(Gap(GapKind.SYNTAX, line.text[:80], line.position))
            continue
        yield MasterService(
            words[0], words[1].text.lower(), words[7].text, dict(_overrides(_arguments(line, words)))
        )


def _arguments(line: Placed, words: list[Placed]) -> list[Placed]:
    """The arguments, which only white space parts; a comma belongs to a value."""
    offset = 0
    for word in words[:_FIELDS]:
        offset = line.text.index(word.text, offset) + len(word.text)
    rest = line.part(offset, len(line.text))
    arguments: list[Placed] = []
    begin: int | None = None
    depth = 0
    for index, character in enumerate(rest.text + " "):
        if depth == 0 and character.isspace():
            if begin is not None:
                arguments.append(rest.part(begin, index))
            begin = None
            continue
        begin = index if begin is None else begin
        depth = max(0, depth + {"{": 1, "}": -1}.get(character, 0))
    if begin is not None:
        arguments.append(rest.part(begin, len(rest.text)))
    return arguments


def _overrides(arguments: list[Placed]) -> Iterator[tuple[str, Placed]]:
    """``-o name=value``, ``-o { name = value }``, ``-oname=value``."""
    queue = iter(arguments)
    for argument in queue:
        if argument.text == "-o":
            said = next(queue, Placed())
        elif argument.text.startswith("-o"):
            said = argument.part(2, len(argument.text))
        else:
            continue
        said = unbraced(said)
        name, equals, value = said.text.partition("=")
        if equals:
            placed = said.part(len(said.text) - len(value), len(said.text)).stripped()
            yield name.strip(), placed.or_at(said.position) if placed.text else _nothing(said)


def _nothing(said: Placed) -> Placed:
    return Placed("", ((0, said.position),))


def is_disabled(service: MasterService, patterns: list[str]) -> bool:
    """Whether master_service_disable names it: ``smtp/inet``, ``smtp.inet``, or all of a type."""
    for pattern in patterns:
        named = pattern.lstrip("!").replace(".", "/") if "/" not in pattern else pattern.lstrip("!")
        if named in {service.kind, service.label, service.label.replace(".", "/")}:
            return not pattern.startswith("!")
    return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on that address."""
    if host.lower() in {"localhost", "loopback-only"}:
        return True
    try:
        return ip_address(host) in LOOPBACK
    except ValueError:
        return False
