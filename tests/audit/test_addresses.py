"""Address sets against brute force."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.addresses import LOOPBACK, NOBODY, PRIVATE, PUBLIC, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.intervals import common, count, holds, merged, without

spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda one: (one[0], one[0] + one[1])), max_size=6
)


def numbers(pieces) -> set[int]:
    return {number for first, last in pieces for number in range(first, last + 1)}


@given(spans, spans)
def test_intervals_are_as_sets_of_numbers(one, other):
    left, right = merged(one), merged(other)
    assert numbers(left) == numbers(one)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(left))
    assert numbers(without(left, right)) == numbers(one) - numbers(other)
    assert numbers(common(left, right)) == numbers(one) & numbers(other)
    assert count(left) == len(numbers(one))
    assert all(holds(left, number) is (number in numbers(one)) for number in range(50))


networks = st.integers(24, 32).flatmap(
    lambda length: st.integers(0, 255).map(lambda last: ip_network(f"8.8.8.{last}/{length}", strict=False))
)
UNIVERSE = [IPv4Address(f"8.8.8.{last}") for last in range(256)]


@given(st.lists(networks, max_size=5), st.lists(networks, max_size=5))
def test_sets_of_addresses_are_as_sets(one: list[IPv4Network], other: list[IPv4Network]):
    left, right = AddressSet.of(one), AddressSet.of(map(str, other))
    for joined, of_sets in (
        (left | right, lambda address: _in(one, address) or _in(other, address)),
        (left & right, lambda address: _in(one, address) and _in(other, address)),
        (left - right, lambda address: _in(one, address) and not _in(other, address)),
    ):
        assert [address in joined for address in UNIVERSE] == [of_sets(address) for address in UNIVERSE]
        assert AddressSet.of(joined.networks(4)) == joined
        assert joined.size(4) == sum(map(of_sets, UNIVERSE))
        assert bool(joined) is any(map(of_sets, UNIVERSE))


def _in(of: list[IPv4Network], address: IPv4Address) -> bool:
    return any(address in network for network in of)


def test_families_are_apart():
    both = AddressSet.of(["192.0.2.0/24", "2001:db8::/32"])
    assert IPv6Address("2001:db8::1") in both
    assert IPv6Address("::c000:201") not in both
    assert both.only(4) == AddressSet.of(["192.0.2.0/24"])
    assert both.only(6).networks(6) == (ip_network("2001:db8::/32"),)
    assert both.size(6) == 1 << 96
    assert AddressSet.of(["::ffff:0:0/96"]).has_strangers(4, NOBODY) == NEVER, "mapped ones are no IPv4"


def test_a_span_is_all_from_the_first_to_the_last():
    assert AddressSet.span(ip_address("192.0.2.0"), ip_address("192.0.2.255")) == AddressSet.of(
        ["192.0.2.0/24"]
    )
    assert not AddressSet.span(ip_address("192.0.2.9"), ip_address("192.0.2.1"))
    assert AddressSet.span(ip_address("::1"), ip_address("::1")) == AddressSet.of(["::1/128"])
    assert not AddressSet.of(["10.0.0.0/8"]).public
    with pytest.raises(ValueError):
        AddressSet.of(["no network"])


@pytest.mark.parametrize(
    ("stated", "version", "expected"),
    [
        (["0.0.0.0/0"], 4, ALWAYS),
        (["0.0.0.0/1", "128.0.0.0/1"], 4, ALWAYS),
        (["0.0.0.0/0"], 6, NEVER),
        (["::/0"], 6, ALWAYS),
        (["2000::/3"], 6, ALWAYS),
        (["10.0.0.0/8", "192.168.0.0/16", "127.0.0.0/8"], 4, NEVER),
        (["fe80::/10", "fc00::/7", "::1/128"], 6, NEVER),
        (["203.0.113.0/24", "198.51.100.7/32"], 4, NEVER),
        (["2001:db8::/32"], 6, NEVER),
        ([], 4, NEVER),
    ],
)
def test_strangers_are_in_wide_public_networks(stated, version, expected):
    assert AddressSet.of(stated).has_strangers(version, NOBODY) == expected


def test_half_of_the_internet_is_not_all_of_it():
    half = AddressSet.of(["0.0.0.0/1"]).has_strangers(4, NOBODY)
    elsewhere = Claim(ClaimKind.CLIENT_ADDRESS, "128.0.0.0/1")
    assert half == Condition((Way(frozenset({elsewhere.opposite()})),), (Way(frozenset({elsewhere})),))
    assert half.true[0].is_free


def test_a_wide_network_is_a_claim():
    claim = Claim(ClaimKind.CLIENT_ADDRESS, "8.0.0.0/8, 9.9.0.0/16")
    condition = AddressSet.of(["8.0.0.0/8", "9.9.0.0/16", "10.0.0.0/8", "1.1.1.1/32"]).has_strangers(
        4, NOBODY
    )
    assert condition == Condition((Way(frozenset({claim})),), (Way(frozenset({claim.opposite()})),))


def test_what_the_owner_allows_is_no_strangers():
    owners = AddressSet.of(["8.0.0.0/8"])
    assert owners.has_strangers(4, owners) == NEVER
    assert (AddressSet.of(["0.0.0.0/0"]) - owners).has_strangers(4, owners) == ALWAYS
    claims = {
        Claim(ClaimKind.CLIENT_ADDRESS, "8.0.0.0/7"),
        Claim(ClaimKind.CLIENT_ADDRESS, "8.0.0.0/8", negated=True),
    }
    assert AddressSet.of(["8.0.0.0/7"]).has_strangers(4, owners).true[0].claims == claims


def test_a_way_that_is_left_to_the_owner_alone_is_none():
    owners = AddressSet.of(["0.0.0.0/2"])
    refused = ["64.0.0.0/2", "128.0.0.0/1"]
    rules = [Rule(AddressSet.of([one]).has_strangers(4, owners), False) for one in refused]
    assert True not in first_match(rules, default=True)
    assert True in first_match(rules[:1], default=True)


wide_networks = st.integers(1, 12).flatmap(
    lambda length: st.integers(0, (1 << length) - 1).map(
        lambda top: IPv4Network((top << (32 - length), length))
    )
)
# Every address that tells networks of up to /12 apart: one in the public part of each /12, and one elsewhere in it.
PLACES = [
    address
    for top in range(1 << 12)
    for address in (IPv4Address((top << 20) | offset) for offset in (1 << 16, 15 << 16))
    if address in PUBLIC
]


@given(st.lists(st.tuples(wide_networks, st.booleans()), max_size=5), st.booleans(), wide_networks)
def test_lists_of_networks_let_in_whom_they_let_in(drawn, default, owners):
    allowed = AddressSet.of([owners])
    rules = [Rule(AddressSet.of([one]).has_strangers(4, allowed), answer) for one, answer in drawn]
    decided = first_match(rules, default)
    strangers = [place for place in PLACES if place not in owners]
    for answer in (True, False):
        there = any(
            next((is_let for network, is_let in drawn if place in network), default) is answer
            for place in strangers
        )
        if there:
            assert decided.get(answer)
        elif strangers:
            assert not decided.get(answer)


def test_the_named_sets_are_what_they_say():
    assert ip_address("127.0.0.1") in LOOPBACK
    assert ip_address("172.31.255.255") in PRIVATE
    assert ip_address("172.32.0.0") in PUBLIC
    assert ip_address("224.0.0.1") not in PUBLIC
    assert AddressSet.everything().size(4) == 1 << 32
