"""How often each target comes, of however many, in little memory."""

from __future__ import annotations

from collections import Counter

from pyroaring import BitMap

from .numbers import IPV4_END


class Repeats:
    """Counts targets as they come, and tells when a second reading meets each for the last time.

    Of IPv4 it keeps binary counters, a set for each digit: a few bits for an address, since most come once.
    Of IPv6 and of names it keeps each, since nobody lists ranges of them.
    """

    __slots__ = ("_digits", "_others")

    def __init__(self) -> None:
        self._digits = [BitMap()]
        self._others: Counter[int | str] = Counter()

    def add(self, target: int | str) -> bool:
        """Note one more, by the number of its address or by its name; whether it had come before."""
        if isinstance(target, int) and target < IPV4_END:
            return self._count(target)
        self._others[target] += 1
        return self._others[target] > 1

    def is_last(self, target: int | str) -> bool:
        """Whether the target doesn't come again, each call being one coming of it."""
        if isinstance(target, int) and target < IPV4_END:
            return self._count_down(target)
        self._others[target] -= 1
        return self._others[target] == 0

    def _count(self, number: int) -> bool:
        had = any(number in digit for digit in self._digits)
        for digit in self._digits:
            if number not in digit:
                digit.add(number)
                return had
            digit.discard(number)
        self._digits.append(BitMap([number]))
        return had

    def _count_down(self, number: int) -> bool:
        if not any(number in digit for digit in self._digits):
            return False
        for digit in self._digits:
            if number in digit:
                digit.discard(number)
                break
            digit.add(number)
        return not any(number in digit for digit in self._digits)
