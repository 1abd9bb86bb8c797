import json

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import chain_line, finding, inconclusive_line, line, open_line, proxy_line

from relaywatch.cli.reports.lines import format_line, result_schema
from relaywatch.runs.lines import decode_line


def test_a_line_is_one_line_of_what_a_terminal_can_bear():
    octets = format_line(open_line(name="메일.test"))

    assert octets.endswith(b"\n")
    assert octets[:-1].decode().isprintable()
    assert "메일.test" in octets.decode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_said_is_read_back(reply):
    said = open_line(findings=(finding(reply=reply),))

    assert said == decode_line(format_line(said))


def test_octets_that_were_no_utf8_do_not_stop_it():
    read = decode_line(format_line(open_line(findings=(finding(reply="Z\udcfcrich"),), doors=())))

    assert r"Z\xfcrich" == read.findings[0].reply


def test_lines_keep_the_contract():
    schema = result_schema()
    for sample in (
        open_line(findings=(finding(reply="ok"),)),
        line(),
        inconclusive_line(software=None, error="x"),
        proxy_line(),
        chain_line(),
    ):
        jsonschema.validate(json.loads(format_line(sample)), schema)


def test_the_names_of_the_contract():
    written = json.loads(format_line(open_line()))

    assert {
        *("schema", "target", "name", "weakness", "verdict", "reasons", "software", "findings", "doors"),
        *("attempts", "began", "seconds", "vantage"),
    } <= set(written)
    assert {
        *("advisory", "probe", "case", "port", "transport", "via", "proof", "exit_address", "reply"),
    } <= set(written["findings"][0])
    assert {"port", "transport", "family", "verdict", "reasons"} <= set(written["doors"][0])
    assert "relaywatch.result/1" == written["schema"]
    assert "2026-11-24T02:10:00Z" == written["began"]
