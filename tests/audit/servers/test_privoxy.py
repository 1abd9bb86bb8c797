"""Privoxy: every row of the field's matrix, access lines, action files, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import Files, audited, mended_texts, mending, seen

from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.mending import Mended
from relaywatch.audit.servers.privoxy import SERVER

HEARD = "confdir /etc/privoxy\nlisten-address  :8118\n"
MAIN = "/etc/privoxy/config"


def told(text: str, **others: str) -> ServerReport:
    return audited(SERVER, files(text, **others))


def files(text: str, **others: str) -> Files:
    return {MAIN: text, **{f"/etc/privoxy/{name}.action": more for name, more in others.items()}}


def test_a_reachable_address_without_access_lines_is_open() -> None:
    report = told(HEARD)
    assert seen(report)[0] == ("open", "pv-no-access", 2)
    assert report.findings[0].witness.endswith(":25 by CONNECT")
    assert report.findings[0].advisory == "RW-2005"


@pytest.mark.parametrize(
    "lines",
    [
        "permit-access 127.0.0.1\n",
        "permit-access 198.51.100.0/24  # ours\n",
        "deny-access 10.0.0.1\n",
        "permit-access 0.0.0.0/0\ndeny-access 0.0.0.0/0\n",
        "permit-access host.example.org\npermit-access 127.0.0.1\n",
        "permit-access 0.0.0.0/0 192.0.2.1\n",
        "permit-access 0.0.0.0/0 www.example.org\ndeny-access 10.0.0.1\n",
        "permit-access 0.0.0.0/0\ndeny-access 0.0.0.0/0 10.0.0.0/8\n",
        "permit-access 0.0.0.0\n",
        "permit-access [::1]\n",
        "permit-access [::]/64\n",
        "permit-access 10.0.0.0/255.0.0.0:80 0.0.0.0/0:443\n",
        "permit-access [2001:db8::]/32\n",
        "permit-access 192.0.2.1:80\n",
    ],
)
def test_any_access_line_refuses_by_default_and_the_last_that_fits_decides(lines: str) -> None:
    assert told(HEARD + lines).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "line",
    [
        "permit-access 0.0.0.0/0",
        "deny-access 0.0.0.0/0\npermit-access 0.0.0.0/0",
        "permit-access [::]/0",
        "permit-access 0/0",
        "permit-access 0.0.0.0/0.0.0.0",
        "permit-access 0.0.0.0/0:80",
        "permit-access 0.0.0.0/0 0.0.0.0:80/0",
        "permit-access 0.0.0.0:80/0",
        "permit-access 0.0.0.0/0 0.0.0.0/0",
    ],
)
def test_wide_permits_are_found_at_their_line(line: str) -> None:
    report = told(HEARD + line + "\n")
    assert report.verdict is AuditVerdict.OPEN
    assert {rule for _, rule, _ in seen(report)} == {"pv-permit-wide"}


@pytest.mark.parametrize(
    "line",
    [
        "permit-access ::1",
        "permit-access 2001:db8::/32",
        "permit-access 127.0.0.1, 10.0.0.0/8",
        "permit-access 10.0.0.0-10.0.0.255",
        "permit-access 127.0.0.1/x",
        "permit-access 127.0.0.1 10.0.0.1 10.0.0.2",
        "permit-access 1.2.3.4.5",
        "permit-access [10.0.0.1]",
        "permit-access 256.0.0.1",
        "deny-access",
    ],
)
def test_a_line_that_it_cannot_read_is_passed_over_and_leaves_it_open(line: str) -> None:
    assert seen(told(f"{HEARD}{line}\n"))[0] == ("open", "pv-unread-access", 3)
    assert told(f"{HEARD}{line}\npermit-access 127.0.0.1\n").verdict is AuditVerdict.CLOSED
    outcome = mending(SERVER, files(f"{HEARD}{line}\n"), allowed=("10.1.0.0/16", "2001:db8::/32"))
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert "+permit-access  10.1.0.0/16\n+permit-access  [2001:db8::]/32\n" in outcome.diff


@pytest.mark.parametrize(
    "lines",
    [
        "permit-access host.example.org",  # which nobody may be able to resolve: then it is passed over
        "permit-access 127.0.0.1 www.example.org",
        "permit-access host.example.org/0\npermit-access 127.0.0.1",
        "permit-access 198.51.100.0/255.0.255.0",
        "permit-access [::]/0.0.0.0",
        "permit-access 198.51.100.7/0.0.0.255",
        "permit-access 0.0.0.0/0 host.example.org/8\npermit-access 10.0.0.0/8",
        "permit-access 0.0.0.0/0 10.0.0.0/8\nforward / 10.0.0.5:3128",
        "permit-access 0.0.0.0/0 10.0.0.0/8\nforward-socks5 / 10.0.0.5:1080 .",
    ],
)
def test_what_hangs_on_names_or_on_the_next_proxy_is_unknown(lines: str) -> None:
    assert told(f"{HEARD}{lines}\n").verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ("permit-access 198.0.0.0/8", "from 198.0.0.0/8"),
        ("permit-access [::ffff:198.0.0.0]/104", "from 198.0.0.0/8"),
        ("permit-access [c600::]/64\n", ""),
        ("permit-access [c600::]/8\n", "from 198.0.0.0/8"),
        ("permit-access 32.0.0.0/8\ndeny-access [::ffff:32.0.0.0]/104", "from 2000::/8"),
    ],
)
def test_octets_of_the_other_family_are_compared_too(lines: str, client: str) -> None:
    report = told(f"{HEARD}{lines}\n")
    witnesses = [finding.witness for finding in report.findings]
    assert report.verdict is (AuditVerdict.OPEN_IF if client else AuditVerdict.CLOSED)
    assert not client or any(client in one for one in witnesses)


def test_limit_connect_keeps_mail_from_connect_and_not_from_get() -> None:
    limited = "{+limit-connect{443}}\n/\n"
    report = told(HEARD + "actionsfile user.action\n", user=limited)
    assert "by CONNECT" in report.findings[0].witness
    assert ":443" in report.findings[0].witness
    undone = told(HEARD + "actionsfile user.action\n", user=limited + "{-limit-connect}\n/\n")
    assert ":25 by CONNECT" in undone.findings[0].witness
    for ports in ("-", "1-", "-25", "25, 443,,", "x"):
        report = told(HEARD + "actionsfile user.action\n", user=f"{{+limit-connect{{{ports}}}}}\n/\n")
        assert (":25 by CONNECT" in report.findings[0].witness) == (ports != "x")


def test_actions_for_some_urls_or_under_aliases_are_not_for_all() -> None:
    text = "{{alias}}\n+x = +limit-connect{443}\n{+limit-connect{443}}\n.example.org\n{+add-header{x}}\n/\n"
    report = told(HEARD + "actionsfile user.action\nactionsfile\n", user=text)
    assert ":25 by CONNECT" in report.findings[0].witness


def test_a_block_of_everything_holds_if_it_is_enforced() -> None:
    blocked = "{+block{all}}\n/\n"
    text = HEARD + "actionsfile user.action\n"
    assert told(text + "enforce-blocks 1\n", user=blocked).verdict is AuditVerdict.CLOSED
    report = told(text + "enforce-blocks 0\n", user=blocked)
    assert report.verdict is AuditVerdict.OPEN
    assert "pv-not-enforced" in [cause.rule for cause in report.findings[0].causes]
    assert told(text + "enforce-blocks 1\n", user=blocked + "{-block}\n/\n").verdict is AuditVerdict.OPEN


@pytest.mark.parametrize(
    ("actions", "verdict", "destination"),
    [
        ("{+block{x}}\n.*\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n/.*\n", AuditVerdict.CLOSED, ""),
        ("{ +block{ x -block } }\n/\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n*\n", AuditVerdict.OPEN, ":25 by CONNECT"),
        ("{+block{x}}\n*/\n", AuditVerdict.OPEN, ":25 by CONNECT"),
        ("{+block{x}}\n/\n{-block}\n.com\n", AuditVerdict.OPEN, "elsewhere.com:25 by CONNECT"),
        ("{+block{x}}\n/\n{-block}\nwww.\n", AuditVerdict.OPEN, "www.elsewhere.example:25 by CONNECT"),
        ("{+block{x}}\n/\n{-block}\n/a\n", AuditVerdict.OPEN, "elsewhere.example:25 by GET"),
        ("{+block{x}}\n/\n{-block}\nwww.example.org\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n/\n{-block}\n.example.org\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n/\n{-block}\n.com\n{+block{y}}\n.com\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n/\n{-block}\n.com\n{+block{y}}\n/\n", AuditVerdict.CLOSED, ""),
        ("{+block{x}}\n/\n{-block}\nTAG:^x$\n", AuditVerdict.UNKNOWN, ""),
        ("{+block{x}}\n/\n{-block}\n*.example.org\n", AuditVerdict.UNKNOWN, ""),
        ("{{alias}}\nFine = also\nalso = -block\n{+block{x}}\n/\n{ fine }\n/\n", AuditVerdict.OPEN, ":25"),
        ("{{alias}}\na = b\nb = a\n{+block{x} a}\n/\n", AuditVerdict.CLOSED, ""),
        ("{{settings}}\nfor-privoxy-version=3.0\n{+block{x}}\n/\n", AuditVerdict.CLOSED, ""),
    ],
)
def test_a_block_of_everything_and_what_is_left_of_it(
    actions: str, verdict: AuditVerdict, destination: str
) -> None:
    text = HEARD + "actionsfile /etc/privoxy/user.action\nenforce-blocks 1\n"
    report = told(text, user=actions)
    assert report.verdict is verdict
    assert not destination or destination in report.findings[0].witness


def test_actions_that_are_switched_off_block_nothing() -> None:
    text = HEARD + "actionsfile user.action\nenforce-blocks 1\n"
    blocked = "{+block{all}}\n/\n"
    assert told(text + "toggle 0\n", user=blocked).verdict is AuditVerdict.OPEN
    assert told(text + "toggle 1\nenable-remote-http-toggle 1\n", user=blocked).verdict is AuditVerdict.CLOSED
    assert told(text + "enable-edit-actions 1\n", user=blocked).verdict is AuditVerdict.UNKNOWN
    report = told(text + "enable-remote-toggle 1\n", user=blocked)
    assert [cause.rule for cause in report.findings[0].causes][:2] == ["pv-no-access", "pv-toggle"]


def test_intercepted_requests_go_where_the_host_field_says() -> None:
    report = told(HEARD + "accept-intercepted-requests 1\n")
    assert ("open", "pv-intercepted", 3) in seen(report)
    assert told(HEARD + "accept-intercepted-requests 0\n").findings[-1].rule == "pv-no-access"


def test_a_missing_action_file_is_told() -> None:
    report = told(HEARD.replace("/etc/privoxy", ".") + "permit-access 127.0.0.1\nactionsfile gone.action\n")
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize(
    "text",
    ["", "listen-address 127.0.0.1:8118\n", "listen-address localhost:8118\nlisten-address [::1]:8118\n"],
)
def test_loopback_is_the_default_and_out_of_reach(text: str) -> None:
    assert told(text).verdict is AuditVerdict.CLOSED


def test_toggles_lead_nowhere_and_a_trust_file_is_not_evaluated() -> None:
    report = told(HEARD + "permit-access 127.0.0.1\nenable-remote-toggle 1\nenable-edit-actions 0\n")
    assert report.verdict is AuditVerdict.CLOSED
    assert len(report.gaps) == 1
    assert told(HEARD + "trustfile trust\n").verdict is AuditVerdict.UNKNOWN


def test_unreadable_files() -> None:
    assert told("\x00").verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize("lines", ["", "permit-access 0.0.0.0/0\n", "accept-intercepted-requests 1\n"])
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16",), ("2001:db8::/32",)])
def test_mending_closes_it_and_keeps_the_owners_networks(lines: str, allowed: tuple[str, ...]) -> None:
    outcome: Mended = mending(SERVER, files(HEARD + lines), allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    written = [network.replace("2001:db8::", "[2001:db8::]") for network in allowed]
    assert all(f"permit-access  {network}" in outcome.diff for network in written)


def test_mending_writes_little() -> None:
    assert mended_texts(SERVER, files(HEARD)) == {
        MAIN: "confdir /etc/privoxy\nlisten-address  127.0.0.1:8118\n"
    }
    blocked = files(HEARD + "actionsfile user.action\n", user="{+block{all}}\n/\n")
    assert mending(SERVER, blocked).after


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "permit-access",
                "deny-access",
                "0.0.0.0/0",
                "/",
                ":",
                "[",
                "]",
                "listen-address",
                "10.0.0.0/8",
                "\n",
            ]
        ),
        max_size=20,
    ).map(" ".join)
    | st.text(max_size=100)
)
def test_nothing_makes_it_fail(text: str) -> None:
    told(HEARD + "actionsfile user.action\n" + text, user=text)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(["permit-access 0.0.0.0/0", "permit-access 10.0.0.0/8", "deny-access 0.0.0.0/0"]),
        max_size=5,
    ).map("\n".join)
)
def test_a_last_deny_of_everybody_closes(lines: str) -> None:
    assert told(f"{HEARD}{lines}\ndeny-access 0.0.0.0/0\ndeny-access ::/0\n").verdict is AuditVerdict.CLOSED
