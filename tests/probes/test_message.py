"""The test message: what it says of itself, and that nobody can say more through it."""

import email
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import BRIEF

from relaywatch.model.places import Door, Endpoint, Transport, parse_address
from relaywatch.probes.smtp_relay.cases import Case, gather_names, write
from relaywatch.probes.smtp_relay.forms import FORWARD_PATHS
from relaywatch.probes.smtp_relay.message import TOKEN_FIELD, build_message
from relaywatch.script.brief import Identity, SinkNames
from relaywatch.wire.smtp import encode_message

NOW = datetime(2026, 11, 24, 2, 10, tzinfo=UTC)
DATED = replace(BRIEF, now=NOW)
FIELDS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Precedence", TOKEN_FIELD,
    "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
}  # fmt: skip


def envelope(brief=DATED, forward=FORWARD_PATHS[0]):
    return write(Case(forward=forward), gather_names(brief), brief)


def read(brief=DATED, envelopes=None):
    octets = build_message(envelopes or [envelope(brief)], brief)
    return octets, email.message_from_bytes(octets, policy=SMTP)


def identified(**identity):
    return replace(DATED, identity=replace(BRIEF.identity, **identity))


def unfolded(message):
    return " ".join(message.get_content().split())


def test_the_header():
    token, author = envelope().token, DATED.token("author")
    _, message = read()

    assert set(message.keys()) == FIELDS
    assert f"relaywatch <{author}@sink.test>" == message["From"]
    assert f"relaywatch <{token}@sink.test>" == message["To"]
    assert "Mail relay test (relaywatch)" == message["Subject"]
    assert NOW == message["Date"].datetime
    assert f"<{token}@sink.test>" == message["Message-ID"]
    assert "bulk" == message["Precedence"]
    assert token == message[TOKEN_FIELD]


def test_responders_are_asked_to_keep_quiet():
    """RFC 3834 section 5."""
    assert "auto-generated" == read()[1]["Auto-Submitted"]


def test_without_the_engines_time_there_is_no_date():
    assert read(BRIEF)[1]["Date"] is None


def test_who_why_for_whom_and_how_to_be_left_alone():
    brief = identified(
        operator="KrCERT", requested_by="Example University", contact="https://lab.example.test/optout"
    )
    text = unfolded(read(brief)[1])

    assert "a test by KrCERT for Example University, made with relaywatch" in text
    assert "the mail server at 192.0.2.7:25" in text
    assert "how not to be tested again: https://lab.example.test/optout" in text
    assert "Cases: plain." in text


def test_without_contact_and_owner():
    text = unfolded(read(identified(requested_by="", contact=""))[1])

    assert "a test by Test Lab, made with relaywatch" in text
    assert "the postmaster of the domain in From" in text


def test_a_target_with_ipv6():
    endpoint = Endpoint(parse_address("2001:db8::7"), 587)
    brief = replace(DATED, endpoint=endpoint, door=Door(587, Transport.PLAIN, endpoint.family))

    assert "the mail server at [2001:db8::7]:587 carries" in unfolded(read(brief)[1])


def test_all_envelopes_of_the_transaction_are_named():
    some = [envelope(forward=row) for row in FORWARD_PATHS if row.fields <= gather_names(DATED).known()][:8]
    octets, message = read(envelopes=some)

    assert [one.token for one in some] == str(message[TOKEN_FIELD]).split()
    assert f"Cases: {', '.join(one.case.name for one in some)}." in unfolded(message)
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))  # RFC 5322 section 2.1.1


def test_a_mailbox_at_a_literal():
    brief = replace(DATED, sink=SinkNames(domain="[198.51.100.9]"))
    token = envelope(brief).token

    assert f"relaywatch <{token}@[198.51.100.9]>" == str(read(brief)[1]["To"])


class TestWhateverTheIdentityHolds:
    TEXTS = st.text(max_size=120)

    @given(operator=TEXTS, contact=TEXTS, requested_by=TEXTS)
    def test_seven_bits_crlf_and_the_same_header_fields(self, operator, contact, requested_by):
        brief = identified(operator=operator, contact=contact, requested_by=requested_by)
        octets, message = read(brief)

        assert octets.isascii()
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", octets)
        assert set(message.keys()) == FIELDS
        assert not message.is_multipart()
        assert encode_message(octets).endswith(b"\r\n.\r\n")

    @pytest.mark.parametrize(
        "hostile",
        [
            "x\r\nBcc: victim@third.test",
            "x\r\n\r\n.\r\nMAIL FROM:<>",
            "x\n.\nRCPT TO:<victim@third.test>",
            "x\x85Bcc: victim@third.test",
            "x\u2028Bcc: victim@third.test",
            "\x00\x1b[2J",
        ],
    )
    def test_no_line_begins_with_a_strangers_words(self, hostile):
        octets, message = read(identified(operator=hostile, contact=hostile, requested_by=hostile))

        assert set(message.keys()) == FIELDS
        assert b"\r\nBcc" not in octets
        assert b"\r\n.\r\n" not in octets
        assert b"\r\nMAIL" not in octets

    def test_korean_operators(self):
        octets, message = read(identified(operator="한국인터넷진흥원", requested_by="예제대학교"))

        assert octets.isascii()
        assert "한국인터넷진흥원 for 예제대학교" in unfolded(message)

    def test_a_long_address_stays_whole(self):
        contact = "https://abuse.lab.example.test/how-to-opt-out/of-all-tests/" + "x" * 60

        assert contact in read(identified(contact=contact))[1].get_content()

    @given(name=st.text(max_size=30))
    def test_nothing_of_the_identity_stands_in_the_header(self, name):
        plain = read(identified(operator="x"))[0].split(b"\r\n\r\n")[0]
        head = read(replace(DATED, identity=Identity(operator=name, contact=name)))[0].split(b"\r\n\r\n")[0]
        without = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-")]

        assert without == [line for line in plain.split(b"\r\n") if not line.startswith(b"Content-")]


@pytest.mark.parametrize("domain", ["sink.test\r\nBcc: victim@third.test", "sink.test\nX: y"])
def test_a_domain_with_a_line_break_is_refused(domain):
    brief = replace(DATED, sink=SinkNames(domain=domain))

    with pytest.raises(ValueError, match=r"."):
        build_message([envelope(brief)], brief)
