import gc
import os
import subprocess
import sys
from ipaddress import ip_address
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.engine.pace import Buckets, Pace, Rates

OPEN = Path("/proc/self/fd")
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
    pace.back_off(ONE, 0.0)
    pace.back_off(ONE, 0.0)

    assert [0, 2, 4] == delays(pace, ONE, ONE, ONE)
    assert [0, 0] == delays(pace, STRANGER, STRANGER)


def test_backing_off_has_an_end():
    pace = Pace(rates(per_address=1))
    for _ in range(100):
        pace.back_off(ONE, 0.0)

    assert [0, 64] == delays(pace, ONE, ONE)


def test_an_address_is_backed_off_from_until_it_has_had_its_rest():
    buckets = Buckets(rows=1)
    pace = Pace(Rates(overall=inf, per_network=inf, per_address=1, burst=1), buckets)
    pace.back_off(ONE, 0.0)

    assert [2] == delays(pace, ONE, ONE, now=0.0)[1:]
    assert [0, 1] == delays(pace, NEIGHBOUR, NEIGHBOUR, now=700.0)
    assert [0, 1] == delays(pace, ONE, ONE, now=800.0)


def test_memory_is_bounded_and_buckets_in_use_outlive_those_that_are_full():
    buckets = Buckets(rows=64)
    pace = Pace(Rates(overall=inf, per_network=inf, per_address=0.001, burst=1), buckets)
    quick = Pace(Rates(overall=inf, per_network=inf, per_address=10, burst=1), buckets, name="quick")
    assert [0, 1000] == delays(pace, ONE, ONE)
    for number in range(1000):
        quick.admit(ip_address(number << 8), float(number))

    assert pace.admit(ONE, 1000.0) == pytest.approx(1000)


def test_where_there_is_no_room_addresses_wait_for_each_other():
    pace = Pace(Rates(overall=inf, per_network=inf, per_address=1, burst=1), Buckets(rows=1))

    assert [0, 1, 2] == delays(pace, ONE, NEIGHBOUR, STRANGER)


def test_paces_of_one_name_keep_together_in_several_processes():
    ours = Buckets()
    given = rates(per_address=2, overall=4)
    theirs = Buckets(fd=os.dup(ours.share()))

    assert [0] == delays(Pace(given, ours, name="a"), ONE)
    assert [0.5] == delays(Pace(given, theirs, name="a"), ONE)
    assert [0] == delays(Pace(given, theirs, name="b"), ONE)


@pytest.mark.skipif(not OPEN.is_dir(), reason="tells what is open on Linux alone")
def test_what_is_no_longer_used_leaves_nothing_open():
    before = len(list(OPEN.iterdir()))
    for _ in range(3):
        Buckets()
    gc.collect()
    assert len(list(OPEN.iterdir())) <= before


def test_what_a_process_holds_that_dies_is_free():
    buckets = Buckets()
    fd = buckets.share()
    script = "import fcntl, os, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(fd)], pass_fds=[fd], check=False, timeout=20)

    assert delays(Pace(rates(), buckets), ONE) == [0]


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
