"""The scope: all permissions, and the gate that every target passes before a packet leaves."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address

from .parse import Span
from .permissions import Permission, format_permission, permission_from
from .reserved import why_no_host

LOOPBACK = Permission(
    networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
    owner="this machine",
    contact="postmaster@localhost",
    until=date.max,
    loopback_chains=True,
    local_reverse_paths=True,
    local_mailboxes=True,
)
"""What holds without any scope file: whoever runs the checker may check their own machine in every way."""

_NETWORKS_NAMED = 3
_HEADER = "# Whom relaywatch may check. `relaywatch scope check` reads this file and says what it permits.\n"


@dataclass(frozen=True, slots=True)
class Scope:
    """The permissions of one file, in the file's order; none is the scope of loopback alone."""

    permissions: tuple[Permission, ...] = ()
    path: str = ""

    def permission_for(self, address: Address, today: date, name: str | None = None) -> Permission | None:
        """The permission that covers the address today; ``name`` is the name that led to it.

        The longest prefix wins, so that a host can be given more, or less, leave than its network; what
        covers by name comes after all that cover by network.
        """
        if why_no_host(address):
            return None
        if address.is_loopback:
            return LOOPBACK
        valid = [permission for permission in self.permissions if permission.is_valid_on(today)]
        return _best(valid, address, name)

    def cut(self, span: Span, today: date) -> Iterator[tuple[Span, Permission | None]]:
        """Cut the span into pieces, in order, each with the permission that covers all of it, if one does.

        The work is by the number of networks, not of addresses.
        """
        pieces = span.cut_at(_edges(chain([LOOPBACK], self.permissions)))
        covered = ((piece, self.permission_for(piece.first, today)) for piece in pieces)
        for permission, group in groupby(covered, key=itemgetter(1)):
            first, *others = (piece for piece, _ in group)
            yield Span(first.first, (others or [first])[-1].last), permission

    def explain_refusal(self, address: Address, today: date, name: str | None = None) -> str:
        """Say why nothing may be sent there, and what would be needed."""
        return self.explain_gap(Span(address, address), today, name)

    def explain_gap(self, span: Span, today: date, name: str | None = None) -> str:
        """Say of a span that nothing covers why nothing may be sent there, and what would be needed."""
        who = f"{span} ({name})" if name else str(span)
        if what := why_no_host(span.first, span.last):
            return f"{who} is no host's address ({what}); no permission can cover it"
        return f"{who} is not covered by any permission{self._although(span.first, today, name)}; {_advice(span)}"

    def _although(self, address: Address, today: date, name: str | None) -> str:
        """What comes near: permissions that ran out, or whose networks the name leaves."""
        notes = [
            f"number {number} ({permission.owner}) ran out on {permission.until}"
            for number, permission in enumerate(self.permissions, 1)
            if not permission.is_valid_on(today) and _best([permission], address, name)
        ]
        notes += [
            f"number {number} ({permission.owner}) has the name, but this address {_why_not(permission)}"
            for number, permission in enumerate(self.permissions, 1)
            if name and permission.is_valid_on(today) and permission.has_domain(name)
        ]
        where = f" in {self.path}" if self.path else ""
        return f"{where}: {'; '.join(notes)}" if notes else where


def read_scope(path: Path) -> Scope:
    """Read a scope file.

    :raises UsageError: naming file, number of the table, and field.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    return parse_scope(text, str(path))


def parse_scope(text: str, path: str) -> Scope:
    """Read a scope file's text.

    :raises UsageError: naming file, number of the table, and field.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    if unknown := sorted(set(document) - {"permission"}):
        raise UsageError(f"{path}: unknown table {unknown[0]!r}; there is only [[permission]]")
    tables = document.get("permission", [])
    if not isinstance(tables, list):
        raise UsageError(f"{path}: write [[permission]], in two pairs of brackets")
    return Scope(tuple(_permissions(tables, path)), path)


def append_permission(path: Path, permission: Permission) -> Scope:
    """Add a table at the end of the file and leave every octet before it as it is; make the file if need be.

    :raises UsageError: if the file can't be read, or would not hold the same permission afterwards.
    """
    scope = read_scope(path) if path.exists() else Scope(path=str(path))
    before = path.read_text("utf-8") if path.exists() else ""
    addition = _joint(before) + format_permission(permission)
    expected = Scope((*scope.permissions, permission), str(path))
    if parse_scope(before + addition, str(path)) != expected:
        raise UsageError(f"{path}: the permission can't be written down as it is")
    _append(path, addition)
    return read_scope(path)


def _joint(before: str) -> str:
    if not before:
        return _HEADER + "\n"
    return "\n" if before.endswith("\n") else "\n\n"


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _permissions(tables: list[object], path: str) -> Iterator[Permission]:
    for number, table in enumerate(tables, 1):
        try:
            if not isinstance(table, dict):
                raise ValueError("not a table")  # noqa: TRY004, TRY301 -- told like every other fault
            yield permission_from(table)
        except ValueError as error:
            raise UsageError(f"{path}: permission {number}: {error}") from None


def _best(permissions: Iterable[Permission], address: Address, name: str | None) -> Permission | None:
    best, best_length = None, -1
    by_name = None
    for permission in permissions:
        length = permission.prefix_length(address)
        if length is not None and length > best_length:
            best, best_length = permission, length
        elif name and by_name is None and permission.covers_name(name, address):
            by_name = permission
    return best or by_name


def _why_not(permission: Permission) -> str:
    return (
        "lies outside of its networks" if permission.networks else "is private, and a name can't cover that"
    )


def _advice(span: Span) -> str:
    networks = list(islice(span.networks(), _NETWORKS_NAMED + 1))
    named = [f"--network {str(network).removesuffix('/32').removesuffix('/128')}" for network in networks]
    what = " ".join(named) if len(named) <= _NETWORKS_NAMED else "--network ..."
    return f"if its owner permits: relaywatch scope add {what} --owner ... --until YYYY-MM-DD"


def _edges(permissions: Iterable[Permission]) -> Iterator[int]:
    """The numbers of the addresses at which coverage may change, of either family."""
    for permission in permissions:
        for network in permission.networks:
            yield int(network[0])
            yield int(network[-1]) + 1
