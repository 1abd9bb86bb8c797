"""ip_allow: the rules in both forms."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.yaml_nodes import Node

from .records import Record, document_of


@dataclass(frozen=True, slots=True)
class Access:
    """One rule."""

    is_inward: bool
    addresses: AddressSet
    is_allowing: bool
    methods: frozenset[str]
    """Empty for all."""
    text: str
    position: Position
    gap: Gap | None = None

    def lets(self, method: str | None) -> bool:
        """Methods that a rule doesn't name get the opposite of what it says; without one: whether it hears him at all."""
        is_for_all = not self.methods or "ALL" in self.methods
        if method is None:
            return self.is_allowing or not is_for_all
        return (is_for_all or method in self.methods) is self.is_allowing


def access_name(setup: Setup, records: dict[str, Record]) -> str:
    """The name of the file with the rules, as the settings or the files there have it."""
    for key in ("proxy.config.cache.ip_allow.filename", "proxy.config.ip_allow.filename"):
        if key in records and records[key].value not in {"", "NULL"}:
            return records[key].value
    return (
        "ip_allow.config"
        if not setup.has("ip_allow.yaml") and setup.has("ip_allow.config")
        else "ip_allow.yaml"
    )


def access_of(setup: Setup, records: dict[str, Record]) -> list[Access] | None:
    """The rules in their order; nothing, and a gap, if they can't be read."""
    source = setup.read(access_name(setup, records))
    if source is None:
        return None
    if source.name.endswith(".config"):
        return [one for number, line in enumerate(source.lines, 1) if (one := _old(source, line, number))]
    document = document_of(setup, source)
    node = document.at("ip_allow") if document else None
    if node is None:
        return None
    return [_new(source, one) for one in (node.items or ((node,) if node.is_mapping else ()))]


def _new(source: SourceFile, node: Node) -> Access:
    values = node.pairs
    addresses, gap = AddressSet(), None
    named = values.get("ip_addrs") or values.get("ip_addr")
    for one in _texts(named):
        meant = _range(one)
        addresses |= meant or AddressSet()
        gap = gap or (Gap(GapKind.SYNTAX, one, source.at(node.line)) if meant is None else None)
    if named is None:
        gap = Gap(GapKind.NOT_EVALUATED, "ip_allow rule without ip_addrs", source.at(node.line))
    text = {key: ", ".join(_texts(value)) for key, value in values.items()}
    return Access(
        is_inward=text.get("apply", "in").lower() == "in",
        addresses=addresses,
        is_allowing=text.get("action", "").lower() in {"allow", "set_allow"},
        methods=frozenset(one.upper() for one in _texts(values.get("methods"))),
        text="; ".join(f"{key}: {value}" for key, value in text.items()),
        position=source.at(node.line),
        gap=gap,
    )


def _texts(node: Node | None) -> list[str]:
    found = [node, *node.items] if node else []
    return [text for one in found if (text := one.text) is not None]


def _old(source: SourceFile, line: str, number: int) -> Access | None:
    """``src_ip=… action=ip_allow method=…``, as up to version 8."""
    said = line.strip()
    if not said or said.startswith("#"):
        return None
    pairs = [(name, value) for name, _, value in (word.partition("=") for word in said.split())]
    values = dict(pairs)
    meant = _range(values.get("src_ip") or values.get("dest_ip") or "")
    return Access(
        is_inward="dest_ip" not in values,
        addresses=meant or AddressSet(),
        is_allowing=values.get("action") == "ip_allow",
        methods=frozenset(
            one.upper() for name, value in pairs if name == "method" for one in value.split("|") if one
        ),
        text=said,
        position=source.at(number),
        gap=Gap(GapKind.SYNTAX, said[:80], source.at(number)) if meant is None else None,
    )


def _range(text: str) -> AddressSet | None:
    if text in {"0/0", "all"}:
        return AddressSet.of(["0.0.0.0/0"])
    first, dash, last = text.replace(" ", "").partition("-")
    try:
        if not dash:
            return AddressSet.of([first])
        low, high = ip_address(first), ip_address(last)
        return AddressSet.span(low, high) if low.version == high.version else None
    except ValueError:
        return None
