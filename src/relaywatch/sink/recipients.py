"""Whom the sink takes mail for: whoever carries a token of ours, and people, if it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from relaywatch.model.tokens import TOKEN_LENGTH, Token, verify_token

_RUN = re.compile(r"[a-z2-7]{32,}", re.IGNORECASE | re.ASCII)
_SEARCHED = 512
"""Octets of a path that are searched, twice what RFC 5321 section 4.5.3.1.3 allows one."""
_PEOPLE = frozenset({"postmaster", "abuse"})


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path that is taken, with the token in it; without one it is a person's."""

    forward_path: str
    token: Token | None


Admit = Callable[[str], Recipient | None]
"""Tells whether a forward-path is taken."""


def find_token(key: bytes, text: str) -> Token | None:
    """Find the first token of the key's anywhere in the text, in any case and run into other letters.

    Relays mangle addresses: routes, percent signs, rewriting schemes and prefixes leave the token
    in there somewhere.
    """
    for run in _RUN.finditer(text[:_SEARCHED]):
        for start in range(len(run[0]) - TOKEN_LENGTH + 1):
            if token := verify_token(key, run[0][start : start + TOKEN_LENGTH]):
                return token
    return None


def admit_recipients(key: bytes, *, people_at: tuple[str, ...] = ()) -> Admit:
    """Make the rule that takes tokens at any domain, and postmaster and abuse at those domains."""
    domains = frozenset(domain.lower() for domain in people_at)

    def admit(forward_path: str) -> Recipient | None:
        if token := find_token(key, forward_path):
            return Recipient(forward_path, token)
        if domains and _is_person(forward_path, domains):
            return Recipient(forward_path, None)
        return None

    return admit


def _is_person(forward_path: str, domains: frozenset[str]) -> bool:
    local_part, at, domain = forward_path.lower().rpartition("@")
    if not at:
        return domain == "postmaster"  # RFC 5321 section 4.1.1.3: without a domain too
    return local_part in _PEOPLE and domain in domains
