"""What a stranger asks of Squid, and how: through which listener, by which method, to which port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from types import MappingProxyType

from relaywatch.audit.findings import Position
from relaywatch.audit.proxies import host_and_port
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.places import Address, parse_address

from .reading import Directive

_FIRST_PORTS = (25, 443, 80, 587, 465)
"""Mail's first: what is worst is shown."""
_MOST_PORTS = 40
_PORTS = MappingProxyType({"HTTP": 80, "HTTPS": 443, "FTP": 21, "GOPHER": 70, "WAIS": 210, "WHOIS": 43})


class Mode(Enum):
    """How an ``http_port`` takes what it is asked."""

    FORWARD = "forward"
    ACCELERATOR = "accelerator"
    INTERCEPTION = "interception"


@dataclass(frozen=True, slots=True)
class Listener:
    """An ``http_port``, ``https_port`` or ``ftp_port`` line."""

    directive: Directive
    address: Address | None
    host: str
    port: int
    mode: Mode

    @property
    def options(self) -> tuple[str, ...]:
        """What stands behind the port."""
        return self.directive.words[1:]

    @property
    def name(self) -> str:
        """As ``myportname`` knows it: by its own word for that, or else as the port is written."""
        named = (word.removeprefix("name=") for word in self.options if word.startswith("name="))
        return next(named, self.directive.words[0])

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.directive.position


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and as whom the acls see its client: as a stranger of a family, or as the address that he forged."""

    listener: Listener
    method: str
    port: int
    version: int
    scheme: str = "HTTP"
    seen_as: Address | None = None
    host: str = OUTSIDE_HOST

    @property
    def url(self) -> str:
        """As ``url_regex`` sees it: without the scheme's own port."""
        if self.method == "CONNECT":
            return f"{self.host}:{self.port}"
        port = "" if self.port == _PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme.lower()}://{self.host}{port}/"

    @property
    def shown(self) -> str:
        """The destination in a witness."""
        scheme = "" if self.scheme in {"", "HTTP"} else f" {self.scheme.lower()}"
        return f"{self.host}:{self.port} by {self.method}{scheme}"


def listeners(said: Iterable[Directive]) -> Iterator[Listener]:
    """Every listener for clients."""
    for directive in said:
        if directive.name not in {"http_port", "https_port", "ftp_port"} or not directive.words:
            continue
        host, port = host_and_port(directive.words[0])
        if not port:
            host, port = "", host
        options = {word.partition("=")[0] for word in directive.words[1:]}
        mode = Mode.FORWARD
        if options & {"accel", "vhost", "defaultsite", "vport"}:
            mode = Mode.ACCELERATOR
        elif options & {"intercept", "transparent", "tproxy"}:
            mode = Mode.INTERCEPTION
        yield Listener(directive, _address(host), host, int(port) if port.isdigit() else 0, mode)


def _address(host: str) -> Address | None:
    try:
        return parse_address(host)
    except ValueError:
        return None


def ports_to_ask_for(named: Iterable[str]) -> tuple[int, ...]:
    """Those that every list of ports tells apart: mail's and the web's, and the ends of what acls name."""
    ports = dict.fromkeys(_FIRST_PORTS)
    for word in named:
        ends = [int(end) for end in word.split("-") if end.isdigit()]
        ports.update(dict.fromkeys(port for end in ends for port in (end, end + 1)))
    return tuple(port for port in (*list(ports)[:_MOST_PORTS], 40025) if 0 < port < 65536)


def schemes_to_ask_by(named: Iterable[str]) -> tuple[str, ...]:
    """HTTP, and what acls set apart of the others that Squid fetches by."""
    return tuple(dict.fromkeys(("HTTP", *(word.upper() for word in named if word.upper() in _PORTS))))


def methods_to_ask_by(said: Iterable[Directive]) -> tuple[str, ...]:
    """CONNECT and GET, what an acl sets apart, and then one that none of them names."""
    methods = dict.fromkeys(("CONNECT", "GET"))
    for directive in said:
        if directive.name == "acl" and directive.words[1:2] == ("method",):
            methods.update(dict.fromkeys(word.upper() for word in directive.words[2:]))
    named = list(methods)[:7]
    others = (method for method in ("POST", "PUT", "OPTIONS") if method not in methods)
    return (*named, *islice(others, 1 if _names_method(said, "GET") else 0))


def _names_method(said: Iterable[Directive], method: str) -> bool:
    """Whether an acl of methods holds this one: then it doesn't stand for all others."""
    return any(
        directive.name == "acl"
        and directive.words[1:2] == ("method",)
        and method in map(str.upper, directive.words[2:])
        for directive in said
    )
