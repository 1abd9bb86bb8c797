"""An order in which no network is asked in a row: the numbers up to any count, each once, without a list of them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

_MULTIPLIER = 6364136223846793005
"""Knuth's for MMIX (The Art of Computer Programming 2, section 3.3.4); 5 modulo 8, as every power of two wants it."""


def shuffled(count: int, seed: int) -> Iterator[int]:
    """Give the numbers from 0 to ``count`` - 1 in an order that the seed alone decides.

    It is the whole period of a linear congruential generator over the next power of two, of which what is too
    large is left out: one multiplication a number, and neighbours end up far from each other. No secret is in it.
    """
    if count < 1:
        return
    mask = (1 << (count - 1).bit_length()) - 1
    digest = blake2b(seed.to_bytes(16, "big", signed=True), digest_size=16).digest()
    number = int.from_bytes(digest, "big") & mask
    step = int.from_bytes(digest[8:], "big") | 1
    for _ in range(mask + 1):
        if number < count:
            yield number
        number = (number * _MULTIPLIER + step) & mask
