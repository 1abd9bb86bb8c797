"""Squid's acls by their kinds and names, as Squid 5.7 took them when it was run with these very lines."""

from __future__ import annotations

import time

import pytest
from tests.audit.auditing import audited, only, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.squid import SERVER

PORT = "http_port 3128\n"


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ("acl LAN src all\nhttp_access allow lan", AuditVerdict.OPEN),
        ("acl all src 10.0.0.0/8\nhttp_access allow all", AuditVerdict.OPEN),
        ("acl localhost src 198.0.0.0/8\nhttp_access allow localhost", AuditVerdict.OPEN_IF),
        ("acl connect method GET\nhttp_access allow CONNECT", AuditVerdict.OPEN),
        ("acl a src 0/0\nhttp_access allow a", AuditVerdict.OPEN),
        ("acl a src 198/8\nhttp_access allow a", AuditVerdict.CLOSED),
        ("acl u ext_user bob\nhttp_access deny u\nhttp_access allow all", AuditVerdict.OPEN),
        ("acl u ext_user bob\nhttp_access allow !u", AuditVerdict.OPEN),
        ("acl u ext_user bob\nhttp_access allow u", AuditVerdict.CLOSED),
        ("http_access allow all\nalways_direct allow all\nnever_direct allow all", AuditVerdict.OPEN),
        ("http_access allow all\nnever_direct allow all", AuditVerdict.CLOSED),
        ("acl p myportname lan\nhttp_access allow p", AuditVerdict.CLOSED),
        ("acl p myportname 3128\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p url_regex \\.gif$\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p url_regex ^http://[a-z.]+/$\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p url_regex ^http://.*\\.example\\.org/\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p url_regex ^https?://www\\.example\\.org\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p url_regex ^https?://www\\.example\\.org(/|$)\nhttp_access allow p", AuditVerdict.CLOSED),
        ("acl p url_regex ^http://www\\.example\\.org/\nhttp_access allow p", AuditVerdict.CLOSED),
        ("acl p urlpath_regex .\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p urlpath_regex .\nhttp_access allow CONNECT p", AuditVerdict.CLOSED),
        ("acl p proto FTP\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p proto NONE\nhttp_access allow p", AuditVerdict.OPEN),
        ("acl p proto NONE\nhttp_access deny !p\nhttp_access deny p", AuditVerdict.CLOSED),
        ("acl kr dstdomain .co.kr\nhttp_access allow kr", AuditVerdict.OPEN),
        ("acl bad dstdom_regex elsewhere\nhttp_access deny bad\nhttp_access allow all", AuditVerdict.OPEN),
        ("acl bad url_regex exampl\nhttp_access deny bad\nhttp_access allow all", AuditVerdict.OPEN),
        ("acl bad dstdom_regex .\nhttp_access deny bad\nhttp_access allow all", AuditVerdict.CLOSED),
        ("acl m clientside_mark 7\nhttp_access allow m", AuditVerdict.UNKNOWN),
    ],
)
def test_what_an_acl_comes_to(lines: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, PORT + lines).verdict is verdict


def test_what_is_denied_to_one_host_is_asked_for_at_another() -> None:
    text = PORT + "acl bad dstdom_regex elsewhere\nhttp_access deny bad\nhttp_access allow all\n"
    witnesses = [one.witness for one in audited(SERVER, text).findings]
    assert len(witnesses) == 2
    assert not any(" elsewhere.example" in witness for witness in witnesses)


def test_a_scheme_is_told_in_the_witness() -> None:
    finding = only(audited(SERVER, PORT + "acl p proto FTP\nhttp_access allow p\n"))
    assert finding.witness.endswith("by GET ftp")


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("http_access allow a\nacl a src all", 2),
        ("http_access allow all\ncache deny nosuch", 3),
        ("acl a any-of nosuch\nhttp_access allow all", 2),
        ("acl a any-of a !a\nhttp_access allow a", 2),
    ],
)
def test_an_acl_is_defined_above_where_it_is_used_or_squid_is_down(lines: str, line: int) -> None:
    finding = only(audited(SERVER, PORT + lines))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.DOWN, "sq-syntax", line)


def test_what_was_not_read_may_define_it() -> None:
    text = PORT + "include /etc/squid/missing.conf\nhttp_access allow own\nhttp_access deny all\n"
    assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    ("port", "verdict"),
    [
        ("http_port 80 accel allow-direct", AuditVerdict.OPEN),
        ("http_port 80 accel allow-direct defaultsite=www.example.org", AuditVerdict.OPEN),
        ("http_port 80 accel allow-direct no-vhost defaultsite=www.example.org", AuditVerdict.CLOSED),
        ("http_port 80 accel\ncache_peer 192.0.2.9 parent 3128 0 no-query", AuditVerdict.OPEN),
        ("http_port 80 accel no-vhost\ncache_peer 192.0.2.9 parent 3128 0 no-query", AuditVerdict.CLOSED),
        ("http_port 80 accel", AuditVerdict.CLOSED),
        ("http_port 80 vhost", AuditVerdict.CLOSED),
    ],
)
def test_accelerators_take_the_host_of_the_request_unless_told_otherwise(
    port: str, verdict: AuditVerdict
) -> None:
    report = audited(SERVER, f"{port}\nhttp_access allow all\n")
    assert report.verdict is verdict
    assert all("CONNECT" not in finding.witness for finding in report.findings)  # 405


def test_ports_in_a_file_are_asked_for_too() -> None:
    files = {
        "/etc/squid/squid.conf": PORT + 'acl own port "/etc/squid/ports"\nhttp_access allow CONNECT own\n',
        "/etc/squid/ports": "8443\n",
    }
    finding = only(audited(SERVER, files))
    assert finding.witness.endswith(":8443 by CONNECT")


@pytest.mark.parametrize(
    "line",
    [
        "http_access deny to_localhost",
        "icp_access allow all\nhtcp_access allow all\nsnmp_access allow all",
    ],
)
def test_what_lets_nobody_through_by_itself(line: str) -> None:
    assert audited(SERVER, f"{PORT}{line}\nhttp_access deny all\n").verdict is AuditVerdict.CLOSED


def test_many_addresses_in_one_acl_do_not_hold_it_up() -> None:
    addresses = "".join(f"acl a src 10.{n >> 8}.{n & 255}.0/24\n" for n in range(5000))
    begun = time.perf_counter()
    assert audited(SERVER, PORT + addresses + "http_access allow a\n").verdict is AuditVerdict.CLOSED
    assert time.perf_counter() - begun < 10
    report = audited(SERVER, PORT + addresses + "acl a src 0.0.0.0/1\nhttp_access allow a\n")
    assert seen(report)[0][1] == "sq-acl-wide"
