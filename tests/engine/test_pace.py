from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.engine.pace import Pace, Rates

ONE, NEIGHBOUR, STRANGER = (ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "198.51.100.1"))


def rates(**given):
    free = {"overall": 1e9, "per_address": 1e9, "per_network": 1e9, "burst": 1, "overall_burst": 1}
    return Rates(**{**free, **given})


def delays(pace, *addresses, now=0.0):
    return [round(pace.admit(address, now), 6) for address in addresses]


def test_one_address_is_paced():
    assert [0, 0.5, 1.0] == delays(Pace(rates(per_address=2)), ONE, ONE, ONE)


def test_another_address_has_its_own_pace():
    assert [0, 0.5, 0] == delays(Pace(rates(per_address=2)), ONE, ONE, NEIGHBOUR)


def test_a_network_is_paced_as_one():
    assert [0, 0.5, 0] == delays(Pace(rates(per_network=2)), ONE, NEIGHBOUR, STRANGER)


@pytest.mark.parametrize(
    ("first", "second", "delay"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:3::1", 0.5),
        ("2001:db8:1::1", "2001:db8:2::1", 0),
        ("0.0.2.1", "::2:1", 0),
    ],
)
def test_an_ipv6_network_is_a_48(first, second, delay):
    assert [0, delay] == delays(Pace(rates(per_network=2)), ip_address(first), ip_address(second))


def test_all_together_are_paced():
    assert [0, 0.5] == delays(Pace(rates(overall=2)), ONE, STRANGER)


def test_a_burst_is_let_through_after_a_rest():
    pace = Pace(rates(per_address=2, burst=3))

    assert [0, 0, 0, 0.5] == delays(pace, ONE, ONE, ONE, ONE)
    assert [0, 0, 0, 0.5] == delays(pace, ONE, ONE, ONE, ONE, now=10)


def test_a_slow_address_holds_up_nobody_else():
    pace = Pace(rates(per_address=0.01, overall=10))

    assert [0, 100, 200] == delays(pace, ONE, ONE, ONE)
    assert [0.3] == delays(pace, STRANGER)


def test_backing_off_makes_connections_rarer_and_ends_bursts():
    pace = Pace(rates(per_address=2, burst=4))
    pace.back_off(ONE)
    pace.back_off(ONE)

    assert [0, 2, 4] == delays(pace, ONE, ONE, ONE)
    assert [0, 0] == delays(pace, STRANGER, STRANGER)


def test_backing_off_has_an_end():
    pace = Pace(rates(per_address=1))
    for _ in range(100):
        pace.back_off(ONE)

    assert [0, 64] == delays(pace, ONE, ONE)


def test_memory_is_bounded():
    pace = Pace(rates(), max_addresses=100)
    for number in range(10_000):
        address = ip_address(number << 8)
        pace.admit(address, 0.0)
        pace.back_off(address)

    assert len(pace._buckets) <= 201
    assert len(pace._factors) <= 100


def test_a_bucket_that_is_in_use_outlives_those_that_are_full():
    pace = Pace(rates(per_address=0.001), max_addresses=100)
    pace.admit(ONE, 0.0)
    busy = pace.admit(ONE, 0.0)
    others = Pace(rates(), max_addresses=100)
    others._buckets = pace._buckets
    for number in range(150):
        others.admit(ip_address(number << 8), float(number))

    assert busy == 1000
    assert pace.admit(ONE, 151.0) == pytest.approx(2000 - 151)


@given(st.lists(st.tuples(st.sampled_from([ONE, NEIGHBOUR, STRANGER]), st.floats(0, 1)), max_size=60))
def test_no_address_is_ever_let_in_faster_than_its_rate(asked):
    """In any second at most burst + rate connections to one address."""
    pace = Pace(rates(per_address=4, burst=2))
    now, opened = 0.0, {}
    for address, later in asked:
        now += later
        opened.setdefault(address, []).append(now + pace.admit(address, now))

    for times in opened.values():
        for first in times:
            assert sum(first <= time < first + 0.999 for time in times) <= 2 + 4
