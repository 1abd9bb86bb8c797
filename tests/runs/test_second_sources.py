"""Which other address of ours a stranger to a session speaks from, and what is none."""

from ipaddress import ip_address

import pytest
from tests.ports import free_port
from tests.runs.checking import asyncio_run, check, hurried

from relaywatch.model.places import Family
from relaywatch.runs.canaries import facing
from relaywatch.runs.reporting import EventKind
from relaywatch.script.brief import CanaryPlaces

OURS = tuple(map(ip_address, ("203.0.113.6", "203.0.113.7", "2001:db8::6")))
FOUR, SIX = ip_address("198.51.100.7"), ip_address("2001:db8:51::7")
LOOPBACK, LOOPBACK_6 = ip_address("127.0.0.1"), ip_address("::1")


def second(*targets, sources=()):
    return tuple(map(str, facing(CanaryPlaces(), targets, OURS, sources).second_sources))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ((FOUR,), ("203.0.113.6",)),
        ((SIX,), ("2001:db8::6",)),
        ((FOUR, SIX), ("203.0.113.6", "2001:db8::6")),
        ((SIX, FOUR), ("2001:db8::6", "203.0.113.6")),
        ((LOOPBACK,), ("127.0.0.2",)),
        ((ip_address("127.0.0.2"), LOOPBACK_6), ("127.0.0.3",)),
        ((LOOPBACK, SIX), ("127.0.0.2", "2001:db8::6")),
        ((OURS[0],), ("203.0.113.7",)),
    ],
)
def test_one_for_each_family_of_the_target(targets, expected):
    assert expected == second(*targets)


@pytest.mark.parametrize(
    ("targets", "sources", "expected"),
    [
        ((FOUR,), ("203.0.113.6",), ("203.0.113.7",)),
        ((FOUR, SIX), ("203.0.113.9", "2001:db8::6"), ("203.0.113.6",)),
        ((LOOPBACK,), ("127.0.0.2",), ("127.0.0.3",)),
    ],
)
def test_what_we_come_from_anyway_is_no_second_one(targets, sources, expected):
    assert expected == second(*targets, sources=tuple(map(ip_address, sources)))


def test_a_door_has_that_of_its_family():
    places = facing(CanaryPlaces(), (FOUR,), OURS)

    assert OURS[0] == places.second_source(Family.IPV4)
    assert places.second_source(Family.IPV6) is None


def told_of(*addresses):
    settings = hurried(second_sources=tuple(map(ip_address, addresses)), probes=("socks5-udp",))
    told = asyncio_run(check([f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"], settings))
    return told.details(EventKind.SECOND_SOURCE_UNUSED)


def test_a_run_says_once_that_an_address_is_none():
    assert ["127.0.0.1"] == list(told_of("127.0.0.1", "127.0.0.1", "127.0.0.9"))
    assert [] == list(told_of("127.0.0.9"))
