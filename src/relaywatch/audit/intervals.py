"""Arithmetic on sorted, disjoint intervals of whole numbers: what sets of addresses are made of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

Piece: TypeAlias = tuple[int, int]
Pieces: TypeAlias = tuple[Piece, ...]
"""The first and the last number of each, sorted; none touches another."""


def merged(pieces: Iterable[Piece]) -> Pieces:
    """The union of intervals in any order."""
    union: list[Piece] = []
    for first, last in sorted(pieces):
        if union and first <= union[-1][1] + 1:
            union[-1] = union[-1][0], max(last, union[-1][1])
        else:
            union.append((first, last))
    return tuple(union)


def without(pieces: Pieces, others: Pieces) -> Pieces:
    """What is in the first and not in the second; both are walked once."""
    return tuple(_remaining(pieces, others))


def common(pieces: Pieces, others: Pieces) -> Pieces:
    """What is in both."""
    return without(pieces, without(pieces, others))


def holds(pieces: Pieces, number: int) -> bool:
    """Whether the number is in one."""
    index = bisect_right(pieces, number, key=lambda piece: piece[0])
    return bool(index) and number <= pieces[index - 1][1]


def count(pieces: Pieces) -> int:
    """How many numbers there are in them."""
    return sum(last - first + 1 for first, last in pieces)


def pieces_of(networks: Iterable[IPv4Network | IPv6Network | str]) -> tuple[Pieces, Pieces]:
    """The union of networks, IPv4 and IPv6 apart.

    :raises ValueError: if one is no network.
    """
    found: dict[int, list[Piece]] = {4: [], 6: []}
    for network in networks:
        version, piece = _read(network)
        found[version].append(piece)
    return merged(found[4]), merged(found[6])


@lru_cache(maxsize=4096)
def _read(network: IPv4Network | IPv6Network | str) -> tuple[int, Piece]:
    read = ip_network(network, strict=False) if isinstance(network, str) else network
    return read.version, (int(read.network_address), int(read.broadcast_address))


def _remaining(pieces: Pieces, others: Pieces) -> Iterator[Piece]:
    index = 0
    for first, last in pieces:
        while index < len(others) and others[index][1] < first:
            index += 1
        begin, at = first, index
        while at < len(others) and others[at][0] <= last:
            if begin < others[at][0]:
                yield begin, others[at][0] - 1
            begin = max(begin, others[at][1] + 1)
            at += 1
        if begin <= last:
            yield begin, last
