"""Where a stranger may come from: addresses that may be anybody's, and whether claims of them can all be true."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from .claims import Claim
from .intervals import Pieces, common, pieces_of, without

_NOBODYS_4 = pieces_of(
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    ]
)[0]
"""IPv4 that no stranger comes from, unless something in front hides him."""
EVERY_4 = "0.0.0.0/0"
PUBLIC_4 = without(pieces_of(["0.0.0.0/0"])[0], _NOBODYS_4)
PUBLIC_6 = pieces_of(["2000::/3"])[1]


def is_anybodys(claims: Iterable[Claim]) -> bool:
    """Whether somebody can come from where all these claims of client addresses say, and not from where they deny it.

    Of the family of a network that he comes from, or else of one of which there are networks that he doesn't
    come from. Who doesn't come from `EVERY_4` comes by IPv6, from wherever he may.
    """
    stated = list(claims)
    sets = [(_stated(claim.value), claim.negated) for claim in stated]
    if any(claim.negated and claim.value == EVERY_4 for claim in stated):
        of_6 = [(six, no) for (_, six), no in sets if six]
        return _is_left(of_6, PUBLIC_6) if of_6 else all(no for _, no in sets)
    return _is_left([(four, no) for (four, _), no in sets], PUBLIC_4) or _is_left(
        [(six, no) for (_, six), no in sets], PUBLIC_6
    )


def _is_left(sets: list[tuple[Pieces, bool]], public: Pieces) -> bool:
    within = [pieces for pieces, negated in sets if not negated]
    if not any(within or [pieces for pieces, _ in sets]):
        return False
    left = public
    for pieces, negated in sets:
        left = without(left, pieces) if negated else common(left, pieces)
    return bool(left)


@lru_cache(maxsize=4096)
def _stated(text: str) -> tuple[Pieces, Pieces]:
    """The addresses of a claim: any of the networks between the commas; what is none may be anything."""
    try:
        return pieces_of(part.strip() for part in text.split(","))
    except ValueError:
        return PUBLIC_4, PUBLIC_6
