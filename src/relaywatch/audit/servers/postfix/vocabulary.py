"""What Postfix's restrictions and access actions are called (postconf(5), access(5))."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_address

from relaywatch.audit.conditions import Way
from relaywatch.audit.strangers import Stranger

REFUSING = frozenset(
    {
        "reject_unauth_destination",
        "defer_unauth_destination",
        "reject",
        "defer",
        "defer_if_permit",
        "check_relay_domains",
    }
)
"""Of which "at least one working instance" must stand in the relay or the recipient list."""
LOOKUPS = {
    "check_client_access": "client",
    "check_helo_access": "greeting",
    "check_sender_access": "sender",
    "check_recipient_access": "recipient",
    "check_ccert_access": "certificate",
    "check_sasl_access": "login",
    "check_etrn_access": "etrn",
    "check_reverse_client_hostname_access": "refusing",
}
REFUSING_LOOKUPS = ("_ns_access", "_mx_access", "_a_access")
"""They may not say OK: Postfix answers 451 then."""
WITH_ARGUMENT = frozenset(
    {
        "check_policy_service",
        "permit_dnswl_client",
        "permit_rhswl_client",
        "reject_rbl",
        "reject_rbl_client",
        "reject_rhsbl_client",
        "reject_rhsbl_helo",
        "reject_rhsbl_recipient",
        "reject_rhsbl_reverse_client",
        "reject_rhsbl_sender",
        "sleep",
    }
)
MET = frozenset(
    {
        "check_recipient_maps",
        "defer_if_reject",
        "permit_dnswl_client",
        "permit_rhswl_client",
        "reject_authenticated_sender_login_mismatch",
        "reject_invalid_helo_hostname",
        "reject_invalid_hostname",
        "reject_known_sender_login_mismatch",
        "reject_maps_rbl",
        "reject_multi_recipient_bounce",
        "reject_rbl",
        "reject_rbl_client",
        "reject_rhsbl_client",
        "reject_rhsbl_helo",
        "reject_rhsbl_recipient",
        "reject_rhsbl_reverse_client",
        "reject_rhsbl_sender",
        "reject_sender_login_mismatch",
        "reject_unauth_pipelining",
        "reject_unauthenticated_sender_login_mismatch",
        "reject_unknown_address",
        "reject_unknown_client",
        "reject_unknown_client_hostname",
        "reject_unknown_helo_hostname",
        "reject_unknown_hostname",
        "reject_unknown_recipient_domain",
        "reject_unknown_reverse_client_hostname",
        "reject_unknown_sender_domain",
        "reject_unlisted_recipient",
        "reject_unlisted_sender",
        "reject_unverified_recipient",
        "reject_unverified_sender",
        "sleep",
    }
)
"""What a stranger with a proper host, a proper reverse-path and a proper destination meets."""
GOES_ON = frozenset({"dunno", "warn", "info", "filter", "hold", "bcc", "prepend", "defer_if_reject", "delay"})
LEADS_NOWHERE = frozenset({"reject", "defer", "discard", "hangup", "redirect"})
"""Refused, thrown away, or sent to somebody whom the owner names: to whom the stranger writes gets nothing."""


class Status(Enum):
    """What a restriction says."""

    OK = "ok"
    DUNNO = "dunno"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Branch:
    """One way in which it may go: what isn't known, what made it so, and a deferral that waits."""

    status: Status
    way: Way = field(default_factory=Way)
    defers: bool = False

    def after(self, before: Branch) -> Branch:
        """The same, with what went before."""
        return Branch(self.status, before.way.joined(self.way), before.defers or self.defers)


OK, DUNNO, REJECT = (Branch(status) for status in (Status.OK, Status.DUNNO, Status.REJECT))
_EVERYTHING = frozenset({"greeting", "sender", "recipient"})
PLAIN = {
    "permit": OK,
    "reject": REJECT,
    "defer": REJECT,
    "defer_if_permit": replace(DUNNO, defers=True),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Where in the dialogue a list is evaluated: what isn't said yet isn't asked about."""

    name: str
    """The parameter."""
    default_lookup: str = ""
    """What a bare ``type:name`` means in this list."""
    knows: frozenset[str] = _EVERYTHING


@dataclass(frozen=True, slots=True)
class Walk:
    """A way through a list so far."""

    stage: Stage
    stranger: Stranger
    warns: bool = False
    depth: int = 0


FULL_NAMES = {
    "reject_non_fqdn_helo_hostname": "greeting",
    "reject_non_fqdn_hostname": "greeting",
    "reject_non_fqdn_recipient": "recipient",
    "reject_non_fqdn_sender": "sender",
}
"""What each asks to have a dot in its domain."""


def is_refusal(action: str, text: str) -> bool:
    """Whether an action is a reply code with its text, ``550 5.7.1 No``."""
    return len(action) == 3 and action.isdecimal() and action[0] in "45" and bool(text.strip())


def is_naked(text: str) -> bool:
    """Whether a name is an address without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
