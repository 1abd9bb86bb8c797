"""sshd: accounts without a password, what is forwarded for them, Match and Include, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, only

from relaywatch.audit.findings import AuditVerdict, GapKind, ServerReport
from relaywatch.audit.servers.openssh import SERVER

MAIN = "/etc/ssh/sshd_config"
EMPTY = "PermitEmptyPasswords yes\nUsePAM no\n"
SHADOW = "root:*:1:::::::\nguest::1:::::::\nbroken\n"


def told(text: str, shadow: str | None = SHADOW) -> ServerReport:
    return audited(SERVER, {MAIN: text, **({"/etc/shadow": shadow} if shadow is not None else {})})


def test_an_account_without_a_password_forwards_by_default() -> None:
    finding = only(told(EMPTY))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ss-empty-password", 1)
    assert finding.advisory == "RW-2014"
    assert finding.witness.endswith(":25 as guest")
    assert "/etc/shadow:2" in [str(cause.position) for cause in finding.causes]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nX11Forwarding yes\nAllowTcpForwarding yes\n",
        EMPTY + "AllowTcpForwarding no\n",
        EMPTY + "AllowTcpForwarding remote\n",
        EMPTY + "DisableForwarding yes\n",
        EMPTY + "PermitOpen none\n",
        EMPTY + "PermitOpen www.example.org:443\n",
        EMPTY + "DenyUsers guest@*\n",
        EMPTY + "PasswordAuthentication no\n",
        EMPTY + "AllowUsers alice bob@192.0.2.1\n",
        EMPTY + "DenyUsers gu*\n",
        EMPTY + "Match User guest\n  AllowTcpForwarding no\n",
        EMPTY + "Match All\n  DisableForwarding yes\n",
        EMPTY + "Match Address *\n  PermitEmptyPasswords no\n",
        "PermitEmptyPasswords no\nPermitEmptyPasswords yes\n",
        "Match Address 10.0.0.0/8\nPermitEmptyPasswords yes\n",
        "Match User=alice\nPermitEmptyPasswords yes\n",
        "Match User !guest,*\nPermitEmptyPasswords yes\n",
        "Match Address host.example.org\nPermitEmptyPasswords yes\n",
        EMPTY + "ListenAddress 127.0.0.1\nListenAddress [::1]:22\n",
    ],
)
def test_what_keeps_strangers_out(text: str) -> None:
    assert told(text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "text",
    [
        EMPTY + "PermitOpen *:25\n",
        EMPTY + "PermitOpen www.example.org:443 *:22\n",
        EMPTY + "PermitOpen *:6667\n",
        EMPTY.replace("yes", "Yes"),
        EMPTY + "PermitOpen any\n",
        EMPTY + "PermitOpen *:443\n",
        EMPTY + "PermitOpen *:*\n",
        EMPTY + "AllowTcpForwarding local\n",
        EMPTY + "AllowTcpForwarding = yes # why\n",
        EMPTY + "AllowUsers guest\nAuthenticationMethods any\n",
        EMPTY + "Match User alice\nAllowTcpForwarding no\n",
        EMPTY + "Match Address 10.0.0.0/8\nAllowTcpForwarding no\n",
        "Match User gu*\nPermitEmptyPasswords yes\n",
        "PermitEmptyPasswords no\nMatch all\nPermitEmptyPasswords yes\n",
        EMPTY + 'ListenAddress 0.0.0.0\nPort 2222\nBanner "a b"\n',
    ],
)
def test_ways_in(text: str) -> None:
    report = told(text)
    assert report.verdict is AuditVerdict.OPEN
    assert report.findings[0].rule == "ss-empty-password"


def test_root_has_a_setting_of_its_own() -> None:
    shadow = "root::1:::::::\n"
    assert told(EMPTY, shadow).verdict is AuditVerdict.CLOSED
    assert told(EMPTY + "PermitRootLogin yes\n", shadow).verdict is AuditVerdict.OPEN


def test_no_account_without_a_password_and_no_list_of_accounts() -> None:
    assert told(EMPTY, "root:*:1\nalice:$y$x:1\n").verdict is AuditVerdict.CLOSED
    report = told(EMPTY, None)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps[0].kind is GapKind.MISSING
    assert told(EMPTY + "AllowTcpForwarding no\n", None).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "line",
    [
        "UsePAM yes",
        "PasswordAuthentication no\nUsePAM yes",
        "AllowGroups a",
        "AllowUsers guest@192.0.2.*",
        "DenyUsers guest@198.51.100.0/24",
        "Match Address 198.*\nPermitEmptyPasswords no",
        "Match Address 10.0.0.0/8\nAllowUsers bob",
        "DenyGroups b",
        "AuthenticationMethods password",
        "Match Group a\nAllowTcpForwarding no",
    ],
)
def test_what_is_not_evaluated_is_unknown(line: str) -> None:
    text = line + "\nPermitEmptyPasswords yes\n" if not line.startswith("Match") else EMPTY + line + "\n"
    assert told(text).verdict is AuditVerdict.UNKNOWN


def test_includes_are_followed() -> None:
    files = {
        MAIN: "Include sshd_config.d/*.conf gone.conf\nPermitEmptyPasswords no\n",
        "/etc/ssh/sshd_config.d/lab.conf": EMPTY,
        "/etc/shadow": SHADOW,
    }
    finding = only(audited(SERVER, files))
    assert finding.file == "/etc/ssh/sshd_config.d/lab.conf"
    loop = audited(SERVER, {MAIN: "Include /etc/ssh/sshd_config\n"})
    assert loop.gaps[0].kind is GapKind.LOOP


def test_a_match_in_an_included_file_holds_within_the_match_above_the_include() -> None:
    files = {
        MAIN: "Match Address 10.0.0.0/8\nInclude sshd_config.d/own.conf\n",
        "/etc/ssh/sshd_config.d/own.conf": "Match User guest\nPermitEmptyPasswords yes\n",
        "/etc/shadow": SHADOW,
    }
    assert audited(SERVER, files).verdict is AuditVerdict.CLOSED


def test_bad_lines() -> None:
    report = told("!?\n")
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps[0].kind is GapKind.SYNTAX
    assert told("\x00").verdict is AuditVerdict.UNKNOWN


def test_mending_says_no() -> None:
    files = {MAIN: "  PermitEmptyPasswords yes # hm\nUsePAM no\n", "/etc/shadow": SHADOW}
    assert mended_texts(SERVER, files) == {MAIN: "  PermitEmptyPasswords no\nUsePAM no\n"}


WORDS = st.sampled_from(
    [
        "Match",
        "User",
        "guest",
        "all",
        "Include",
        "*",
        "PermitOpen",
        "*:25",
        "none",
        "\n",
        '"',
        "#",
        "=",
        "yes",
        "Address",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    told(EMPTY + text)


@pytest.mark.parametrize("name", ["KbdInteractiveAuthentication", "ChallengeResponseAuthentication"])
def test_pam_asks_for_no_password_either_where_its_dialogue_is_off(name: str) -> None:
    asked = f"PermitEmptyPasswords yes\nPasswordAuthentication no\nUsePAM yes\n{name} no\n"
    assert told(asked).verdict is AuditVerdict.CLOSED
