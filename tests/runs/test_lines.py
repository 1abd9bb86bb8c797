"""Result lines: from judgement to octets and back."""

import json
from datetime import UTC, datetime
from ipaddress import ip_address

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.evidence import RELAY, arrival, attempt, evidence, judged, planned, queued, seen

from relaywatch.model.evidence import Fact
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Vantage
from relaywatch.rules.judge import judge
from relaywatch.runs.lines import decode_line, encode_line, make_line

BEGAN = datetime(2026, 11, 24, 2, 10, tzinfo=UTC)
VALIDATOR = jsonschema.Draft202012Validator(msgspec.json.schema(ResultLine))
replies = st.binary(max_size=40).map(lambda octets: octets.decode("utf-8", "surrogateescape"))


def line_of(judgement, attempts=(), **more):
    given = {
        "target": ip_address("192.0.2.7"),
        "name": None,
        "vantage": Vantage.OUTSIDE,
        "began": BEGAN,
        "seconds": 1.23456,
    }
    return make_line(judgement, attempts, **given | more)


@given(evidence)
def test_whatever_was_judged_is_written_and_read_back(given_evidence):
    made, came = given_evidence
    line = line_of(judge(RELAY, made, came), made)
    octets = encode_line(line)

    VALIDATOR.validate(json.loads(octets))
    assert line == decode_line(octets)


@given(replies, replies, replies)
def test_a_server_s_words_become_valid_json(reply, command, note):
    made = [
        attempt(
            planned(1),
            queued("plain", reply=reply, command=command),
            seen(Fact.NOTE, detail=note),
            seen(Fact.SOFTWARE, detail=f"exim {reply}"),
        )
    ]
    octets = encode_line(line_of(judged(*made), made))

    read = json.loads(octets.decode("utf-8"))
    assert read["findings"][0]["reply"].encode() == reply.encode("utf-8", "surrogateescape") or "\\x" in str(
        read
    )
    assert b"\n" not in octets
    VALIDATOR.validate(read)


def test_the_contract_s_names():
    made = [attempt(planned(2), queued("plain", reply="250 2.0.0 Ok"))]
    read = json.loads(
        encode_line(line_of(judged(*made, arrivals=[arrival()]), made, name="mail.example.org"))
    )

    contract = {
        "schema": "relaywatch.result/1",
        "target": "192.0.2.7",
        "name": "mail.example.org",
        "weakness": "open-relay",
        "verdict": "open",
        "reasons": [],
        "software": None,
        "attempts": 1,
        "began": "2026-11-24T02:10:00Z",
        "seconds": 1.235,
        "vantage": "outside",
    }
    assert contract == {name: read[name] for name in contract}
    finding = {
        "advisory": "RW-1001",
        "probe": "smtp-relay",
        "case": "plain",
        "port": 25,
        "transport": "plain",
        "via": None,
        "proof": "delivered",
        "exit_address": "192.0.2.7",
        "reply": "250 2.0.0 Ok",
    }
    assert finding == {name: read["findings"][0][name] for name in finding}
    door = {"port": 25, "transport": "plain", "family": "ipv4", "verdict": "open", "reasons": []}
    assert door == {name: read["doors"][0][name] for name in door}
    assert "203.0.113.5" == read["source_address"]


@pytest.mark.parametrize(
    ("detail", "software"),
    [("exim 4.96", ("exim", "4.96")), ("postfix", ("postfix", None)), ("exim \udcff", ("exim", "\\xff"))],
)
def test_the_software_and_its_version_apart(detail, software):
    made = [attempt(seen(Fact.SOFTWARE, detail=detail))]
    line = line_of(judged(*made), made)

    assert software == (line.software.name, line.software.version)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{}",
        b"[]",
        b"not JSON",
        b'{"schema":"relaywatch.result/2"}',
        encode_line(line_of(judged())).replace(b"inconclusive", b"perhaps"),
        encode_line(line_of(judged()))[:-1],
    ],
)
def test_what_is_no_line_is_told(octets):
    with pytest.raises(ValueError, match=r".+"):
        decode_line(octets)


def test_a_line_with_fields_of_a_later_version_is_read():
    octets = encode_line(line_of(judged()))

    assert line_of(judged()) == decode_line(octets.replace(b"{", b'{"later":1,', 1))
