"""The shortest dialogue that shows a way through, as protocol text: the same in every language."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from relaywatch.model.evidence import Weakness

from .addresses import AddressSet
from .claims import Claim, ClaimKind
from .strangers import ANYBODY, ANYBODY_ELSE, OUTSIDE_DOMAINS, TYPICAL

STRANGER = "198.51.100.7"
OUTSIDE_MAILBOX = "someone@elsewhere.example"
OUTSIDE_HOST = "elsewhere.example"
OUTSIDE_HOSTS = (OUTSIDE_HOST, "www.foreign.invalid", "a1.outside.test")
"""What is denied for one may be let through to another."""


def witness(weakness: Weakness, claims: Iterable[Claim]) -> str:
    """What the stranger says; what he must not claim is left out, since any other value will do."""
    claims = list(claims)
    denied = _denied(claims)
    said = {claim.kind: claim.value for claim in sorted(claims) if not claim.negated}
    how = [_HOW[kind].format(value) for kind, value in said.items() if kind in _HOW]
    if weakness is Weakness.OPEN_PROXY:
        asked = said.get(ClaimKind.DESTINATION, f"{OUTSIDE_HOST}:443")
        return "; ".join([*_from(said, denied), *how, f"destination {asked}"])
    dialogue = [
        *([f"EHLO {said[ClaimKind.HELO]}"] if ClaimKind.HELO in said else []),
        f"MAIL FROM:<{said.get(ClaimKind.REVERSE_PATH, _sender(claims))}>",
        f"RCPT TO:<{said.get(ClaimKind.FORWARD_PATH, _mailbox(claims))}>",
    ]
    return "; ".join([*_from(said, denied), *how, *dialogue])


def _from(said: dict[ClaimKind, str], denied: AddressSet) -> list[str]:
    if ClaimKind.CLIENT_ADDRESS in said:
        return [f"from {said[ClaimKind.CLIENT_ADDRESS]}"]
    if ClaimKind.FRONT_END in said:
        return []
    others = (*TYPICAL[4], *TYPICAL[6])
    return [f"from {next((one for one in others if ip_address(one) not in denied), STRANGER)}"]


def _mailbox(claims: Iterable[Claim]) -> str:
    """Somebody elsewhere, none of those to whom he must not write."""
    denied = {claim.value for claim in claims if claim.negated and claim.kind is ClaimKind.FORWARD_PATH}
    mailboxes = [f"someone@{domain}" for domain in OUTSIDE_DOMAINS]
    return next((one for one in mailboxes if one not in denied), OUTSIDE_MAILBOX)


def _sender(claims: Iterable[Claim]) -> str:
    """Anybody, unless just he is refused."""
    return ANYBODY_ELSE if Claim(ClaimKind.REVERSE_PATH, ANYBODY, negated=True) in claims else ANYBODY


def _denied(claims: Iterable[Claim]) -> AddressSet:
    """Where he must not come from."""
    denied = AddressSet()
    for claim in claims:
        if claim.negated and claim.kind is ClaimKind.CLIENT_ADDRESS:
            with suppress(ValueError):
                denied |= AddressSet.of(part.strip() for part in claim.value.split(","))
    return denied


_HOW = {
    ClaimKind.FRONT_END: "through {}",
    ClaimKind.CLIENT_NAME: "PTR {}",
    ClaimKind.PROXY_HEADER: "PROXY {}",
    ClaimKind.XCLIENT: "XCLIENT {}",
    ClaimKind.FIELD: "{}",
    ClaimKind.CERTIFICATE: "TLS client certificate {}",
    ClaimKind.DNS: "DNS {}",
}
