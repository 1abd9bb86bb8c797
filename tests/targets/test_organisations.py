from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import UsageError
from relaywatch.targets.numbers import number_in, number_of
from relaywatch.targets.organisations import Organisations, read_organisations


def written(tmp_path, text):
    path = tmp_path / "map"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def whose(organisations, address):
    return organisations.find(number_of(address))


@pytest.mark.parametrize("between", [",", ", ", " ", "\t", " , "])
def test_the_longest_prefix_counts(tmp_path, between):
    rows = ("192.0.2.0/24 A", "192.0.2.64/26 B", "192.0.2.65 C", "2001:db8::/32 D", "2001:db8:1::/48 E")
    text = "\n".join(row.replace(" ", between) for row in rows)
    found = read_organisations(written(tmp_path, text))

    assert ["A", "B", "C", "B", "A", "A"] == [whose(found, f"192.0.2.{n}") for n in (0, 64, 65, 66, 128, 255)]
    assert ["D", "E", "D"] == [whose(found, a) for a in ("2001:db8::1", "2001:db8:1::1", "2001:db8:2::1")]
    assert ["", "", ""] == [whose(found, a) for a in ("192.0.1.255", "192.0.3.0", "2001:db9::1")]
    assert 5 == found.networks
    assert () == found.junk


def test_names_may_have_blanks_and_quotes(tmp_path):
    text = 'network,organisation\n# a comment\n\n192.0.2.0/25,"University, Seoul",more\n192.0.2.128/25 The  other one\n'
    found = read_organisations(written(tmp_path, text))

    assert "University, Seoul" == whose(found, "192.0.2.1")
    assert "The  other one" == whose(found, "192.0.2.129")
    assert () == found.junk


def test_junk_is_named_by_line_and_the_rest_counts(tmp_path):
    text = (
        "192.0.2.0/24,A\nnonsense\n192.0.2.1/24,B\n192.0.2.9,\n192.0.2.1-192.0.2.9,C\nnetwork,organisation\n"
    )
    path = written(tmp_path, text)
    found = read_organisations(path)

    assert "A" == whose(found, "192.0.2.9")
    assert [f"{path}:{number}" for number in (2, 3, 4, 5, 6)] == [str(junk.origin) for junk in found.junk]
    assert "no organisation" == found.junk[2].why
    assert found.junk[3].why.startswith("a range")


def test_of_a_network_that_comes_twice_the_later_line_counts(tmp_path):
    found = read_organisations(written(tmp_path, "192.0.2.0/24,A\n192.0.2.0/24,B\n"))

    assert "B" == whose(found, "192.0.2.9")


@pytest.mark.parametrize(
    ("text", "why"), [("", "no line"), ("x\n", "not an address"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_map_that_says_nothing_is_no_map(tmp_path, text, why):
    with pytest.raises(UsageError, match=why):
        read_organisations(written(tmp_path, text))


def test_a_map_that_is_missing(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_organisations(tmp_path / "missing")


NETWORKS = st.builds(
    lambda number, prefix: ip_network((number << 24, prefix), strict=False),
    st.integers(0, 255),
    st.integers(0, 32),
)


@given(st.lists(NETWORKS, max_size=12), st.integers(0, 255), st.sampled_from([0, 1, 2**24 - 1]))
def test_as_a_search_of_all_networks_finds(networks, high, low):
    known = {(number_in(n[0]), number_in(n[-1])): str(n) for n in networks}
    address = ip_address((high << 24) + low)
    around = [network for network in networks if address in network]
    expected = str(max(around, key=lambda network: network.prefixlen)) if around else ""

    assert expected == Organisations(known).find(number_in(address))
