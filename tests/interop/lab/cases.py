"""Server cases: each folder of ``tests/interop/servers`` is one mail server or proxy in one state."""

import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from .errors import LabError

SERVERS = Path(__file__).parent.parent / "servers"
_FIRST = 11  # the number of the first case
_MOST = 254 - _FIRST + 1  # cases, since a number is the last octet of an address


class State(StrEnum):
    """What a server is, whatever anybody's checker says."""

    OPEN = "open"
    CLOSED = "closed"
    DECEIVING = "deceiving"
    ELSEWHERE = "elsewhere"  # a proxy that is open to others, not to the stranger's usual address


class Outcome(StrEnum):
    """What becomes of an envelope."""

    DELIVERED = "delivered"  # arrives at the sink
    REFUSED = "refused"  # a 4yz or 5yz reply, and nothing arrives
    KEPT = "kept"  # accepted, and nothing arrives
    STOPPED = "stopped"  # refused or kept
    BOUNCED = "bounced"  # accepted, and only a bounce arrives, at the reverse-path
    UNREACHABLE = "unreachable"  # no mail server answers on that way


class Reach(StrEnum):
    """What becomes of a request to a proxy."""

    REACHED = "reached"  # the witness saw it come from the proxy, and its answer came back where one can
    REFUSED = "refused"  # the proxy says no, hangs up, or doesn't listen
    ANSWERED = "answered"  # a page (or certificate) of the server's own comes back
    PRETENDED = "pretended"  # the proxy says yes, and nothing arrives


class Protocol(StrEnum):
    """How a request asks a proxy; the tool that carries it is told in ``carriers``."""

    HTTP_CONNECT = "http-connect"
    HTTP2_CONNECT = "http2-connect"
    HTTP3_CONNECT = "http3-connect"
    CONNECT_UDP = "connect-udp"  # over HTTP/3
    HTTP_FORWARD = "http-forward"  # GET with an absolute URI
    HTTP_MISROUTING = "http-misrouting"  # a Host header that names the destination
    SOCKS4 = "socks4"
    SOCKS4A = "socks4a"
    SOCKS5 = "socks5"
    SOCKS5_NAME = "socks5-name"
    SOCKS5_BIND = "socks5-bind"  # for the destination, which has to be the witness's address
    SOCKS5_UDP = "socks5-udp"
    SOCKS5_UDP_STRANGER = "socks5-udp-stranger"  # into somebody else's session, from another address
    TELNET_GATEWAY = "telnet-gateway"
    FTP_BOUNCE = "ftp-bounce"
    SSH_FORWARD = "ssh-forward"
    SNI = "sni"
    TURN_UDP = "turn-udp"
    TURN_TCP = "turn-tcp"


class Via(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The proxy through which an envelope goes: this case's own."""

    port: int
    protocol: Literal["http", "socks4", "socks5"] = "http"
    destination: str = "127.0.0.1"  # filled in like an address


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
    via: Via | None = None  # straight to the server, if there is none

    @property
    def title(self) -> str:
        """The envelope in a few words."""
        return self.label or self.forward_path


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One request from the stranger to a proxy, tried once for each destination port, and its outcome.

    The destination may hold ``{witness}``, ``{witness_6}`` and ``{canary}`` (the witness's addresses and
    its name), ``{ip}`` and ``{host}`` (the server's own). For any other than the witness, ``answer`` is what
    has to come back.
    """

    outcome: Reach
    protocol: Protocol
    port: int  # the proxy's
    label: str = ""
    transport: Literal["plain", "tls"] = "plain"  # to the proxy
    family: Literal["ipv4", "ipv6"] = "ipv4"  # to the proxy
    destination: str = "{witness}"
    destination_ports: tuple[int, ...] = (40025,)
    source: str = ""  # the stranger's address, if not the usual one
    user: str = "anonymous"  # whom ssh and FTP name; neither gives a password that means anything
    exit: str = ""  # the neighbour from whose address the witness sees it come, if not the server's own
    answer: str = ""  # what has to come back from a destination that isn't the witness
    reply: str = ""  # how a refusing reply begins

    @property
    def title(self) -> str:
        """The request in a few words."""
        ports = ", ".join(map(str, self.destination_ports))
        said = f"{self.protocol} at {self.port} to {self.destination}:{ports}"
        return f"{self.label} ({said})" if self.label else said


class Truth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The state of a server and what proves it: envelopes for its mail, requests for its proxy."""

    state: State
    envelopes: tuple[Envelope, ...] = ()
    requests: tuple[Request, ...] = ()
    classic: Outcome | None = None  # outcome of every classic relay form; a closed server says one


class Relay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What relaywatch has to say of the mail that can be reached through a proxy."""

    verdict: str
    advisories: tuple[str, ...] = ()  # at least one of them among the findings


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What relaywatch has to say of the server: of its mail, or, where it has requests, of its proxy."""

    verdict: str
    advisories: tuple[str, ...] = ()  # at least one of them among the findings
    reasons: tuple[str, ...] = ()  # at least one of them among the reasons
    probes: tuple[str, ...] = ()  # at least one of them among the findings
    ports: tuple[int, ...] = ()  # all of them among the destination ports that a finding names
    relay: Relay | None = None  # beside it, of a chain


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
    pip: tuple[str, ...] = ()  # into /opt/pip; all of them with their versions
    neighbours: tuple[str, ...] = ()  # cases that have to stand too
    prepare: tuple[str, ...] = ()  # shell lines before the start; the first that fails stops the room
    ports: tuple[int, ...] = (25,)  # ready when all of them listen

    @property
    def is_proxy(self) -> bool:
        """Whether the case is about a proxy; else it is about mail."""
        return bool(self.truth.requests)

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
    if len(names) > _MOST:
        raise LabError(f"{len(names)} cases, and the servers' network has room for {_MOST}")
    return [load(name, number) for number, name in enumerate(names, start=_FIRST)]


def mail_cases() -> list[Case]:
    """Read every case that is about mail."""
    return [case for case in all_cases() if not case.is_proxy]


def proxy_cases() -> list[Case]:
    """Read every case that is about a proxy."""
    return [case for case in all_cases() if case.is_proxy]


def chosen(names: tuple[str, ...]) -> list[Case]:
    """Return the cases of these names, or all of them for no name; raise LabError for an unknown one."""
    cases = {case.name: case for case in all_cases()}
    if unknown := sorted(set(names) - set(cases)):
        raise LabError(f"no such case: {', '.join(unknown)} (known: {', '.join(cases)})")
    return [cases[name] for name in names] if names else list(cases.values())


def with_neighbours(cases: Iterable[Case]) -> list[Case]:
    """Return the cases and all that have to stand beside them, each once."""
    found: dict[str, Case] = {}
    waiting = list(cases)
    while waiting:
        case = waiting.pop(0)
        if case.name not in found:
            found[case.name] = case
            if case.neighbours:
                waiting += chosen(case.neighbours)
    return list(found.values())
