"""coturn: credentials, what is relayed, peers, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.coturn import SERVER

HEAD = "# a comment\nrealm=example.org\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no-auth\n", 3),
        ("no-auth=true\n", 3),
        ("", 0),  # as coturn 4.6.1 does it
        ("lt-cred-mech=0\n", 0),
        ("-z\n", 3),
        ("oauth\n", 0),  # seen with 4.6.1, as are those below
        ("lt-cred-mech\nlt-cred-mech=false\n", 0),
        ("no-auth\nno-auth=false\n", 0),
        ("no-auth\nlistening-ip=127.0.0.1\naux-server=192.0.2.30:3478\n", 3),
    ],
)
def test_without_credentials_it_is_open_for_udp_and_tcp(text: str, line: int) -> None:
    report = audited(SERVER, HEAD + text)
    assert seen(report) == [("open", "tu-no-auth", line), ("open", "tu-tcp", line)]
    assert [finding.advisory for finding in report.findings] == ["RW-2016", "RW-2017"]


@pytest.mark.parametrize(
    "text",
    [
        "lt-cred-mech\n",
        "use-auth-secret\nstatic-auth-secret=x\n",
        "static-auth-secret=x\n",
        "user=a:b\n",
        "no-auth\nlistening-ip=127.0.0.1\naux-server=127.0.0.1:3479\n",
        "no-auth=false\nlt-cred-mech\n",
        "no-auth\nstun-only\n",
        "no-auth\nno-udp-relay\nno-tcp-relay\n",
        "no-auth\nlistening-ip=127.0.0.1\nlistening-ip=::1\n",
        "no-auth\ndenied-peer-ip=0.0.0.0-255.255.255.255\ndenied-peer-ip=::/0\n",
        "no-auth\ndenied-peer-ip=0.0.0.0/0\ndenied-peer-ip=::/0\nallowed-peer-ip=192.0.2.1\n",
    ],
)
def test_what_keeps_strangers_out(text: str) -> None:
    assert audited(SERVER, HEAD + text).verdict is AuditVerdict.CLOSED


def test_what_is_switched_off_is_not_found() -> None:
    assert seen(audited(SERVER, HEAD + "no-auth\nno-tcp-relay\n")) == [("open", "tu-no-auth", 3)]
    assert seen(audited(SERVER, HEAD + "no-auth\nno-udp-relay\n")) == [("open", "tu-tcp", 3)]


def test_peers_that_are_denied_leave_others() -> None:
    private = "denied-peer-ip=10.0.0.0-10.255.255.255\ndenied-peer-ip=x-y\ndenied-peer-ip=10.0.0.1-fd00::1\n"
    assert audited(SERVER, HEAD + "no-auth\n" + private).verdict is AuditVerdict.OPEN
    wide = "denied-peer-ip=0.0.0.0/0\ndenied-peer-ip=::/0\nallowed-peer-ip=198.0.0.0/8\n"
    report = audited(SERVER, HEAD + "no-auth\n" + wide)
    assert report.verdict is AuditVerdict.OPEN
    assert "198.0.0.0/8" in report.findings[0].witness
    assert audited(SERVER, HEAD + "no-auth\ndenied-peer-ip=0.0.0.0/0\n").verdict is AuditVerdict.OPEN


def test_loopback_peers_are_told() -> None:
    report = audited(SERVER, HEAD + "no-auth\nallow-loopback-peers\n")
    assert "allow-loopback-peers" in report.gaps[0].subject


def test_both_at_once_keep_it_down() -> None:
    for other in ("lt-cred-mech", "use-auth-secret", "static-auth-secret=x"):
        finding = only(audited(SERVER, f"{HEAD}{other}\nno-auth\n"))
        assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.DOWN, "tu-both", 4)


@pytest.mark.parametrize("text", ["no-auth\n", "", "no-auth\nlt-cred-mech\n", "no-auth\nno-udp-relay\n"])
def test_mending_demands_credentials(text: str) -> None:
    assert mending(SERVER, HEAD + text).report.verdict is AuditVerdict.CLOSED


def test_mending_writes_little() -> None:
    assert mended_texts(SERVER, HEAD + "no-auth\n") == {"/etc/turnserver.conf": HEAD + "lt-cred-mech\n"}
    assert mended_texts(SERVER, HEAD) == {"/etc/turnserver.conf": HEAD + "lt-cred-mech\n"}


def test_unreadable_files() -> None:
    assert audited(SERVER, "\x00").verdict is AuditVerdict.UNKNOWN


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["denied-peer-ip=", "0.0.0.0", "-", "no-auth", "user", "=", "\n", "::"]), max_size=20
    ).map("".join)
    | st.text(max_size=100)
)
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, HEAD + text)
