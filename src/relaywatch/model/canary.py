"""What is said to our TCP, HTTP and UDP canaries, and what only they can answer.

Whoever reaches a canary says ``relaywatch TOKEN``. The canary answers ``relaywatch MAC ADDRESS``: the
address from which it was reached, and a MAC over that and the token. So an answer that comes back proves
that our octets went to our sink and back, from where, and that neither an echo nor an old answer did it.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode

from .places import Address, parse_address
from .tokens import TOKEN_PATTERN, Token

_MAC_OCTETS = 10
_ANSWER = re.compile(r"relaywatch ([a-z2-7]{16}) ([0-9a-f.:]{1,44}[0-9a-f:])", re.IGNORECASE | re.ASCII)
"""A full stop behind the address belongs to whoever quotes it."""
CANARY_PATH = "/c/"
"""Where an HTTP canary's paths begin: the token follows, or stands in the body of a POST."""
MAX_ANSWER = 4096
"""Octets within which an answer comes; a proxy may put fields of its own before it."""


def canary_words(token: Token) -> bytes:
    """What to say to a canary, without a line end."""
    return f"relaywatch {token}".encode()


def canary_answer(key: bytes, token: Token, reached_from: Address) -> str:
    """What the canary answers to whoever said the token."""
    return f"relaywatch {_mac(key, token, reached_from)} {reached_from}"


def read_canary_answer(key: bytes, token: Token, text: str) -> Address | None:
    """The address from which our canary was reached, if its answer to this token stands in the text."""
    for mac, address in _ANSWER.findall(text):
        try:
            reached_from = parse_address(address.lower())
        except ValueError:
            continue
        if hmac.compare_digest(mac.lower(), _mac(key, token, reached_from)):
            return reached_from
    return None


def holds_answer(text: str) -> bool:
    """Whether an answer as of a canary stands in the text, whoever made it and to whatever token."""
    return _ANSWER.search(text) is not None


def find_token_words(text: str) -> str | None:
    """What may be a token among the words that were said to a canary; whether it is ours, its key tells."""
    found = re.search(rf"relaywatch ({TOKEN_PATTERN.pattern})", text, re.IGNORECASE | re.ASCII)
    return found[1] if found else None


def _mac(key: bytes, token: Token, reached_from: Address) -> str:
    octets = hmac.digest(key, f"relaywatch answer {token} {reached_from}".encode(), "sha256")[:_MAC_OCTETS]
    return b32encode(octets).decode("ascii").lower()
