"""IIS SMTP: relay lists as published examples have them, in the metabase and as WMI gives them."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.auditing import audited, seen

from relaywatch.audit.auditing import audit
from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.iis_smtp import SERVER

PUBLISHED = (
    "24.0.0.128 32.0.0.128 60.0.0.128 68.0.0.128 1.0.0.0 76.0.0.0 0.0.0.0 0.0.0.0 1.0.0.0 1.0.0.0 2.0.0.0 2.0.0.0"
    " 4.0.0.0 0.0.0.0 76.0.0.128 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 255.255.255.255 127.0.0.1"
)
"""For 127.0.0.1 alone, as Salt's module for IIS SMTP prints it."""
LOOPBACK = bytes(int(octet) for word in PUBLISHED.split() for octet in word.split("."))
NOBODY = LOOPBACK[:36] + pack("<3I", 0, 2, 1) + LOOPBACK[48:-4]
"""Only the list below, with a mask and nobody in it: where published scripts begin."""
Network = tuple[str, str]


def blob(
    granted: tuple[Network, ...] = (), denied: tuple[Network, ...] = (), names: int = 0, family: int = 2
) -> bytes:
    """A list made as that one is: each network a part of its own."""
    deny_at = 24
    grant_at = deny_at + 8 + 20 * len(denied)
    names_at = grant_at + 8 + 20 * len(granted)
    data_at = names_at + 16
    places = [data_at + 8 * number for number in range(len(denied) + len(granted))]
    header = pack("<6I", *(0x80000000 | at for at in (deny_at, grant_at, names_at, names_at + 8)), 1, data_at)
    lists = b""
    for networks, ats in ((denied, places[: len(denied)]), (granted, places[len(denied) :])):
        lists += pack("<2I", len(networks), len(networks))
        lists += b"".join(pack("<5I", family, 2, 4, 0, 0x80000000 | at) for at in ats)
    data = b"".join(IPv4Address(mask).packed + IPv4Address(host).packed for host, mask in (*denied, *granted))
    return header + lists + pack("<4I", names, names, 0, 0) + data


def metabase(listed: bytes | str | None, more: str = "") -> str:
    text = listed.hex() if isinstance(listed, bytes) else listed
    said = "" if text is None else f'\n RelayIpList="{text}"'
    return f'<MBProperty>\n<IIsSmtpServer Location ="/LM/SmtpSvc/1"{said}>\n</IIsSmtpServer>\n{more}</MBProperty>\n'


def test_the_list_is_made_as_the_published_one() -> None:
    assert blob(granted=(("127.0.0.1", "255.255.255.255"),)) == LOOPBACK


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, []),
        (LOOPBACK, []),
        ("", [("open", "iis-relay-all", 2)]),
        (blob(), [("open", "iis-relay-all", 2)]),
        (blob(denied=(("192.0.2.1", "255.255.255.255"),)), [("open", "iis-relay-all", 2)]),
        (blob(granted=(("0.0.0.0", "0.0.0.0"),)), [("open", "iis-relay-all", 2)]),
        (
            blob(granted=(("192.0.2.0", "255.255.255.0"), ("203.0.0.0", "255.0.0.0"))),
            [("open-if", "iis-relay-all", 2)],
        ),
        (blob(granted=(("0.0.0.0", "255.255.255.255"),)), []),
        (blob(granted=(("192.0.2.0", "255.255.255.0"),), names=1), [("unknown", "iis-relay-list", 2)]),
        (blob(granted=(("192.0.2.0", "255.255.255.0"),), family=23), [("unknown", "iis-relay-list", 2)]),
        (blob(granted=(("192.0.2.0", "255.0.255.0"),)), [("unknown", "iis-relay-list", 2)]),
        (NOBODY, []),
        (LOOPBACK[:60], [("unknown", "iis-relay-list", 2)]),
        (bytes(24), [("unknown", "iis-relay-list", 2)]),
        ("18000080", [("unknown", "iis-relay-list", 2)]),
        ("no octets", [("unknown", "iis-relay-list", 2)]),
        (pack("<6I", 24, 24, 24, 24, 1, 28) + pack("<I", 9_999), [("unknown", "iis-relay-list", 2)]),
    ],
)
def test_rows(listed: bytes | str | None, expected: list[tuple[str, str, int]]) -> None:
    told = audited(SERVER, metabase(listed))
    assert seen(told) == expected
    assert told.services[0].name == "/LM/SmtpSvc/1"


def test_the_services_list_is_inherited() -> None:
    service = '<IIsSmtpService Location="/LM/SmtpSvc" RelayIpList=""></IIsSmtpService>\n'
    assert audited(SERVER, metabase(None, service)).verdict is AuditVerdict.OPEN
    assert audited(SERVER, metabase(LOOPBACK, service)).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, "<MBProperty/>\n").verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    ("domain", "verdict"),
    [("*.com", "unknown"), ("*", "unknown"), ("*.example.org", "closed"), ("a.example", "closed")],
)
def test_a_remote_domain(domain: str, verdict: str) -> None:
    more = f'<IIsSmtpDomain Location="/LM/SmtpSvc/1/Domain/{domain}" RouteAction="1"></IIsSmtpDomain>\n'
    assert audited(SERVER, metabase(LOOPBACK, more)).verdict == verdict


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, []),
        (list(LOOPBACK), []),
        ([], [("open", "iis-relay-all", 3)]),
        (list(blob(granted=(("0.0.0.0", "0.0.0.0"),))), [("open", "iis-relay-all", 3)]),
        (10**15, [("unknown", "iis-relay-list", 3)]),
        ([999], [("unknown", "iis-relay-list", 3)]),
        ("24 0 0 128", [("unknown", "iis-relay-list", 3)]),
    ],
)
def test_as_wmi_gives_it(listed: object, expected: list[tuple[str, str, int]], tmp_path: Path) -> None:
    text = json.dumps({"Name": "SmtpSvc/1", "RelayIpList": listed}, indent=1)
    assert seen(audited(SERVER, {"/copy/smtp.json": text})) == expected
    (tmp_path / "smtp.json").write_bytes(text.encode("utf-16"))
    assert [seen(one) for one in audit([tmp_path])] == [expected]


def test_json_that_is_none() -> None:
    assert audited(SERVER, {"/copy/smtp.json": '{"RelayIpList": ['}).verdict is AuditVerdict.UNKNOWN


@given(st.binary(max_size=160))
def test_no_list_makes_it_stumble(octets: bytes) -> None:
    audited(SERVER, metabase(octets))
