"""What sloppy servers make of a forward-path: relay control looks at one thing, delivery goes by another.

Every hole of this kind has that shape. Relay control sees the domain after the last at sign, or a
source route's first hop; delivery takes the local part apart as long as the domain is its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .policy import Policy, Rewrite

_PATH = re.compile(r'\s*<((?:"(?:\\.|[^"\\])*"|[^<>"])*)>(?:\s+(\S.*))?\s*')
_BARE_PATH = re.compile(r"\s*([^\s<>]+)(?:\s+(\S.*))?\s*")
_SOURCE_ROUTE = re.compile(r"@([^,:]+)(?:,@[^,:]+)*:(.+)")
_REWRITES_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Path:
    """A path as it stood in MAIL or RCPT, without its brackets, and the parameters behind it."""

    text: str
    parameters: str
    bracketed: bool


@dataclass(frozen=True, slots=True)
class Destination:
    """``claimed_domain`` is what relay control looks at, ``mailbox`` is where delivery goes."""

    claimed_domain: str
    mailbox: str

    @property
    def domain(self) -> str:
        """The domain that delivery goes by, in lower case."""
        return split_mailbox(self.mailbox)[1]

    @property
    def local_part(self) -> str:
        """The local part that delivery goes by."""
        return split_mailbox(self.mailbox)[0]


def read_path(argument: str) -> Path | None:
    """Read what follows ``FROM:`` or ``TO:``, with or without angle brackets; nothing if it is neither."""
    if match := _PATH.fullmatch(argument):
        return Path(match[1], match[2] or "", bracketed=True)
    if match := _BARE_PATH.fullmatch(argument):
        return Path(match[1], match[2] or "", bracketed=False)
    return None


def split_mailbox(mailbox: str) -> tuple[str, str]:
    """Split at the last at sign that isn't inside quotes; the domain is folded, and empty if there is none."""
    at = mailbox.rfind("@")
    if at < 0 or (mailbox.startswith('"') and mailbox.endswith('"')):
        return mailbox, ""
    return mailbox[:at], mailbox[at + 1 :].lower()


def claimed_domain(path: str, policy: Policy) -> str:
    """The domain that a reverse-path claims; an unqualified one claims the server's own."""
    return split_mailbox(_without_route(path))[1] or policy.local_domains[0]


def resolve(path: str, policy: Policy, local_domains: frozenset[str]) -> Destination:
    """Find out what relay control sees of a forward-path, and where delivery takes it."""
    mailbox = _complete(_without_route(path), policy)
    claimed = split_mailbox(mailbox)[1]
    if policy.source_route_hides_mailbox and (route := _SOURCE_ROUTE.fullmatch(path)):
        claimed = route[1].lower()
    return Destination(claimed, _rewritten(mailbox, policy, local_domains))


def _without_route(path: str) -> str:
    route = _SOURCE_ROUTE.fullmatch(path)
    return route[2] if route else path


def _complete(mailbox: str, policy: Policy) -> str:
    return mailbox if split_mailbox(mailbox)[1] else f"{mailbox}@{policy.local_domains[0]}"


def _rewritten(mailbox: str, policy: Policy, local_domains: frozenset[str]) -> str:
    domains = local_domains if policy.rewriting_domains is None else policy.rewriting_domains
    for _ in range(_REWRITES_LIMIT):
        local_part, domain = split_mailbox(mailbox)
        taken_apart = _take_apart(local_part, policy.rewrites) if domain in domains else None
        if taken_apart is None:
            break
        mailbox = _complete(taken_apart, policy)
    return mailbox


def _take_apart(local_part: str, rewrites: frozenset[Rewrite]) -> str | None:
    for rewrite, take_apart in _REWRITES.items():
        if rewrite in rewrites and (mailbox := take_apart(local_part)):
            return mailbox
    return None


def _address_list(local_part: str) -> str | None:
    inner = _dequote(local_part)
    return inner.rpartition(",")[2].strip() if inner and "," in inner else None


def _decapsulate(local_part: str) -> str | None:
    prefix, _, encoded = local_part.partition("-")
    if prefix.upper() != "IMCEASMTP":
        return None
    return re.sub(r"\+([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), encoded)


def _dequote(local_part: str) -> str | None:
    if len(local_part) < 3 or not (local_part.startswith('"') and local_part.endswith('"')):
        return None
    return re.sub(r"\\(.)", r"\1", local_part[1:-1])


def _sole_address(local_part: str) -> str | None:
    inner = _dequote(local_part)
    return inner if inner and not re.search(r"[\s,]", inner) else None


def _second_at(local_part: str) -> str | None:
    return local_part if "@" in local_part and not local_part.startswith('"') else None


def _bang_path(local_part: str) -> str | None:
    host, bang, rest = local_part.partition("!")
    return f"{rest}@{host}" if bang and host and rest and not local_part.startswith('"') else None


def _percent_hack(local_part: str) -> str | None:
    user, percent, host = local_part.rpartition("%")
    return f"{user}@{host}" if percent and user and host and not local_part.startswith('"') else None


_REWRITES: dict[Rewrite, Callable[[str], str | None]] = {
    Rewrite.ADDRESS_LIST: _address_list,
    Rewrite.DECAPSULATE: _decapsulate,
    Rewrite.DEQUOTE: _sole_address,
    Rewrite.SECOND_AT: _second_at,
    Rewrite.BANG_PATH: _bang_path,
    Rewrite.PERCENT_HACK: _percent_hack,
}
"""In the order in which they are tried."""
