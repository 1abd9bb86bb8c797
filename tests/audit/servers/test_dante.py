"""Dante: every row of the field's matrix, rules in their order, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.dante import SERVER

HEAD = "internal: 0.0.0.0 port = 1080\nexternal: eth0\n"
NONE = HEAD + "socksmethod: none\nclientmethod: none\n"
CLIENTS = "client pass { from: 0/0 to: 0/0 }\n"
SOCKS = "socks pass { from: 0/0 to: 0/0 }\n"


def test_none_for_everybody_is_open_in_every_way() -> None:
    report = audited(SERVER, NONE + CLIENTS + SOCKS)
    assert seen(report) == [("open", "da-connect", 5), ("open", "da-bind", 5), ("open", "da-udp", 5)]
    assert [finding.advisory for finding in report.findings] == ["RW-2008", "RW-2009", "RW-2010"]
    assert ":25 by SOCKS connect" in report.findings[0].witness
    assert [cause.rule for cause in report.findings[0].causes] == ["da-connect", "da-socks-wide", "da-none"]


def test_none_beside_a_password_is_open_for_the_client_picks() -> None:
    text = HEAD + "socksmethod: username none\n" + CLIENTS + SOCKS
    assert audited(SERVER, text).verdict is AuditVerdict.OPEN


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "socksmethod: username\n" + CLIENTS + SOCKS,
        HEAD + CLIENTS + SOCKS,
        NONE + "client pass { from: 198.51.100.0/24 to: 0/0 }\n" + SOCKS,
        NONE + SOCKS,
        NONE + CLIENTS,
        NONE + "client block { from: 0/0 to: 0/0 }\n" + CLIENTS + SOCKS,
        NONE + CLIENTS + "socks block { from: 0/0 to: 0/0 }\n" + SOCKS,
        NONE + CLIENTS + "socks pass { from: 10.0.0.0/8 to: 0/0 }\n",
        NONE + CLIENTS + "socks pass { from: 0/0 to: 192.0.2.1/32 }\n",
        NONE + CLIENTS + "socks pass { from: 0/0 to: www.example.org }\n",
        NONE + CLIENTS + "socks pass { from: eth1 to: 0/0 }\n",
        NONE + CLIENTS + "socks pass { from: 0/0 to: 0/0 command: bindreply udpreply }\n",
        HEAD
        + "socksmethod: none username\n"
        + CLIENTS
        + "socks pass { from: 0/0 to: 0/0 socksmethod: username }\n",
        NONE + CLIENTS + "socks pass { from: 0/0 to: 0/0\nuser: alice\n}\n",
        NONE + CLIENTS + "socks pass { from: 0/0 to: 0/0 protocol: x }\n",
        HEAD + "socksmethod: none\nclientmethod: gssapi\n" + CLIENTS + SOCKS,
        NONE.replace("0.0.0.0", "127.0.0.1") + CLIENTS + SOCKS,
    ],
)
def test_what_keeps_strangers_out(text: str) -> None:
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


def test_blocked_mail_leaves_the_web() -> None:
    report = audited(SERVER, NONE + CLIENTS + "socks block { from: 0/0 to: 0/0 port = 25 }\n" + SOCKS)
    assert ":443 by SOCKS connect" in report.findings[0].witness
    assert not any(":25" in finding.witness for finding in report.findings)


@pytest.mark.parametrize(
    ("rule", "witness"),
    [
        ("socks pass { from: 0/0 to: 0/0 port = 443 command: connect }", ":443"),
        ("socks pass { from: 0/0 to: 0/0 port = https command: connect }", ":443"),
        ("socks pass { from: 0/0 to: 0/0 port: 80 command: connect }", ":80"),
        ("socks pass { from: 0/0 to: 0/0 port 80-90 command: connect }", ":80"),
        ("socks pass { from: 0/0 to: 0/0 port gt 1023 command: connect }", ":1024"),
        ("socks pass { from: 0/0 to: 0/0 port ge 443 command: connect }", ":443"),
        ("socks pass { from: 0/0 to: 0/0 port lt 80 command: connect }", ":25"),
        ("socks pass { from: 0/0 to: 0/0 port le 25 command: connect }", ":25"),
        ("socks pass { from: 0/0 to: 0/0 port != 25 command: connect }", ":443"),
        ("socks pass { from: 0/0 to: 0/0 port != 443 command: connect }", ":25"),
        ("socks pass { from: 0/0 to: 0/0 port = 6667 command: connect }", ":6667"),
        ("socks pass { from: 0/0 to: 0/0 port = imap command: connect }", ":143"),
        ("socks block { from: 0/0 to: 0/0 port != 443 }\nsocks pass { command: connect }", ":443"),
        ("socks block { from: 0/0 to: 0/0 port 1-6000 }\nsocks pass { command: connect }", ":6001"),
        ("socks block { proxyprotocol: socks_v4 }\nsocks pass { command: connect }", ":25"),
        ("socks block { protocol: tcp\nproxyprotocol: http }\nsocks pass { command: connect }", ":25"),
        ("socks pass { protocol: tcp\nproxyprotocol: socks_v4 }", ":25"),
        ("socks block {\nuser: alice\n}\nsocks pass { command: connect }", ":25"),
        (
            "socksmethod: none username\nsocks block { socksmethod: username }\nsocks pass { command: connect }",
            ":25",
        ),
        ("socks block { from: 0/0 port < 1024 to: 0/0 }\nsocks pass { command: connect }", ":25"),
        ("socks pass { from: 0/0 to: . command: connect protocol: tcp }", ":25"),
        ("socks pass { from: 0/0 to: .test command: connect proxyprotocol: socks_v4 }", "elsewhere.test"),
        ("socks pass { from: 0.0.0.0/0 to: 198.0.0.0/8 command: connect }", "198.0.0.0/8"),
        ("pass {\n  from : 0/0 to : 0/0\n  command: connect\n  log: error # all\n}", ":25"),
        ("socks pass { from: 0/0 to: 0/0 method: none command: connect }", ":25"),
        ("socks pass { command: connect }", ":25"),
    ],
)
def test_where_a_rule_leads(rule: str, witness: str) -> None:
    report = audited(SERVER, NONE + CLIENTS + rule + "\n")
    assert report.verdict is AuditVerdict.OPEN
    assert seen(report)[0][1] == "da-connect"
    assert not any(one == "da-udp" for _, one, _ in seen(report))
    assert witness in report.findings[0].witness


@pytest.mark.parametrize(
    ("clients", "verdict"),
    [
        ("client block { from: 0/0 to: 127.0.0.1/32 }\n" + CLIENTS, AuditVerdict.OPEN),
        ("client block { from: 0/0 to: 192.0.2.30/32 }\n" + CLIENTS, AuditVerdict.OPEN),  # the other is left
        ("client block { from: 0/0 to: 192.0.2.0/24 }\n" + CLIENTS, AuditVerdict.CLOSED),
        ("client block { from: 0/0 to: 0/0 port = 1081 }\n" + CLIENTS, AuditVerdict.OPEN),
        ("client block { from: 0/0 port < 1024 to: 0/0 }\n" + CLIENTS, AuditVerdict.OPEN),
        ("client block { from: 0/0 to: 0/0 clientmethod: rfc931 }\n" + CLIENTS, AuditVerdict.UNKNOWN),
        ("client pass { from: 0/0 to: 127.0.0.1/32 }\n", AuditVerdict.CLOSED),
        ("client pass { from: 0/0 to: 0/0 port = 1081 }\n", AuditVerdict.CLOSED),
        ("client pass { from: 0/0 to: eth0 }\n", AuditVerdict.UNKNOWN),
        ("client block { from: 0/0 to: 0/0 hostid: 192.0.2.1 }\n" + CLIENTS, AuditVerdict.UNKNOWN),
        ("client pass { from: 0/0 to: 0/0\nsession.max: 5\nbandwidth: 9\n}\n", AuditVerdict.OPEN),
    ],
)
def test_client_rules_know_the_address_that_he_comes_to(clients: str, verdict: AuditVerdict) -> None:
    head = "internal: 192.0.2.30 port = 1080\ninternal: 192.0.2.31\nexternal: eth0\n"
    methods = "socksmethod: none\nclientmethod: none rfc931\n"
    assert audited(SERVER, head + methods + clients + SOCKS).verdict is verdict


def test_an_interface_holds_addresses_that_nobody_knows() -> None:
    text = "internal: eth0 port = 1080\nexternal: eth0\nsocksmethod: none\n"
    limited = "client pass { from: 0/0 to: 192.0.2.30/32 }\n" + SOCKS
    assert audited(SERVER, text + limited).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, NONE + limited).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, text + CLIENTS + SOCKS).verdict is AuditVerdict.OPEN
    assert (
        audited(SERVER, text.replace("internal: eth0", "internal: lo") + CLIENTS + SOCKS).verdict
        is AuditVerdict.CLOSED
    )


def test_a_rule_for_datagrams_alone() -> None:
    report = audited(
        SERVER, NONE + CLIENTS + "socks pass { from: 0/0 to: 0/0 command: udpassociate protocol: udp }\n"
    )
    assert seen(report) == [("open", "da-udp", 5)]


def test_clients_by_name_and_by_what_others_say() -> None:
    named = NONE + "client pass { from: .example.org to: 0/0 }\n" + SOCKS
    assert audited(SERVER, named).verdict is AuditVerdict.OPEN_IF
    for method in ("rfc931", "pam.address", "pam.any"):
        text = HEAD + f"socksmethod: none\nclientmethod: {method}\n" + CLIENTS + SOCKS
        assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN
    own = (
        HEAD
        + "socksmethod: none\nclientmethod: rfc931 none\nclient pass { from: 0/0 to: 0/0 clientmethod: none }\n"
    )
    assert audited(SERVER, own + SOCKS).verdict is AuditVerdict.OPEN


def test_a_port_by_a_name_that_is_not_known_is_told() -> None:
    text = NONE + CLIENTS + "socks pass { from: 0/0 to: 0/0 port = gopher }\n"
    assert audited(SERVER, text).verdict is AuditVerdict.UNKNOWN


def test_without_an_address_it_shuts_down() -> None:
    report = audited(SERVER, "internal: 0.0.0.0 port = 1080\nsocksmethod: none\n" + CLIENTS + SOCKS)
    assert seen(report) == [("down", "da-missing", 0)]
    assert audited(SERVER, "external: eth0\n").verdict is AuditVerdict.DOWN


@pytest.mark.parametrize("kind", ["socks pass", "socks block", "block"])
def test_a_rule_with_a_method_that_the_server_has_not_got_keeps_it_down(kind: str) -> None:
    rule = f"{kind} {{ from: 10.0.0.0/8 to: 0/0 socksmethod: username }}\n"
    report = audited(SERVER, HEAD + "socksmethod: none\n" + CLIENTS + SOCKS + rule)
    assert [one.rule for one in report.findings] == ["da-method"]
    assert report.verdict is AuditVerdict.DOWN
    both = audited(SERVER, HEAD + "socksmethod: none username\n" + CLIENTS + SOCKS + rule)
    assert both.verdict is AuditVerdict.OPEN


@pytest.mark.parametrize("text", ["what is this\n", "what {\n}\n", 'x: "y\n', "{\n}\n", "\x00"])
def test_what_cannot_be_read_is_told(text: str) -> None:
    report = audited(SERVER, HEAD + text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize(
    "text",
    [
        NONE + CLIENTS + SOCKS,
        NONE
        + "client pass {\n    from: 0.0.0.0/0 to: 0.0.0.0/0\n    log: error\n}\nclient pass { from: ::/0 to: ::/0 }\n"
        + SOCKS,
        HEAD + "socksmethod: username none\n" + CLIENTS + SOCKS,
    ],
)
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(text: str, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, text, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    for network in allowed or ("127.0.0.0/8",):
        assert f"client pass {{ from: {network} to: 0/0 }}" in outcome.diff


def test_mending_leaves_alone_what_it_did_not_read_wholly() -> None:
    assert mended_texts(SERVER, NONE + CLIENTS + SOCKS + "stray\n") == {}


WORDS = st.sampled_from(
    [
        "client",
        "socks",
        "pass",
        "block",
        "{",
        "}",
        "from:",
        "to:",
        "0/0",
        "port",
        "=",
        "25",
        ":",
        "gt",
        "-",
        "command:",
        "connect",
        "user:",
        '"',
        "\n",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, NONE + text)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([CLIENTS, SOCKS, "client block { from: 0/0 to: 0/0 }\n"]), max_size=5).map(
        "".join
    )
)
def test_a_block_before_all_others_closes(text: str) -> None:
    assert (
        audited(SERVER, NONE + "client block { from: 0/0 to: 0/0 }\n" + text).verdict is AuditVerdict.CLOSED
    )
