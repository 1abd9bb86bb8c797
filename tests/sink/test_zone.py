import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import token

from relaywatch.model.places import parse_address
from relaywatch.sink.zone import Zone

ADDRESSES = (parse_address("192.0.2.1"), parse_address("2001:db8::1"))
ZONE = Zone("c.example", ADDRESSES, server="sink.example")


def look(name, kind="A", zone=ZONE, **options):
    """Ask; gives the answer as a message, and the labels."""
    query = dns.message.make_query(name, kind, **options)
    found = zone.look(query.to_wire())
    response = dns.message.from_wire(found.answer)
    assert query.is_response(response)
    return response, found.labels


def texts(section):
    return [str(rdata) for rrset in section for rdata in rrset]


@pytest.mark.parametrize("name", [f"{token()}.c.example", "anything.c.example", "c.example", "a.b.c.example"])
@pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
def test_every_name_of_the_zone_leads_here(name, kind, address):
    response, labels = look(name, kind)

    assert dns.rcode.NOERROR == response.rcode()
    assert [address] == texts(response.answer)
    assert 0 == response.answer[0].ttl
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert name.removesuffix("c.example").rstrip(".") == ".".join(labels)


def test_a_name_in_mixed_case_is_echoed_as_it_came():
    mixed = "".join(char.upper() if index % 2 else char for index, char in enumerate(f"{token()}.C.exAmple"))
    query = dns.message.make_query(mixed, "A")

    response = dns.message.from_wire(ZONE.look(query.to_wire()).answer)

    assert f"{mixed}." == response.question[0].name.to_text()
    assert f"{mixed}." == response.answer[0].name.to_text()
    assert ["192.0.2.1"] == texts(response.answer)


def test_a_family_that_we_have_not_is_no_data():
    response, labels = look("x.c.example", "AAAA", zone=Zone("c.example", ADDRESSES[:1], server=None))

    assert dns.rcode.NOERROR == response.rcode()
    assert [] == response.answer
    assert ["ns.c.example. hostmaster.c.example. 1 3600 600 86400 0"] == texts(response.authority)
    assert 0 == response.authority[0].ttl
    assert ("x",) == labels


@pytest.mark.parametrize("kind", ["MX", "TXT", "CNAME", "NS", "SOA", "TYPE65280"])
def test_other_types_of_a_name_are_no_data_and_no_look_up_of_a_token(kind):
    response, labels = look(f"{token()}.c.example", kind)

    assert (dns.rcode.NOERROR, [], ()) == (response.rcode(), response.answer, labels)
    assert [dns.rdatatype.SOA] == [rrset.rdtype for rrset in response.authority]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("NS", "sink.example."), ("SOA", "sink.example. hostmaster.c.example. 1 3600 600 86400 0")],
)
def test_the_apex_has_what_a_zone_must_have(kind, text):
    assert [text] == texts(look("c.example", kind)[0].answer)


def test_any_is_answered_by_addresses():
    response, labels = look("x.c.example", "ANY")

    assert ["192.0.2.1", "2001:db8::1"] == texts(response.answer)
    assert ("x",) == labels


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("example", "A", {}),
        ("www.example.net", "A", {}),
        ("xc.example", "A", {}),
        (".", "NS", {}),
        ("c.example", "AXFR", {}),
        ("x.c.example", "A", {"rdclass": "CH"}),
    ],
)
def test_everything_else_is_refused(name, kind, options):
    response, labels = look(name, kind, **options)

    assert (dns.rcode.REFUSED, [], [], ()) == (
        response.rcode(),
        response.answer,
        response.authority,
        labels,
    )
    assert not response.flags & dns.flags.AA


def test_other_operations_are_not_implemented():
    update = dns.update.UpdateMessage("c.example")
    update.add("x", 300, "A", "203.0.113.9")
    notify = dns.message.make_query("c.example", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)

    for message in (update, notify):
        found = ZONE.look(message.to_wire())
        assert dns.rcode.NOTIMP == dns.message.from_wire(found.answer).rcode()
        assert () == found.labels


def test_two_questions_are_one_too_many():
    query = dns.message.make_query("x.c.example", "A")
    query.question.append(dns.message.make_query("y.c.example", "A").question[0])

    assert dns.rcode.FORMERR == dns.message.from_wire(ZONE.look(query.to_wire()).answer).rcode()


def test_a_response_gets_no_response():
    query = dns.message.make_query("x.c.example", "A")

    assert ZONE.look(dns.message.make_response(query).to_wire()) is None


@pytest.mark.parametrize("wire", [b"", b"\0" * 11, b"\xff" * 40, b"GET / HTTP/1.1\r\n\r\n"])
def test_what_cannot_be_read_gets_no_answer(wire):
    assert ZONE.look(wire) is None


@given(st.binary(max_size=300))
def test_no_octets_bring_it_down(wire):
    found = ZONE.look(wire)

    assert found is None or len(found.answer) <= 512


@given(st.data())
def test_no_broken_query_brings_it_down(data):
    wire = bytearray(dns.message.make_query(f"{token()}.c.example", "A", use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))

    found = ZONE.look(bytes(wire))

    assert found is None or len(found.answer) <= 512


def test_an_answer_is_small_whatever_there_is_to_say():
    many = [parse_address(f"192.0.2.{number}") for number in range(1, 30)]
    many += [parse_address(f"2001:db8::{number}") for number in range(1, 30)]
    zone = Zone("c.example", many, server=f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example")
    longest = ".".join(["x" * 63, "x" * 63, "x" * 63, "x" * 51, "c.example"])

    for kind in ("A", "AAAA", "ANY", "MX"):
        query = dns.message.make_query(longest, kind, use_edns=0)
        answer = zone.look(query.to_wire()).answer
        assert len(answer) <= 512
        assert len(answer) < 5 * len(query.to_wire())
    assert 4 == len(texts(look("x.c.example", "A", zone=zone)[0].answer))


def test_extended_dns_is_answered_in_kind():
    response, _ = look("x.c.example", use_edns=0, payload=4096)
    plain, _ = look("x.c.example")

    assert (0, -1) == (response.edns, plain.edns)


@pytest.mark.parametrize("name", ["a..example", "x" * 64 + ".example"])
def test_a_zone_that_is_no_domain_is_told(name):
    with pytest.raises(ValueError, match="is no domain"):
        Zone(name, ADDRESSES, server=None)


def test_the_zone_is_found_whatever_its_case():
    assert ["192.0.2.1"] == texts(
        look("x.C.EXAMPLE", zone=Zone("c.Example.", ADDRESSES, server=None))[0].answer
    )
    assert dns.name.from_text("x.c.example") == look("x.c.example")[0].question[0].name
