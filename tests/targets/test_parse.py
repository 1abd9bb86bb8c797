from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.parse import (
    HOSTS_LIMIT,
    Origin,
    Target,
    TargetKind,
    parse_name,
    parse_span,
    parse_target,
)
from relaywatch.targets.reserved import is_private, why_no_host

ports = st.none() | st.integers(1, 65535)
hosts = (st.ip_addresses(v=4) | st.ip_addresses(v=6)).filter(
    lambda a: not why_no_host(a) and not getattr(a, "ipv4_mapped", None)
)
labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("text", "kind", "canonical", "port"),
    [
        ("192.0.2.7", "address", "192.0.2.7", None),
        (" 192.0.2.7:2525\n", "address", "192.0.2.7:2525", 2525),
        ("2001:DB8:0::7", "address", "2001:db8::7", None),
        ("[2001:db8::7]", "address", "2001:db8::7", None),
        ("[2001:db8::7]:587", "address", "[2001:db8::7]:587", 587),
        ("::ffff:192.0.2.7", "address", "192.0.2.7", None),
        ("[::ffff:192.0.2.7]:25", "address", "192.0.2.7:25", 25),
        ("Mail.Example.ORG.", "name", "mail.example.org", None),
        ("mail.example:465", "name", "mail.example:465", 465),
        ("한국.test", "name", "xn--3e0b707e.test", None),
        ("localhost", "name", "localhost", None),
        ("a-b.example", "name", "a-b.example", None),
        ("MX:Example.org", "mx", "mx:example.org", None),
        ("mx:example.org:2525", "mx", "mx:example.org:2525", 2525),
        ("192.0.2.0/24", "network", "192.0.2.0/24", None),
        ("192.0.2.0/24:25", "network", "192.0.2.0/24:25", 25),
        ("2001:db8::/120", "network", "2001:db8::/120", None),
        ("[2001:db8::/120]:25", "network", "[2001:db8::/120]:25", 25),
        ("::ffff:192.0.2.0/120", "network", "192.0.2.0/24", None),
        ("192.0.2.1-192.0.2.20", "range", "192.0.2.1-192.0.2.20", None),
        ("192.0.2.1 - 20", "range", "192.0.2.1-192.0.2.20", None),
        ("192.0.2.1-20:587", "range", "192.0.2.1-192.0.2.20:587", 587),
        ("2001:db8::1-2001:db8::9", "range", "2001:db8::1-2001:db8::9", None),
        ("[2001:db8::1-2001:db8::9]:25", "range", "[2001:db8::1-2001:db8::9]:25", 25),
    ],
)
def test_each_way_of_writing(text, kind, canonical, port):
    target = parse_target(text)

    assert (TargetKind(kind), canonical, port) == (target.kind, target.text, target.port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("[]", "neither"),
        ("[192.0.2.7]", "brackets"),
        ("192.0.2.256", "not an address"),
        ("192.0.2.7:0", "port"),
        ("192.0.2.7:65536", "port"),
        ("192.0.2.7:", "port"),
        ("192.0.2.7:²", "port"),
        ("mail.example:smtp", "port"),
        ("fe80::1%eth0", "zone"),
        ("fe80::1", "link-local"),
        ("::", "unspecified"),
        ("0.0.0.0", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("192.0.2.0/33", "not a network"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "unspecified"),
        ("2000::/3", "more than"),
        ("192.0.2.9-192.0.2.1", "ends before"),
        ("192.0.2.1-2001:db8::1", "one address family"),
        ("192.0.2.1-300", "not an address"),
        ("2001:db8::1-7", "not an address"),
        ("223.255.255.255-224.0.0.0", "multicast"),
        ("mail example", "neither"),
        ("-mail.example", "neither"),
        ("mail-.example", "neither"),
        ("mail..example", "neither"),
        ("a" * 64 + ".example", "neither"),
        (".".join(["abcdefgh"] * 29), "neither"),
        ("example.1", "ends in a number"),
        ("mx:", "neither"),
        ("mx:192.0.2.7", "ends in a number"),
        ("ex\u2028ample\u200b한.test", "internationalised"),
        ("mail.example\x1b[31m", "neither"),
    ],
)
def test_no_target(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_target(text)


@given(hosts, ports)
def test_an_address_is_read_back(address, port):
    text = (
        str(address)
        if port is None
        else f"[{address}]:{port}"
        if address.version == 6
        else f"{address}:{port}"
    )

    target = parse_target(text)

    assert (address, port, text) == (target.address, target.port, target.text)


@given(names, ports, st.sampled_from(["", "mx:"]))
def test_a_name_is_read_back(name, port, scheme):
    text = scheme + name + (f":{port}" if port else "")

    target = parse_target(text)

    assert (name, port, text) == (target.name, target.port, target.text)


@given(st.text(max_size=60))
def test_what_is_read_is_canonical_and_anything_else_is_a_value_error(text):
    try:
        target = parse_target(text)
    except ValueError:
        return

    assert target == parse_target(target.text)


@given(hosts.filter(lambda a: a.version == 4), st.integers(8, 32), ports)
def test_a_network_gives_all_its_addresses_lazily(address, length, port):
    network = ip_network((address, length), strict=False)
    if why_no_host(network[0], network[-1]):
        return

    target = parse_target(str(network) + (f":{port}" if port else ""))
    given_first = next(target.hosts())

    assert network.num_addresses == target.count
    assert (network[0], port, TargetKind.ADDRESS) == (given_first.address, given_first.port, given_first.kind)


def test_hosts_of_a_range_keep_port_and_origin():
    origin = Origin("list.txt", 3)

    hosts = list(parse_target("192.0.2.254-192.0.3.1:25", origin).hosts())

    assert ["192.0.2.254:25", "192.0.2.255:25", "192.0.3.0:25", "192.0.3.1:25"] == [h.text for h in hosts]
    assert {origin} == {h.origin for h in hosts}


def test_a_single_target_is_its_own_host():
    target = parse_target("mail.example")

    assert (1, [target]) == (target.count, list(target.hosts()))


def test_the_largest_network():
    assert HOSTS_LIMIT == parse_target("10.0.0.0/8").count


def test_a_span_of_ipv6_is_counted_without_overflow():
    assert 2**64 == parse_span("2001:db8::/64").count


def test_origins_say_where():
    assert "command line" == str(Origin())
    assert "standard input:2" == str(Origin("-", 2))
    assert "list.txt:7" == str(Origin("list.txt", 7))


def test_a_target_is_frozen():
    target = Target(text="x", kind=TargetKind.NAME, name="x")
    with pytest.raises(AttributeError):
        target.text = "y"


def test_an_a_label_stays():
    assert "xn--3e0b707e.test" == parse_name("XN--3E0B707E.test")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("192.0.2.7", False),
        ("fd00::1", True),
        ("2001:db8::1", False),
        ("100.64.0.1", True),
    ],
)
def test_private(address, expected):
    parsed = IPv6Address(address) if ":" in address else IPv4Address(address)

    assert expected == is_private(parsed)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0-255", "192.0.2.0/24"),
        ("192.0.2.1-9", "192.0.2.1-192.0.2.9"),
        ("2001:db8::/120", "2001:db8::/120"),
    ],
)
def test_a_span_is_shown_as_briefly_as_it_can_be(text, shown):
    assert shown == str(parse_span(text))


def test_what_lies_in_a_span():
    span = parse_span("192.0.2.8-11")

    inside = ["192.0.2.8", "192.0.2.11"]
    assert [True, True] == [ip_address(text) in span for text in inside]
    assert [False] * 3 == [ip_address(text) in span for text in ("192.0.2.7", "192.0.2.12", "::c000:208")]


def test_a_name_has_no_addresses():
    with pytest.raises(ValueError, match="a name"):
        parse_target("mail.example").addresses  # noqa: B018
    assert ["192.0.2.7", "192.0.2.0/30"] == [
        str(parse_target(text).addresses) for text in ("192.0.2.7:25", "192.0.2.0/30")
    ]


@pytest.mark.parametrize(
    "text", ["64:ff9b::c000:200/120", "2002:c000:200::/120", "2001::/120", "::192.0.2.0/120"]
)
def test_a_network_of_addresses_that_lead_to_ipv4_hosts_is_refused(text):
    with pytest.raises(ValueError, match="lead to IPv4 hosts"):
        parse_target(text)
