"""main.cf (postconf(5)): parameters, their expansion, and the defaults that decide about relaying."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.placed import Placed, unbraced
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile

DEFAULTS: Mapping[str, str] = {
    "allow_percent_hack": "yes",
    "allow_untrusted_routing": "no",
    "compatibility_level": "0",
    "config_directory": "/etc/postfix",
    "data_directory": "/var/lib/postfix",
    "default_database_type": "hash",
    "default_transport": "smtp",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "myhostname": "mail.localdomain",
    "mynetworks_style": "${{$compatibility_level} <level {2} ? {subnet} : {host}}",
    "parent_domain_matches_subdomains": "debug_peer_list,fast_flush_domains,mynetworks,"
    "permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps",
    "queue_directory": "/var/spool/postfix",
    "relay_domains": "${{$compatibility_level} <level {2} ? {$mydestination} : {}}",
    "rewrite_service_name": "rewrite",
    "smtpd_delay_reject": "yes",
    "smtpd_helo_required": "no",
    "smtpd_null_access_lookup_key": "<>",
    "smtpd_recipient_limit": "1000",
    "smtpd_reject_unlisted_recipient": "yes",
    "smtpd_relay_restrictions": "${{$compatibility_level} <level {1} ? {} : "
    "{permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}",
    "smtpd_service_name": "smtpd",
    "smtpd_sasl_auth_enable": "no",
    "smtpd_sasl_security_options": "noanonymous",
    "smtpd_tls_ask_ccert": "no",
    "smtpd_tls_req_ccert": "no",
    "swap_bangpath": "yes",
    "tls_append_default_CA": "no",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_alias_maps": "$virtual_maps",
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
}
"""Postfix 3.0 and later; what isn't listed is empty by default."""
_NAME = re.compile(r"[A-Za-z0-9_]+")
_COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<|>)(level)?\s*")
_MOST_NESTING = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One logical line of main.cf: a parameter, its value as written, and the physical lines."""

    name: str
    value: Placed
    first: int
    last: int


class NestingError(ValueError):
    """A parameter that means itself: "unreasonable macro call nesting"."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What holds for one service: its overrides, then main.cf, then the defaults."""

    entries: Mapping[str, Entry]
    overrides: Mapping[str, Placed]

    def is_set(self, name: str) -> bool:
        """Whether it is written somewhere, be it empty."""
        return name in self.overrides or name in self.entries

    def position(self, name: str) -> Position | None:
        """Where it is written."""
        if name in self.overrides:
            return self.overrides[name].position
        return self.entries[name].value.position if name in self.entries else None

    def is_overridden(self, name: str) -> bool:
        """Whether master.cf says so."""
        return name in self.overrides

    def value(self, name: str) -> Placed:
        """Its value, expanded; what comes from a default stands where the parameter that uses it does.

        :raises NestingError: if it leads back to itself.
        """
        return self.expanded(self._written(name)).or_at(self.position(name)).stripped()

    def text(self, name: str) -> str:
        """Its value as text."""
        return self.value(name).text

    def is_yes(self, name: str) -> bool:
        """Whether it is switched on."""
        return self.text(name).lower() == "yes"

    def expanded(self, value: Placed, depth: int = 0) -> Placed:
        """``$name`` and its kin replaced."""
        if depth > _MOST_NESTING:
            raise NestingError(value.text[:80])
        parts: list[Placed] = []
        at = 0
        text = value.text
        while (dollar := text.find("$", at)) >= 0:
            parts.append(value.part(at, dollar))
            if text[dollar + 1 : dollar + 2] in {"{", "("}:
                end = _closing(text, dollar + 1)
                parts.append(self._braced(value.part(dollar + 2, end), depth))
                at = end + 1
            elif found := _NAME.match(text, dollar + 1):
                inner = self.expanded(self._written(found[0], depth), depth + 1)
                parts.append(inner.or_at(value.at(dollar)))
                at = found.end()
            else:
                parts.append(value.part(dollar, dollar + 1))
                at = dollar + (2 if text[dollar + 1 : dollar + 2] == "$" else 1)
        parts.append(value.part(at, len(text)))
        return Placed.joined(part for part in parts if part.text)

    def _written(self, name: str, depth: int = 0) -> Placed:
        if name in self.overrides:
            return self.overrides[name]
        if name in self.entries:
            return self.entries[name].value
        if name == "mydomain":
            return self._parent(depth)
        return Placed(DEFAULTS.get(name, ""))

    def _parent(self, depth: int) -> Placed:
        """The domain that myhostname is in: of ``example.org`` that is all of ``org``."""
        hostname = self.expanded(self._written("myhostname", depth), depth + 1).text
        return Placed(hostname.partition(".")[2] or "localdomain")

    def _braced(self, inner: Placed, depth: int) -> Placed:
        """``${name}``, ``${name?then}``, ``${name:else}``, ``${{a} == {b} ? {then} : {else}}``."""
        inner = inner.stripped()
        if inner.text.startswith("{"):
            holds, rest = self._comparison(inner, depth)
        else:
            name = _NAME.match(inner.text)
            end = name.end() if name else 0
            rest = inner.part(end, len(inner.text)).stripped()
            value = self.expanded(self._written(inner.text[:end], depth), depth + 1)
            if not rest.text:
                return value.or_at(inner.position)
            holds = bool(value.text)
        return self._chosen(rest, depth, holds=holds)

    def _comparison(self, inner: Placed, depth: int) -> tuple[bool, Placed]:
        end = _closing(inner.text, 0)
        left = self.expanded(inner.part(1, end), depth + 1).text.strip()
        found = _COMPARISON.match(inner.text, end + 1)
        if found is None or inner.text[found.end() : found.end() + 1] != "{":
            return bool(left), inner.part(end + 1, len(inner.text)).stripped()
        end = _closing(inner.text, found.end())
        right = self.expanded(inner.part(found.end() + 1, end), depth + 1).text.strip()
        rest = inner.part(end + 1, len(inner.text)).stripped()
        return _compares(left, found[1], right, as_levels=bool(found[2])), rest

    def _chosen(self, rest: Placed, depth: int, *, holds: bool) -> Placed:
        """``?then``, ``:else`` or ``?{then}:{else}``."""
        sign, value = rest.text[:1], rest.part(1, len(rest.text)).stripped()
        otherwise = Placed()
        if value.text.startswith("{"):
            end = _closing(value.text, 0)
            otherwise = value.part(end + 1, len(value.text)).stripped()
            otherwise = unbraced(otherwise.part(1, len(otherwise.text)).stripped())
            value = value.part(1, end).stripped()
        if (sign == "?") == holds:
            return self.expanded(value, depth + 1)
        return self.expanded(otherwise, depth + 1)


def read_main_cf(source: SourceFile, setup: Setup) -> tuple[dict[str, Entry], Position | None]:
    """The parameters, of which the last of a name holds; and the line that keeps Postfix from starting, if any."""
    entries: dict[str, Entry] = {}
    stumbles: Position | None = None
    for line in logical(source):
        name, equals, _ = line.text.partition("=")
        if not equals or len(name.split()) != 1:
            position = line.position or source.at(1)
            setup.set_aside(Gap(GapKind.SYNTAX, line.text[:80], position))
            stumbles = stumbles or position
            continue
        value = line.part(len(name) + 1, len(line.text)).stripped()
        first, last = (line.position or source.at(1)).line, (line.at(len(line.text)) or source.at(1)).line
        entry = Entry(name.strip(), value.or_at(source.at(first)), first, last)
        if not value.text:
            entry = replace(entry, value=Placed("", ((0, source.at(first)),)))
        entries[entry.name] = entry
    return entries, stumbles


def logical(source: SourceFile) -> Iterator[Placed]:
    """Logical lines with the position of each physical one: indented lines go on, comments stand between."""
    parts: list[Placed] = []
    for number, line in enumerate(source.lines, 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        placed = Placed(line.rstrip(), ((0, source.at(number)),))
        if parts and line[:1] in {" ", "\t"}:
            parts.append(placed)
            continue
        if parts:
            yield Placed.joined(parts)
        parts = [placed.stripped()]
    if parts:
        yield Placed.joined(parts)


def level(text: str) -> tuple[int, ...]:
    """A compatibility level: "3.6" as numbers."""
    return tuple(int(part) if part.isdecimal() else 0 for part in (*text.split("."), "0", "0")[:3])


def _compares(left: str, sign: str, right: str, *, as_levels: bool) -> bool:
    one: tuple[int, ...] | int | str = left
    other: tuple[int, ...] | int | str = right
    if as_levels:
        one, other = level(left), level(right)
    elif left.isdecimal() and right.isdecimal():
        one, other = int(left), int(right)
    less, same = one < other, one == other  # type: ignore[operator]  # both are of one kind
    return {
        "==": same,
        "!=": not same,
        "<": less,
        "<=": less or same,
        ">": not less and not same,
        ">=": not less,
    }[sign]


def _closing(text: str, opening: int) -> int:
    """Where the brace that opens there is closed; the end, if it isn't."""
    depth = 0
    for index in range(opening, len(text)):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text)
