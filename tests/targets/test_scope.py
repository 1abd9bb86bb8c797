from datetime import date
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import UsageError
from relaywatch.targets.parse import Span, parse_span
from relaywatch.targets.permissions import Permission, format_permission, permission_from
from relaywatch.targets.scope import LOOPBACK, Scope, append_permission, parse_scope, read_scope

TODAY = date(2026, 11, 24)
LATER = date(2027, 1, 31)
COMMON = 'owner = "Example School"\ncontact = "net@school.example"\nuntil = 2027-01-31\n'


def permission(**fields):
    networks = tuple(map(ip_network, fields.pop("networks", ())))
    given_fields = {"owner": "Example School", "contact": "net@school.example", "until": LATER} | fields
    return Permission(networks=networks, **given_fields)


def scope(*permissions):
    return Scope(permissions, "scope.toml")


def test_a_table_with_everything():
    [read] = parse_scope(
        "[[permission]]\n"
        'networks = ["192.0.2.0/24", "2001:db8::7"]\ndomains = ["Example.ORG", "학교.test"]\n'
        + COMMON
        + "rate = 2.5\n"
        'per_target = 2\nloopback_chains = true\nchain_targets = ["192.0.2.9", "MX.example.org"]\n'
        "local_reverse_paths = true\nlocal_mailboxes = true\n",
        "scope.toml",
    ).permissions

    assert (
        permission(
            networks=["192.0.2.0/24", "2001:db8::7/128"],
            domains=("example.org", "xn--9d0b527e.test"),
            rate=2.5,
            per_target=2,
            loopback_chains=True,
            chain_targets=("192.0.2.9", "mx.example.org"),
            local_reverse_paths=True,
            local_mailboxes=True,
        )
        == read
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permission = 1", r"write \[\[permission\]\]"),
        ("permission = [1]", "permission 1: not a table"),
        ("[permission]\n" + COMMON, r"write \[\[permission\]\]"),
        ("[[permissions]]\n" + COMMON, "unknown table 'permissions'"),
        ("[[permission]\n", "not TOML"),
        ("[[permission]]\n" + COMMON, "permission 1: networks: neither"),
        ('[[permission]]\nnetworks = ["192.0.2.0/24"]\nowner = "x"\ncontact = "y"\n', "1: .*`until`"),
        ('[[permission]]\nnetwork = ["192.0.2.0/24"]\n' + COMMON, "1: .*unknown field `network`"),
        ('[[permission]]\nnetworks = "192.0.2.0/24"\n' + COMMON, "1: networks: Expected `array`"),
        (
            '[[permission]]\nnetworks = ["192.0.2.7/24"]\n' + COMMON,
            "1: networks: '192.0.2.7/24': bits behind",
        ),
        ('[[permission]]\nnetworks = ["192.0.2.1-3"]\n' + COMMON, "1: networks: .*write it as networks"),
        ('[[permission]]\nnetworks = ["192.0.2.0-2"]\n' + COMMON, "1: networks: .*write it as networks"),
        ('[[permission]]\nnetworks = ["0.0.0.0/0"]\n' + COMMON, "1: networks: .*unspecified"),
        ('[[permission]]\nnetworks = ["224.0.0.0/24"]\n' + COMMON, "1: networks: .*multicast"),
        ('[[permission]]\ndomains = ["org"]\n' + COMMON, "1: domains: 'org': a whole top-level"),
        ('[[permission]]\ndomains = ["exa mple.org"]\n' + COMMON, "1: domains: 'exa mple.org': neither"),
        ('[[permission]]\ndomains = ["example.org"]\nrate = 0\n' + COMMON, "1: rate: "),
        ('[[permission]]\ndomains = ["example.org"]\nper_target = 0\n' + COMMON, "1: per_target: "),
        ('[[permission]]\ndomains = ["example.org"]\nlocal_mailboxes = 1\n' + COMMON, "1: local_mailboxes: "),
        (
            '[[permission]]\ndomains = ["a.example"]\nchain_targets = ["b.example"]\n' + COMMON,
            "1: chain_targets: ",
        ),
        (
            '[[permission]]\ndomains = ["a.example"]\nchain_targets = ["192.0.2.1"]\n' + COMMON,
            "1: chain_targets: ",
        ),
        (
            '[[permission]]\ndomains = ["a.example"]\nowner = " "\ncontact = "y"\nuntil = 2027-01-31\n',
            "1: owner: ",
        ),
        (
            '[[permission]]\ndomains = ["a.example"]\nowner = "x"\ncontact = "y"\nuntil = "2027-01-31"\n',
            "1: until: ",
        ),
        (
            '[[permission]]\ndomains = ["a.example"]\n' + COMMON + '[[permission]]\nowner = "x"\n',
            "permission 2: ",
        ),
    ],
)
def test_faults_name_file_table_and_field(text, message):
    with pytest.raises(UsageError, match=f"^scope.toml: .*{message}"):
        parse_scope(text, "scope.toml")


def test_an_empty_file_permits_nothing_but_loopback():
    empty = parse_scope("", "scope.toml")

    assert empty.permission_for(ip_address("192.0.2.7"), TODAY) is None
    assert LOOPBACK is empty.permission_for(ip_address("127.8.8.8"), TODAY)
    assert LOOPBACK is empty.permission_for(ip_address("::1"), TODAY, "localhost")


def test_loopback_carries_every_leave():
    assert (True, True, True) == (
        LOOPBACK.loopback_chains,
        LOOPBACK.local_reverse_paths,
        LOOPBACK.local_mailboxes,
    )


def test_the_longest_prefix_wins_whatever_the_order():
    wide = permission(networks=["192.0.2.0/24"], local_mailboxes=True)
    narrow = permission(networks=["192.0.2.0/28"])
    by_name = permission(domains=("example.org",))

    for order in ((wide, narrow, by_name), (by_name, narrow, wide)):
        covered = scope(*order)
        assert narrow is covered.permission_for(ip_address("192.0.2.7"), TODAY, "mail.example.org")
        assert wide is covered.permission_for(ip_address("192.0.2.99"), TODAY, "mail.example.org")
        assert by_name is covered.permission_for(ip_address("198.51.100.1"), TODAY, "mail.example.org")


def test_the_last_day_counts():
    covered = scope(permission(networks=["2001:db8::/32"], until=TODAY))

    assert covered.permission_for(ip_address("2001:db8::1"), TODAY) is not None
    assert covered.permission_for(ip_address("2001:db8::1"), date(2026, 11, 25)) is None
    assert covered.permission_for(ip_address("192.0.2.7"), TODAY) is None


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("example.org", "198.51.100.1", True),
        ("mail.example.org", "198.51.100.1", True),
        ("badexample.org", "198.51.100.1", False),
        ("example.net", "198.51.100.1", False),
        (None, "198.51.100.1", False),
        ("mail.example.org", "10.0.0.1", False),
        ("mail.example.org", "fd00::1", False),
    ],
)
def test_a_permission_by_domain_covers_its_names(name, address, expected):
    covered = scope(permission(domains=("example.org",)))

    assert expected == (covered.permission_for(ip_address(address), TODAY, name) is not None)


def test_a_name_does_not_lead_out_of_the_networks():
    covered = scope(permission(networks=["192.0.2.0/24"], domains=("example.org",)))

    assert covered.permission_for(ip_address("198.51.100.1"), TODAY, "mail.example.org") is None
    assert covered.permission_for(ip_address("192.0.2.1"), TODAY, "mail.example.org") is not None


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_what_is_no_host_is_never_covered(address):
    covered = scope(permission(networks=["0.0.0.0/0", "::/0"]))

    assert covered.permission_for(ip_address(address), TODAY) is None
    assert "no permission can cover it" in covered.explain_refusal(ip_address(address), TODAY)


def test_a_refusal_says_what_would_be_needed():
    assert (
        "192.0.2.7 is not covered by any permission; if its owner permits: "
        "relaywatch scope add --network 192.0.2.7 --owner ... --until YYYY-MM-DD"
    ) == Scope().explain_refusal(ip_address("192.0.2.7"), TODAY)


def test_a_refusal_names_what_comes_near():
    near = scope(
        permission(networks=["192.0.2.0/24"], until=date(2026, 10, 1)),
        permission(networks=["198.51.100.0/24"], domains=("example.org",)),
        permission(networks=["198.51.100.0/24"], until=date(2026, 10, 1)),
    )
    message = near.explain_refusal(ip_address("192.0.2.7"), TODAY, "mail.example.org")

    assert message.startswith("192.0.2.7 (mail.example.org) is not covered by any permission in scope.toml: ")
    assert "number 1 (Example School) ran out on 2026-10-01" in message
    assert "number 2 (Example School) has the name, but this address lies outside of its networks" in message
    assert "number 3" not in message


def test_a_refusal_of_a_private_address_says_so():
    near = scope(permission(domains=("example.org",)))

    assert "is private" in near.explain_refusal(ip_address("10.0.0.1"), TODAY, "mail.example.org")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_scope(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"# Z\xfcrich\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_scope(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    "before", ["", "# mine", "# mine\n\n", "[[permission]]\ndomains = ['a.example']  # x\n" + COMMON]
)
def test_adding_keeps_what_is_there(tmp_path, before):
    path = tmp_path / "scope.toml"
    path.write_text(before)
    added = permission(networks=["192.0.2.0/24"], owner='The "Example" \\ 학교', local_mailboxes=True)

    grown = append_permission(path, added)

    assert path.read_text().startswith(before)
    assert added == grown.permissions[-1]
    assert grown == read_scope(path)


def test_adding_makes_the_file(tmp_path):
    path = tmp_path / "scope.toml"

    append_permission(path, permission(domains=("example.org",)))

    assert path.read_text().startswith("# Whom relaywatch may check.")
    assert 2 == len(append_permission(path, permission(networks=["192.0.2.0/24"])).permissions)


def test_adding_to_a_broken_file_changes_nothing(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("[[permission]]\n")

    with pytest.raises(UsageError, match="permission 1"):
        append_permission(path, permission(domains=("example.org",)))
    assert "[[permission]]\n" == path.read_text()


def test_a_permission_that_would_be_read_as_another_is_not_written(tmp_path):
    path = tmp_path / "scope.toml"

    with pytest.raises(UsageError, match="as it is"):
        append_permission(path, permission(domains=("Example.org",)))
    assert not path.exists()


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        append_permission(tmp_path / "no" / "scope.toml", permission(domains=("example.org",)))


owners = st.text(min_size=1, max_size=30)
networks = st.ip_addresses(v=4).map(ip_network) | st.ip_addresses(v=6).map(ip_network)


@given(owners, st.lists(networks, max_size=3), st.dates(), st.none() | st.floats(0.01, 1e6), st.booleans())
def test_what_is_written_is_read_back(owner, nets, until, rate, leave):
    table = {
        "networks": [str(net) for net in nets],
        "domains": ["example.org"],
        "owner": owner,
        "contact": "c",
        "until": until,
        "rate": rate,
        "local_mailboxes": leave,
    }
    try:
        made = permission_from(table)
    except ValueError:
        return

    assert [made] == list(parse_scope(format_permission(made), "scope.toml").permissions)


class TestCut:
    """A span cut by permission is what asking of each address says."""

    @given(st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=5), st.integers(0, 63))
    def test_says_the_same_as_asking_of_each_address(self, networks, begin):
        permissions = [
            permission(networks=[f"192.0.2.{number & -(1 << 32 - length)}/{length}"], owner=f"Owner {place}")
            for place, (number, length) in enumerate(networks)
        ]
        span = Span(ip_address(f"192.0.2.{begin}"), ip_address("192.0.2.70"))

        pieces = list(scope(*permissions).cut(span, TODAY))

        assert list(span) == [address for piece, _ in pieces for address in piece]
        for piece, by in pieces:
            assert {by} == {scope(*permissions).permission_for(address, TODAY) for address in piece}
        assert all(one[1] != other[1] for one, other in pairwise(pieces))

    def test_takes_time_by_the_networks_not_the_addresses(self):
        small = permission(networks=["10.9.8.4/30"])

        pieces = list(scope(small).cut(parse_span("10.0.0.0/8"), TODAY))

        assert [(16_777_216 - 4, None), (4, small)] == [
            (sum(piece.count for piece, by in pieces if by == wanted), wanted) for wanted in (None, small)
        ]
        assert 3 == len(pieces)

    def test_loopback_is_cut_out_of_what_is_round_it(self):
        pieces = scope().cut(parse_span("126.255.255.254-127.0.0.1"), TODAY)

        assert [("126.255.255.254/31", False), ("127.0.0.0/31", True)] == [
            (str(piece), by is LOOPBACK) for piece, by in pieces
        ]

    def test_one_word_for_a_gap(self):
        gap = parse_span("192.0.2.4/30")

        assert (
            "192.0.2.4/30 is not covered by any permission in scope.toml; if its owner permits: "
            "relaywatch scope add --network 192.0.2.4/30 --owner ... --until YYYY-MM-DD"
        ) == scope().explain_gap(gap, TODAY)
        assert "--network ..." in scope().explain_gap(parse_span("192.0.2.1-254"), TODAY)


class TestTranslated:
    """NAT64, 6to4 and their like lead to IPv4 hosts, and it is those that are permitted or not."""

    SEVEN = ("64:ff9b::c000:207", "2002:c000:207::1", "::192.0.2.7", "2001:0:5333:1::3fff:fdf8")

    @pytest.mark.parametrize("address", SEVEN)
    def test_they_are_covered_by_the_network_of_the_ipv4_host(self, address):
        covered, other = permission(networks=["192.0.2.0/24"]), permission(networks=["198.51.100.0/24"])

        assert covered == scope(other, covered).permission_for(ip_address(address), TODAY)
        assert scope(other).permission_for(ip_address(address), TODAY) is None

    @pytest.mark.parametrize("address", SEVEN)
    def test_a_network_round_them_covers_nothing(self, address):
        around = permission(networks=["64:ff9b::/96", "2002::/16", "2001::/32", "::100:0/104"])

        assert scope(around).permission_for(ip_address(address), TODAY) is None

    @pytest.mark.parametrize(
        "address", ["64:ff9b::7f00:1", "2002:7f00:1::1", "::127.0.0.1", "64:ff9b::e000:1"]
    )
    def test_loopback_and_multicast_behind_them_are_nobody_s(self, address):
        everything = permission(networks=["127.0.0.0/8", "64:ff9b::/96"], domains=("mine.example",))

        assert scope(everything).permission_for(ip_address(address), TODAY, "mine.example") is None
        assert "no host's address" in scope().explain_refusal(ip_address(address), TODAY)

    @pytest.mark.parametrize("address", ["64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1"])
    def test_no_name_reaches_a_private_host_through_them(self, address):
        named = permission(domains=("mine.example",))

        assert scope(named).permission_for(ip_address(address), TODAY, "x.mine.example") is None
