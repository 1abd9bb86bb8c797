"""WinGate's registry: its services are named, and never told closed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.wingate import SERVER
from relaywatch.audit.text import SourceFile

ROOT = "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Qbik Software\\WinGate"
EXPORT = (
    "Windows Registry Editor Version 5.00\n\n"
    f'{ROOT}]\n"Version"="3"\n\n'
    f'{ROOT}\\Services\\WWW Proxy server]\n"Port"=dword:00000050\n"Policies"=hex:00,01\n\n'
    f'{ROOT}\\Services\\SOCKS Proxy server]\n"Port"="1080"\n\n'
    f"{ROOT}\\Services\\Telnet Proxy server]\n\n"
    f'{ROOT}\\Services\\DHCP]\n"Port"="67"\n'
)


def test_services_are_named_and_nobody_knows_whom_they_serve() -> None:
    report = audited(SERVER, EXPORT)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert seen(report) == [
        ("unknown", "wg-proxy", 6),
        ("unknown", "wg-socks", 10),
        ("unknown", "wg-telnet", 13),
    ]
    assert [service.name for service in report.services] == [
        "WWW Proxy server *:80",
        "SOCKS Proxy server *:1080",
        "Telnet Proxy server",
    ]
    assert not mending(SERVER, EXPORT).after


def test_it_is_never_closed() -> None:
    for text in (f"{ROOT}]\n", "", f"{ROOT}\\Services\\DHCP]\n"):
        assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN


def test_an_export_in_utf_16_is_known() -> None:
    (mark,) = SERVER.marks
    assert mark.holds is not None
    source = SourceFile.of("wingate.reg", b"\xff\xfe" + EXPORT.replace("\n", "\r\n").encode("utf-16-le"))
    assert mark.holds.search(source.text)
    assert not mark.holds.search("[HKEY_LOCAL_MACHINE\\SOFTWARE\\Other]\n")


@given(st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    assert audited(SERVER, EXPORT + text).verdict is AuditVerdict.UNKNOWN
