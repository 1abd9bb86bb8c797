"""Whom RBAC lets through, and whom the other filters: permissions, principals, matches of header fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import compiled
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, all_of, any_of, claimed, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.yaml_nodes import Node

_OF_THE_REQUEST = frozenset({":path", ":method", ":scheme", "url_path"})


@dataclass(frozen=True, slots=True)
class Asking:
    """A stranger of a family who asks for an authority."""

    setup: Setup
    source: SourceFile
    version: int
    authority: str
    """As he writes it: a host, with a port if he wants another than the usual."""
    method: str = ""
    """By which he asks; empty where it is no HTTP, or isn't told apart."""
    is_address_known: bool = True
    """Whether ``remote_ip`` is the connection's, and not what X-Forwarded-For says."""

    def gap(self, node: Node, subject: str) -> Condition:
        """Nobody knows."""
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, subject[:80], self.source.at(node.line))))

    def passes(self, rbac: Node) -> Condition:
        """Past an RBAC filter's configuration."""
        rules = rbac.at("rules")
        if rbac.at("matcher") is not None:
            return self.gap(rbac, "RBAC matcher")
        if rules is None:
            return ALWAYS
        action = _text(rules, "action") or "ALLOW"
        if action in {"LOG", "2"}:
            return ALWAYS
        policies = rules.at("policies")
        found = [self._policy(one) for one in (policies.pairs.values() if policies else ())]
        fits = any_of(found)
        return ~fits if action in {"DENY", "1"} else fits

    def _policy(self, policy: Node) -> Condition:
        if {"condition", "checked_condition", "cel_config"} & set(policy.pairs):
            return self.gap(policy, "RBAC condition")
        return any_of(self._meant(one) for one in _items(policy, "permissions")) & any_of(
            self._meant(one) for one in _items(policy, "principals")
        )

    def _meant(self, node: Node) -> Condition:
        """One permission or principal."""
        for key, value in node.pairs.items():
            return self._one(key, value)
        return NEVER

    def _one(self, key: str, value: Node) -> Condition:
        joins: dict[str, tuple[Callable[[Iterator[Condition]], Condition], str]] = {
            "and_rules": (all_of, "rules"),
            "or_rules": (any_of, "rules"),
            "and_ids": (all_of, "ids"),
            "or_ids": (any_of, "ids"),
        }
        if key in joins:
            join, inner = joins[key]
            return join(self._meant(one) for one in _items(value, inner))
        if key in {"not_rule", "not_id"}:
            return ~self._meant(value)
        if key in {"direct_remote_ip", "source_ip", "remote_ip"}:
            return self._from(key, value)
        if key == "header":
            return self.field(value)
        known = {"any": _sure(value.is_true), "url_path": AS_HE_LIKES}.get(key)
        return self.gap(value, f"RBAC {key}") if known is None else known

    def _from(self, key: str, value: Node) -> Condition:
        meant = network(value)
        if meant is None:
            return self.gap(value, f"RBAC {key}")
        if key == "remote_ip" and not self.is_address_known:
            return claimed(Claim(ClaimKind.FIELD, f"X-Forwarded-For: {_text(value, 'address_prefix')}"))
        return self.setup.strangers(meant, self.version)

    def field(self, match: Node) -> Condition:
        """Whether a header field is as a matcher wants it: he writes what he likes."""
        name = (_text(match, "name") or "").lower()
        is_inverse = (inverse := match.at("invert_match")) is not None and inverse.is_true
        if name in {":authority", "host"}:
            fits = self._is_authority(match)
        elif name == ":method" and self.method and not _says_present(match):
            fits = self._is_method(match)
        elif name in _OF_THE_REQUEST:
            fits = AS_HE_LIKES
        elif _says_present(match):
            fits = claimed(Claim(ClaimKind.FIELD, name))
        else:
            fits = claimed(Claim(ClaimKind.FIELD, f"{name}: {_wanted(match)}"))
        return ~fits if is_inverse else fits

    def _is_method(self, match: Node) -> Condition:
        inner = match.at("string_match") or match
        exact = _text(inner, "exact") or _text(match, "exact_match")
        return AS_HE_LIKES if exact is None else _sure(exact == self.method)

    def _is_authority(self, match: Node) -> Condition:
        if _says_present(match):
            return ALWAYS
        inner = match.at("string_match") or match
        for key, value in inner.pairs.items():
            wanted = value.text or _text(value, "regex") or ""
            fits = self._fits(key.removesuffix("_match"), wanted)
            if fits is not None:
                return fits
        return self.gap(match, "match of :authority")

    def _fits(self, how: str, wanted: str) -> Condition | None:
        """Whether his authority is as it is wanted; nothing if that isn't known."""
        regex = compiled(wanted) if how == "safe_regex" else None
        found = {
            "exact": _sure(self.authority == wanted.lower()),
            "prefix": _sure(self.authority.startswith(wanted.lower())),
            "suffix": _sure(self.authority.endswith(wanted.lower())),
            "contains": AS_HE_LIKES,  # in a label of his own
            "safe_regex": None if regex is None else _sure(regex.fullmatch(self.authority) is not None),
        }
        return found.get(how)


def _sure(is_so: bool) -> Condition:
    return ALWAYS if is_so else NEVER


def _says_present(match: Node) -> bool:
    present = match.at("present_match")
    return (present is not None and present.is_true) or set(match.pairs) <= {"name", "invert_match"}


def _wanted(match: Node) -> str:
    inner = match.at("string_match") or match
    found = (value.text or _text(value, "regex") for key, value in inner.pairs.items() if key != "name")
    return next((one for one in found if one), "")


def network(node: Node) -> AddressSet | None:
    """A CidrRange; nothing if it is none."""
    address, length = _text(node, "address_prefix"), _text(node, "prefix_len") or "0"
    try:
        return AddressSet.of([f"{address}/{length}"])
    except ValueError:
        return None


def _items(node: Node, key: str) -> tuple[Node, ...]:
    found = node.at(key)
    return found.items if found else ()


def _text(node: Node, key: str) -> str | None:
    found = node.at(key)
    return found.text if found else None
