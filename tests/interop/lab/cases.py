"""Server cases: each folder of ``tests/interop/servers`` is one mail server in one state."""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from .errors import LabError

SERVERS = Path(__file__).parent.parent / "servers"


class State(StrEnum):
    """What a server is, whatever anybody's checker says."""

    OPEN = "open"
    CLOSED = "closed"
    DECEIVING = "deceiving"


class Outcome(StrEnum):
    """What becomes of an envelope."""

    DELIVERED = "delivered"  # arrives at the sink
    REFUSED = "refused"  # a 4yz or 5yz reply, and nothing arrives
    KEPT = "kept"  # accepted, and nothing arrives
    STOPPED = "stopped"  # refused or kept
    BOUNCED = "bounced"  # accepted, and only a bounce arrives, at the reverse-path


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One message from the stranger and its outcome.

    Addresses may hold ``{token}`` (unique, the sink knows it), ``{host}`` and ``{ip}`` (the server's own
    name and address), ``{hosted}`` (the domain it hosts), ``{pointing}`` (a domain of the stranger's whose
    second MX is the server). Several forward-paths are separated by commas.
    """

    outcome: Outcome
    label: str = ""
    reverse_path: str = "prober@sink.example"
    forward_path: str = "{token}@sink.example"
    ehlo: str = "stranger.example"
    port: int = 25
    transport: Literal["plain", "starttls", "tls"] = "plain"
    family: Literal["ipv4", "ipv6"] = "ipv4"
    source: str = ""  # the stranger's address, if not the usual one
    xclient: str = ""  # what the stranger says of the client by XCLIENT
    proxy_source: str = ""  # the source address claimed in a PROXY protocol header
    reply: str = ""  # how a refusing reply begins
    retry_after: float = 0  # seconds; the first try must be deferred, then the outcome holds


class Truth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The state of a server and the envelopes that prove it."""

    state: State
    envelopes: tuple[Envelope, ...] = ()
    classic: Outcome | None = None  # outcome of every classic relay form; a closed server says one


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What relaywatch has to say of the server."""

    verdict: str
    advisories: tuple[str, ...] = ()  # at least one of them among the findings
    reasons: tuple[str, ...] = ()  # at least one of them among the reasons


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server: how it is made, what it is, and what our checker has to say of it."""

    name: str
    number: int
    software: str
    summary: str
    start: tuple[str, ...]  # shell lines; a daemon goes to the background by itself or with "&"
    truth: Truth
    expect: Expect
    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()  # shell lines before the start; the first that fails stops the room
    ports: tuple[int, ...] = (25,)  # ready when all of them listen

    @property
    def files(self) -> Path:
        """The tree that is laid over the root."""
        return SERVERS / self.name / "root"


def load(name: str, number: int) -> Case:
    """Read one case; raise LabError with the file's name where it doesn't hold what a case holds."""
    path = SERVERS / name / "case.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(table | {"name": name, "number": number}, Case)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise LabError(f"{path}: {error}") from error


def all_cases() -> list[Case]:
    """Read every case; a case's number follows from its place in the alphabet."""
    names = sorted(path.parent.name for path in SERVERS.glob("*/case.toml"))
    return [load(name, number) for number, name in enumerate(names, start=11)]


def chosen(names: tuple[str, ...]) -> list[Case]:
    """Return the cases of these names, or all of them for no name; raise LabError for an unknown one."""
    cases = {case.name: case for case in all_cases()}
    if unknown := sorted(set(names) - set(cases)):
        raise LabError(f"no such case: {', '.join(unknown)} (known: {', '.join(cases)})")
    return [cases[name] for name in names] if names else list(cases.values())
