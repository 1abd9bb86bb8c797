"""Canary tokens: single use, ours, and verified by the key alone.

A token is the lower-case base32 of a nonce and of a MAC over it, 32 characters, since servers fold
the case of local parts, and since a DNS label holds at most 63.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32decode
from dataclasses import dataclass
from itertools import product
from typing import NewType

Token = NewType("Token", str)
"""A string that has the form of a token; `verify_token` tells whether it is one of ours."""

_NONCE_OCTETS = 10
_MAC_OCTETS = 10
TOKEN_LENGTH = 32
_PAIRS = tuple(map("".join, product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)))
"""Two letters of base32 (RFC 4648 section 6) for every ten bits: a scan mints a hundred tokens a target."""
_SHIFTS = tuple(range(8 * (_NONCE_OCTETS + _MAC_OCTETS) - 10, -1, -10))
TOKEN_PATTERN = re.compile(r"(?<![a-z2-7])[a-z2-7]{32}(?![a-z2-7])", re.IGNORECASE | re.ASCII)
"""Finds what may be a token in text of any case."""


def mint_token(key: bytes, nonce: bytes) -> Token:
    """Make the token of a nonce of ten octets.

    :raises ValueError: if the nonce has another length.
    """
    if len(nonce) != _NONCE_OCTETS:
        raise ValueError(f"a nonce has {_NONCE_OCTETS} octets, not {len(nonce)}")
    number = int.from_bytes(nonce + _mac(key, nonce), "big")
    return Token("".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS]))


def verify_token(key: bytes, text: str) -> Token | None:
    """Give the token, its case folded, if the key made it; otherwise nothing."""
    folded = text.lower()
    if not TOKEN_PATTERN.fullmatch(folded):
        return None
    octets = b32decode(folded.upper())
    nonce, mac = octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:]
    return Token(folded) if hmac.compare_digest(mac, _mac(key, nonce)) else None


def _mac(key: bytes, nonce: bytes) -> bytes:
    return hmac.digest(key, b"relaywatch canary" + nonce, "sha256")[:_MAC_OCTETS]


@dataclass(frozen=True, slots=True, repr=False)
class Mint:
    """Makes the tokens of one attempt: the same label gives the same token, another label another.

    ``seed`` is drawn at random for each attempt by the engine, so that the scripts need no chance.
    """

    key: bytes
    seed: bytes

    def token(self, label: str) -> Token:
        """The single-use token for what the label names within this attempt."""
        nonce = hashlib.sha256(self.seed + label.encode()).digest()[:_NONCE_OCTETS]
        return mint_token(self.key, nonce)

    def random_local_part(self, label: str) -> str:
        """A local part that nobody has, and that is no token: for negative controls."""
        return "nobody-" + hashlib.sha256(self.seed + b"control" + label.encode()).hexdigest()[:12]
