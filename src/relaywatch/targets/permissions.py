"""Permission: who allowed what, until when, and what beside asking.

==========================  ====================================================================
``networks``                addresses, CIDR: what may be checked
``domains``                 names of the owner; see `Permission.covers_name`
``owner``, ``contact``      who gave the permission, and how to reach them
``until``                   the last day on which it holds
``rate``                    new connections a second to everything that it covers
``per_target``              connections at a time to one target, where a run would open several
``loopback_chains``         chains through its proxies to the target's own loopback and address may be tried
``chain_targets``           mail servers, covered by this permission, to which chains may lead
``local_reverse_paths``     messages may carry a reverse-path of the target's own
``local_mailboxes``         a message may go to a mailbox at the target
==========================  ====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date
from ipaddress import IPv4Network, IPv6Network, summarize_address_range
from typing import Annotated, Any, TypeVar

import msgspec

from relaywatch.model.places import Address, embedded_ipv4

from .parse import parse_name, parse_span
from .reserved import is_private, why_no_host

Network = IPv4Network | IPv6Network
T = TypeVar("T")

_ODD = r"\x00-\x1f\x7f\ud800-\udfff"
_Line = Annotated[str, msgspec.Meta(pattern=rf"\A[^{_ODD}]*[^\s{_ODD}][^{_ODD}]*\Z")]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table as it is written."""

    networks: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    owner: _Line
    contact: _Line
    until: date
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    per_target: Annotated[int, msgspec.Meta(ge=1)] | None = None
    loopback_chains: bool = False
    chain_targets: tuple[str, ...] = ()
    local_reverse_paths: bool = False
    local_mailboxes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One ``[[permission]]`` table, its names in lower case and A-labels."""

    networks: tuple[Network, ...] = ()
    domains: tuple[str, ...] = ()
    owner: str
    contact: str
    until: date
    rate: float | None = None
    per_target: int | None = None
    loopback_chains: bool = False
    chain_targets: tuple[str, ...] = ()
    local_reverse_paths: bool = False
    local_mailboxes: bool = False

    def is_valid_on(self, day: date) -> bool:
        """Whether it hasn't run out: ``until`` is its last day."""
        return day <= self.until

    def prefix_length(self, address: Address) -> int | None:
        """The length of its longest prefix that holds the address; nothing if none does.

        An address that leads to an IPv4 host by translation or tunnel is that host's: its own networks count.
        """
        address = embedded_ipv4(address) or address
        return max(
            (
                network.prefixlen
                for network in self.networks
                if network.version == address.version and address in network
            ),
            default=None,
        )

    def has_domain(self, name: str) -> bool:
        """Whether the name, in A-labels, is one of its domains or below one."""
        return any(name == domain or name.endswith(f".{domain}") for domain in self.domains)

    def covers_name(self, name: str, address: Address) -> bool:
        """Whether it covers the address because a name in its domains leads there.

        Where mail for a domain goes is often another's host, whom the domain's owner can't speak for. So
        networks, where the permission lists any, are the bound, and a name that leads out of them is not
        covered. Only a permission that lists no networks at all covers what its own names lead to, and then
        never a private address: DNS must not send us to a host that means another in every network. The MX
        of a permitted domain is covered only if its own name is in the permitted domains.
        """
        return not self.networks and self.has_domain(name) and not is_private(address)


def permission_from(table: dict[str, Any]) -> Permission:
    """Read a ``[[permission]]`` table strictly.

    :raises ValueError: naming the field and what is wrong with it.
    """
    try:
        raw = msgspec.convert(table, _Table, builtin_types=(date,))
    except msgspec.ValidationError as error:
        raise ValueError(_with_field_first(str(error))) from None
    read = {
        "networks": _read_each("networks", raw.networks, _network),
        "domains": _read_each("domains", raw.domains, _domain),
        "chain_targets": _read_each("chain_targets", raw.chain_targets, _host),
    }
    return _checked(Permission(**(msgspec.structs.asdict(raw) | read)))


def format_permission(permission: Permission) -> str:
    """Write the permission as a TOML table; what is as by default is left out."""
    given = {
        field.name: value
        for field in fields(Permission)
        if (value := getattr(permission, field.name)) != field.default
    }
    return "[[permission]]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in given.items())


def _toml(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value], ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)  # without control characters, JSON's strings are TOML's


def _checked(permission: Permission) -> Permission:
    if not permission.networks and not permission.domains:
        raise ValueError("networks: neither networks nor domains are given, so it permits nothing")
    for host in permission.chain_targets:
        if not _is_covered(permission, host):
            raise ValueError(f"chain_targets: {host!r} is outside of this permission's networks and domains")
    return permission


def _read_each(field: str, texts: tuple[str, ...], read: Callable[[str], T]) -> tuple[T, ...]:
    return tuple(_named(field, text, read) for text in texts)


def _named(field: str, text: str, read: Callable[[str], T]) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{field}: {text!r}: {error}") from None


def _network(text: str) -> Network:
    span = parse_span(text)
    if what := why_no_host(span.first, span.last):
        raise ValueError(f"holds {what} addresses, which are no host's")
    network, *more = summarize_address_range(span.first, span.last)
    if more:
        raise ValueError("a range; write it as networks")
    return network


def _domain(text: str) -> str:
    name = parse_name(text)
    if "." not in name:
        raise ValueError("a whole top-level domain is nobody's to permit")
    return name


def _host(text: str) -> str:
    try:
        return str(parse_span(text).first)
    except ValueError:
        return parse_name(text)


def _is_covered(permission: Permission, host: str) -> bool:
    try:
        span = parse_span(host)
    except ValueError:
        return permission.has_domain(host)
    return permission.prefix_length(span.first) is not None


def _with_field_first(message: str) -> str:
    """The message of msgspec (``what is wrong - at `$.field` ``) with the field first, where people look."""
    what, _, where = message.partition(" - at `$.")
    return f"{where.rstrip('`')}: {what}" if where else what
