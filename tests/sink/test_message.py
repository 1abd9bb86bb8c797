import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import ANOTHER_KEY, KEY, token

from relaywatch.sink.message import read_message


def test_the_header_section_is_read():
    facts = read_message(
        KEY,
        b"Received: from a.test\r\n\tby b.test; now\r\n"
        b"Received: from c.test\r\n"
        b"Subject: of\r\n ours\r\n"
        b"X-Other: 1\r\n"
        b"X-Relaywatch-Token: " + token().upper().encode() + b"\r\n"
        b"\r\n"
        b"Received: no field\r\n",
    )

    assert ("from a.test by b.test; now", "from c.test") == facts.received
    assert "of ours" == facts.subject
    assert token() == facts.header_token
    assert ("X-Other", "1") == facts.fields[0]
    assert not facts.is_report


def test_a_header_token_of_another_key_is_none():
    assert (
        None
        is read_message(KEY, f"X-Relaywatch-Token: {token(key=ANOTHER_KEY)}\r\n\r\n".encode()).header_token
    )


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_token_in_the_text_is_none(newline):
    data = b"Subject: Undelivered" + newline * 2 + b"X-Relaywatch-Token: " + token().encode() + newline

    assert None is read_message(KEY, data).header_token


@pytest.mark.parametrize(
    ("fields", "is_report"),
    [
        (b"Content-Type: multipart/report; report-type=delivery-status; boundary=x", True),
        (b"content-type: MULTIPART/REPORT", True),
        (b"Content-Type:\r\n multipart/report", True),
        (b"Auto-Submitted: auto-replied", True),
        (b"Auto-Submitted: Auto-Replied (vacation)", True),
        (b"Auto-Submitted: auto-generated", False),
        (b"Content-Type: text/plain", False),
        (b"Content-Type: ", False),
        (b"X-Nothing: 1", False),
    ],
)
def test_reports_and_automatic_answers(fields, is_report):
    assert is_report == read_message(KEY, fields + b"\r\n\r\ntext\r\n").is_report


def test_octets_that_are_no_text_are_written_out():
    facts = read_message(KEY, b"Subject: \xe9 \xec\x95\x88\x1b[31m\r\nX: \xff\0\r\n\r\n")

    assert "\\xe9 안\x1b[31m" == facts.subject
    assert (("X", "\\xff"),) == facts.fields


def test_a_field_name_that_is_no_text_is_written_out():
    assert (("X-\\xff", "1"),) == read_message(KEY, b"X-\xff: 1\r\n\r\n").fields


@pytest.mark.parametrize(
    "line", [b">From s@relay.test Tue", b"no colon here", b"X-\xff: 1", b": x", b" folded"]
)
def test_a_line_that_is_no_field_costs_itself_alone(line):
    facts = read_message(KEY, line + b"\r\nReceived: from a.test\r\nSubject: x\r\n\r\n")

    assert ("from a.test",) == facts.received
    assert "x" == facts.subject


@pytest.mark.parametrize("data", [b"", b"\r\nSubject: in the text\r\n", b"\n\nSubject: in the text"])
def test_a_message_may_have_no_header_section(data):
    assert ("", ()) == (read_message(KEY, data).subject, read_message(KEY, data).fields)


def test_everything_is_cut_to_size():
    trace = b"".join(b"Received: " + b"r" * 3000 + b"\r\n" for _ in range(8))
    others = b"".join(b"X-%d: " % number + b"v" * 900 + b"\r\n" for number in range(9))

    facts = read_message(KEY, b"Subject: " + b"s" * 5000 + b"\r\n" + trace)
    more = read_message(KEY, others + b"Received: r\r\n" * 200 + b"\r\n" + b"text" * 10_000)

    assert 1000 == len(facts.subject)
    assert {1000} == {len(value) for value in facts.received}
    assert 8 == len(facts.received)
    assert 50 == len(more.received)
    assert 8 == len(more.fields)


@given(st.binary(max_size=2000))
def test_any_octets_have_an_answer_that_can_be_written_down(data):
    facts = read_message(KEY, data)

    written = json.dumps([facts.subject, facts.received, facts.fields], ensure_ascii=False).encode("utf-8")
    assert len(written) < 100_000
    assert None is facts.header_token


@given(
    st.lists(
        st.sampled_from(
            [
                b"Subject",
                b"Received",
                b":",
                b" ",
                b"\r\n",
                b"\n",
                b"\0",
                b"=?utf-8?b?/w==?=",
                b"Content-Type: multipart/report; a*0*=",
                b"\xff",
                b";",
                b"\r",
            ]
        )
    ).map(b"".join)
)
def test_damaged_header_sections_have_an_answer(data):
    facts = read_message(KEY, data)

    json.dumps([facts.subject, facts.received, facts.fields], ensure_ascii=False).encode("utf-8")
