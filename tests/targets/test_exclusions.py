from ipaddress import IPv4Address, ip_address, ip_network, summarize_address_range

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.errors import UsageError
from relaywatch.targets.exclusions import Exclusion, Exclusions, read_exclusions
from relaywatch.targets.parse import Origin, Span

small = st.integers(0, 40).map(lambda n: IPv4Address("192.0.2.0") + n)
spans = st.tuples(small, small).map(lambda pair: Span(min(pair), max(pair)))


def write(tmp_path, text):
    path = tmp_path / "exclude.txt"
    path.write_text(text)
    return path


def test_every_way_of_writing(tmp_path):
    excluded = read_exclusions(
        write(
            tmp_path,
            "# none of these\n192.0.2.0/24 # a customer\n\n198.51.100.1-5\n203.0.113.9\n2001:db8::/32\n127.0.0.1\n",
        )
    )

    inside = ["192.0.2.0", "192.0.2.255", "198.51.100.5", "203.0.113.9", "2001:db8:ffff::1", "127.0.0.1"]
    outside = ["192.0.1.255", "192.0.3.0", "198.51.100.6", "203.0.113.8", "2001:db9::", "::1", "0.0.0.1"]
    assert [True] * 6 == [ip_address(text) in excluded for text in inside]
    assert [False] * 7 == [ip_address(text) in excluded for text in outside]
    assert 5 == len(excluded)


def test_says_which_line_excludes(tmp_path):
    path = write(tmp_path, "\n192.0.2.0/24\n")

    assert f"192.0.2.0/24 ({path}:2)" == str(read_exclusions(path).find(IPv4Address("192.0.2.7")))


@pytest.mark.parametrize("line", ["mail.example", "192.0.2.1/24", "192.0.2.7:25", "fe80::1%lo"])
def test_a_line_that_cannot_be_read_stops_everything(tmp_path, line):
    path = write(tmp_path, f"192.0.2.1\n{line}\n")

    with pytest.raises(UsageError, match=f"{path}:2: "):
        read_exclusions(path)


def test_a_file_that_cannot_be_read_stops_everything(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_exclusions(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"# Z\xfcrich\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_exclusions(tmp_path / "latin")


def test_nothing_is_excluded_by_nothing():
    assert ip_address("192.0.2.7") not in Exclusions()


@given(st.lists(spans, max_size=12), small)
def test_agrees_with_asking_each_span(excluded, address):
    exclusions = Exclusions(Exclusion(span, str(number), Origin()) for number, span in enumerate(excluded))

    found = exclusions.find(address)

    assert any(span.first <= address <= span.last for span in excluded) == (found is not None)
    assert found is None or found.span.first <= address <= found.span.last


@given(spans)
def test_a_range_is_what_its_networks_are(span):
    networks = list(summarize_address_range(span.first, span.last))
    as_networks = Exclusions(Exclusion(Span(n[0], n[-1]), str(n), Origin()) for n in networks)

    assert [True] * span.count == [address in as_networks for address in span]
    assert ip_network(span.last)[0] + 1 not in as_networks


@given(st.lists(spans, max_size=6), spans)
def test_cutting_a_span_says_the_same_as_asking_of_each_address(excluded, span):
    exclusions = Exclusions(Exclusion(one, "x", Origin("f", n)) for n, one in enumerate(excluded, 1))

    pieces = list(exclusions.cut(span))

    assert list(span) == [address for piece, _ in pieces for address in piece]
    for piece, exclusion in pieces:
        assert {exclusion is not None} == {address in exclusions for address in piece}
        assert exclusion is None or all(address in exclusion.span for address in piece)


def test_cutting_takes_time_by_the_exclusions_not_the_addresses():
    exclusions = Exclusions([Exclusion(Span(*map(ip_address, ("10.1.0.0", "10.1.0.9"))), "x", Origin())])

    pieces = exclusions.cut(Span(ip_address("10.0.0.0"), ip_address("10.255.255.255")))

    assert ["10.0.0.0/16", "10.1.0.0-10.1.0.9", "10.1.0.10-10.255.255.255"] == [
        str(piece) for piece, _ in pieces
    ]
