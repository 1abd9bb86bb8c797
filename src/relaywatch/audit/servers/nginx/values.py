"""What variables are for a request of a stranger: his own words, maps of them, and what is set on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from relaywatch.audit.captures import compiled, subjects
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST

from .reading import Node

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_HIS_OWN = re.compile(
    r"arg_\w+|cookie_\w+|http_\w+|args|query_string|request_body|ssl_server_name|ssl_preread_server_name|remote_user"
    r"|connect_host|request_id|ssl_alpn_protocols|ssl_preread_alpn_protocols"
)
_FIXED: Mapping[str, str] = {
    "scheme": "http",
    "is_args": "",
    "server_port": "80",
    "server_addr": "192.0.2.30",
    "remote_addr": "198.51.100.7",
    "realip_remote_addr": "198.51.100.7",
    "binary_remote_addr": "198.51.100.7",
    "remote_port": "40000",
    "request_port": "25",
    "connect_port": "25",
    "request_method": "GET",
    "server_protocol": "HTTP/1.1",
    "hostname": "own.example.org",
    "document_root": "/var/www",
    "https": "",
    "protocol": "TCP",
    "ssl_client_verify": "NONE",
}
_AS_HE_LIKES = frozenset(
    {"request_method", "scheme", "https", "server_port", "request_uri", "server_protocol"}
)
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A request that is tried: the host that it is for, its Host field, the path, and what he writes elsewhere."""

    host: str
    http_host: str
    path: str
    elsewhere: str = OUTSIDE_HOST


@dataclass(slots=True)
class Values:
    """The variables of one request as it goes through a server's directives."""

    setup: Setup
    http: Node
    trial: Trial
    server_name: str = ""
    known: dict[str, str] = field(default_factory=dict)
    gaps: set[Gap] = field(default_factory=set)
    """What was used and isn't known."""
    declared: frozenset[str] = frozenset()
    """What is set somewhere: empty until it is."""

    def expanded(self, text: str, depth: int = 0) -> str:
        """The text with what its variables are."""
        return _VARIABLE.sub(lambda found: self.value(found[1] or found[2], depth), text)

    def value(self, name: str, depth: int = 0) -> str:
        """What one variable is."""
        if name in self.known:
            return self.known[name]
        for node in self.http.all("map"):
            if len(node.words) > 1 and node.words[1] == f"${name}" and depth < _MOST_DEPTH:
                return self._mapped(node, depth + 1)
        return self._own(name)

    def matched(self, pattern: str, subject: str, *, ignoring_case: bool = False) -> bool | None:
        """Whether it matches, its captures kept; nothing, and a gap, if the pattern can't be run."""
        regex = compiled(pattern, ignoring_case=ignoring_case)
        if regex is None:
            self.gaps.add(self.setup.note(Gap(GapKind.SYNTAX, pattern[:80], self.http.position)))
            return None
        found = regex.search(subject)
        if found is not None:
            self.forget()
            self.known.update({str(n): text or "" for n, text in enumerate(found.groups(), 1)})
            self.known.update({name: text or "" for name, text in found.groupdict().items()})
        return found is not None

    def forget(self) -> None:
        """The numbered captures are gone: by another match, or by an ``if`` or ``rewrite`` that doesn't match."""
        for name in [name for name in self.known if name.isdigit()]:
            del self.known[name]

    def is_free(self, name: str) -> bool:
        """Whether he may make it this or that as he likes."""
        return name in _AS_HE_LIKES

    def _own(self, name: str) -> str:
        trial = self.trial
        named = {
            "host": trial.host,
            "http_host": trial.http_host,
            "uri": trial.path,
            "document_uri": trial.path,
            "request_uri": trial.path,
            "request_filename": trial.path,
            "server_name": self.server_name,
        }
        if name in named:
            return named[name]
        if name in _FIXED:
            return _FIXED[name]
        if _HIS_OWN.fullmatch(name):
            return trial.elsewhere
        if not name.isdigit() and name not in self.declared:
            self.gaps.add(self.setup.note(Gap(GapKind.NOT_EVALUATED, f"${name}", self.http.position)))
        return ""

    def _mapped(self, node: Node, depth: int) -> str:
        """``map``: exact names first, then wildcards (``hostnames``), then patterns in their order, then the default."""
        subject = self.expanded(node.words[0], depth)
        entries = [(one.name, one.words[0]) for one in node.inside if one.words]
        has_names = any(one.name == "hostnames" for one in node.inside)
        for key, value in entries:
            if (
                not key.startswith("~")
                and key.removeprefix("\\").lower() == subject.lower()
                and key != "default"
            ):
                return self.expanded(value, depth)
        for key, value in entries:
            if has_names and fits_name(key, subject):
                return self.expanded(value, depth)
        for key, value in entries:
            if not key.startswith("~"):
                continue
            matched = self.matched(
                key.lstrip("~").removeprefix("*"), subject, ignoring_case=key.startswith("~*")
            )
            if matched:
                return self.expanded(value, depth)
        return self.expanded(next((value for key, value in entries if key == "default"), ""), depth)


def fits_name(name: str, host: str) -> bool:
    """Whether a server's name with ``*`` or a dot at an end means the host."""
    if name.startswith("."):
        return host == name[1:] or host.endswith(name)
    return "*" in name and fnmatchcase(host, name)


def patterns_in(http: Node) -> Iterator[str]:
    """The patterns of all maps."""
    for node in http.all("map"):
        yield from (one.name.lstrip("~").removeprefix("*") for one in node.inside if one.name.startswith("~"))


def words_to_try(patterns: Iterator[str]) -> list[str]:
    """What he may write so that a pattern matches."""
    words = [OUTSIDE_HOST, f"{OUTSIDE_HOST}/", f"http://{OUTSIDE_HOST}/"]
    for pattern in patterns:
        words += list(dict.fromkeys(subjects(pattern)))[:12]
    return list(dict.fromkeys(words))[:60]
