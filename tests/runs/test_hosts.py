"""When entries of a list mean one host."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.runs.hosts import Host, HostRange, absorb, merge, place_of
from relaywatch.targets.parse import parse_target

SEVEN, EIGHT, SIX = (ip_address(text) for text in ("192.0.2.7", "192.0.2.8", "2001:db8::7"))


def host(*addresses, port=None, **more):
    target = parse_target(str(addresses[0]))
    return Host(target=target, addresses=addresses, ports=(port,), **more)


def network(text):
    target = parse_target(text)
    return HostRange(target=target, span=target.span, ports=(target.port,))


@pytest.mark.parametrize(
    ("address", "port", "place_port"),
    [("192.0.2.7", 25, None), ("127.0.0.9", 25, None), ("127.0.0.1", 25, 25), ("::1", 25, 25)],
)
def test_an_address_is_one_place_but_for_this_machine_s(address, port, place_port):
    assert (ip_address(address), place_port) == place_of(ip_address(address), port)


def test_an_address_that_leads_to_another_is_the_same_place():
    assert place_of(SEVEN, None) == place_of(ip_address("64:ff9b::c000:207"), None)


class TestMerge:
    def test_ports_of_one_address_come_together_in_the_list_s_order(self):
        (one,) = merge([host(SEVEN, port=587), host(SEVEN, port=25), host(SEVEN, port=587)])

        assert (587, 25) == one.ports

    def test_a_name_brings_its_domains_and_what_it_may_to_the_address(self):
        named = host(
            SEVEN, SIX, name="mx.example", leads=(("mx.example", SEVEN),), local_domains=("d.example",)
        )

        (one,) = merge([host(SEVEN, name="listed.example"), named])

        assert ((SEVEN, SIX), "listed.example", ("mx.example",)) == (one.addresses, one.name, one.hints)
        assert (("mx.example",), ()) == (one.names_of(SEVEN), one.names_of(SIX))
        assert ("d.example",) == one.local_domains

    def test_two_that_a_third_joins_are_one(self):
        (one,) = merge([host(SEVEN), host(SIX), host(EIGHT), host(SIX, SEVEN), host(EIGHT, SIX)])

        assert {SEVEN, EIGHT, SIX} == set(one.addresses)

    def test_those_that_share_nothing_stay_as_they_are(self):
        apart = [host(EIGHT), host(SEVEN), host(ip_address("127.0.0.1"), port=25)]
        apart.append(host(ip_address("127.0.0.1"), port=26))

        assert apart == merge(apart)

    @given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True), max_size=12))
    def test_no_place_is_left_in_two(self, listed):
        hosts = merge(host(*(IPv4Address(0xC0000200 + n) for n in numbers)) for numbers in listed)

        places = [place for one in hosts for place in one.places]
        assert len(places) == len(set(places))
        assert {n for numbers in listed for n in numbers} == {int(a) - 0xC0000200 for a, _ in places}


class TestAbsorb:
    def test_a_host_that_a_network_holds_is_asked_at_the_ports_of_both(self):
        ranges, hosts = absorb([network("192.0.2.0/28")], [host(SEVEN, port=2525), host(SIX)])

        assert [(2525, None), (None,)] == [one.ports for one in hosts]
        assert ["192.0.2.0-192.0.2.6", "192.0.2.8/29"] == [str(one.span) for one in ranges]

    def test_networks_that_overlap_are_cut(self):
        ranges, _ = absorb([network("192.0.2.0/30:25"), network("192.0.2.2/31:587")], [])

        assert [("192.0.2.0/31", (25,)), ("192.0.2.2/31", (25, 587))] == [
            (str(one.span), one.ports) for one in ranges
        ]

    def test_they_keep_the_list_s_order(self):
        ranges, _ = absorb(
            [network("198.51.100.0/30"), network("192.0.2.0/30"), network("2001:db8::/126")], []
        )

        assert ["198.51.100.0/30", "192.0.2.0/30", "2001:db8::/126"] == [str(one.span) for one in ranges]

    @given(
        st.lists(
            st.tuples(st.integers(0, 20), st.integers(0, 6), st.sampled_from([None, 25, 587])), max_size=6
        ),
        st.sets(st.integers(0, 28), max_size=5),
    )
    def test_every_address_is_once_with_all_its_ports(self, listed, single):
        base = 0xC0000200
        ranges = [
            network(f"192.0.2.{begin}-{begin + length}" + (f":{port}" if port else ""))
            for begin, length, port in listed
        ]
        wanted = {}
        for begin, length, port in listed:
            for number in range(begin, begin + length + 1):
                wanted.setdefault(number, set()).add(port)
        for number in single:
            wanted.setdefault(number, set()).add(99)

        rest, hosts = absorb(ranges, [host(IPv4Address(base + n), port=99) for n in sorted(single)])
        every = [*hosts, *(one for piece in rest for one in piece.hosts(piece.span))]

        assert len(every) == len(wanted)
        assert wanted == {int(one.address) - base: set(one.ports) for one in every}
