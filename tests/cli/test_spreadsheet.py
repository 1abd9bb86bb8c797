import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import door, finding, line, open_line, proxy_finding, proxy_line

from relaywatch.cli.reports.spreadsheet import COLUMNS, SpreadsheetWriter


def rows(*lines):
    file = io.StringIO(newline="")
    writer = SpreadsheetWriter(file)
    for one in lines:
        writer.write(one)
    return list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))


def test_a_row_for_each_line():
    [first, second] = rows(
        open_line(findings=(finding(reply="250 ok"),), advisories=("RW-1030",)), line(software=None)
    )

    assert list(COLUMNS) == list(first)
    assert ("192.0.2.7", "open", "RW-1001 RW-1030", "delivered") == (
        first["target"],
        first["verdict"],
        first["advisories"],
        first["proofs"],
    )
    assert ("25/plain/ipv4=open", "192.0.2.7", "250 ok") == (
        first["doors"],
        first["exit_addresses"],
        first["reply"],
    )
    assert "2026-11-24T02:10:00+00:00" == first["began"]
    assert ("closed", "", "") == (second["verdict"], second["software"], second["reply"])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_text(start):
    reply = f'{start}HYPERLINK("http://bad.example","250")'
    [row] = rows(open_line(findings=(finding(reply=reply),)))

    assert row["reply"].startswith("'")


@given(st.text(st.characters()))
def test_no_cell_begins_a_formula_whatever_was_said(text):
    [row] = rows(open_line(name=text, findings=(finding(reply=text),), doors=(door(),), error=text))

    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row.values())


def test_the_ports_that_proxies_let_through_stand_once_and_in_order():
    two = (proxy_finding(destination_ports=(443, 40025)), proxy_finding(destination_ports=(443, 23)))
    [proxy, relay] = rows(proxy_line(findings=two), open_line())

    assert "23 443 40025" == proxy["destination_ports"]
    assert ("open-proxy", "canary-reached", "198.51.100.9") == (
        proxy["weakness"],
        proxy["proofs"],
        proxy["exit_addresses"],
    )
    assert "" == relay["destination_ports"]
