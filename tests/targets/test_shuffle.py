from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.shuffle import shuffled


@given(st.integers(0, 3000), st.integers(-(2**64), 2**64))
def test_each_number_comes_once(count, seed):
    assert sorted(shuffled(count, seed)) == list(range(count))


def test_the_seed_alone_decides_the_order():
    assert list(shuffled(1000, 7)) == list(shuffled(1000, 7))
    assert list(shuffled(1000, 7)) != list(shuffled(1000, 8))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1 << 12, 5000, 1 << 16, 1 << 20])
def test_neighbours_are_far_apart(count, seed):
    """Of any 64 numbers that come together, few are of one network of 256."""
    numbers = [number >> 8 for number in islice(shuffled(count, seed), 4096)]
    networks = count >> 8
    worst = max(
        Counter(numbers[begin : begin + 64]).most_common(1)[0][1] for begin in range(0, len(numbers), 64)
    )
    assert worst <= max(4, 5 * 64 // networks)


def test_of_the_whole_internet_the_first_come_at_once():
    assert len(set(islice(shuffled(1 << 128, 1), 1000))) == 1000
