"""tinyproxy: every row of the field's matrix, names, lists of hosts, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.tinyproxy import SERVER

HEAD = 'Port 8888\nTimeout 30\nMaxClients 50\nLogFile "/var/log/tinyproxy.log"\n'
MAIN = "/etc/tinyproxy/tinyproxy.conf"
LIST = "/etc/tinyproxy/filter"


def test_no_allow_line_is_open_and_connect_leads_to_mail() -> None:
    report = audited(SERVER, HEAD)
    assert {rule for _, rule, _ in seen(report)} == {"tp-no-allow"}
    assert report.verdict is AuditVerdict.OPEN
    assert report.findings[0].witness.endswith(":25 by CONNECT")
    assert [cause.rule for cause in report.findings[0].causes] == ["tp-no-allow", "tp-connect"]


@pytest.mark.parametrize(
    ("lines", "witness"),
    [
        ("ConnectPort 443\n", ":443 by CONNECT"),
        ("ConnectPort 25\nConnectPort 443\n", ":25 by CONNECT"),
        ("ConnectPort 0443\n", ":443 by CONNECT"),
        ("ConnectPort 0\n", ":25 by GET"),
    ],
)
def test_connect_ports_limit_connect_alone(lines: str, witness: str) -> None:
    report = audited(SERVER, HEAD + lines)
    assert report.verdict is AuditVerdict.OPEN
    assert report.findings[0].witness.endswith(witness)


@pytest.mark.parametrize(
    "lines",
    [
        "Allow 127.0.0.1\n",
        "Allow 10.0.0.0/8\nAllow 2001:db8::/32\n",
        "Deny 10.0.0.0/8\n",
        "Deny 0.0.0.0/0\nDeny ::/0\nAllow 0.0.0.0/0\n",
        "BasicAuth user password\n",
        "BasicAuth user password\nAllow 0.0.0.0/0\n",
        'ReverseOnly Yes\nReversePath "/" "http://192.0.2.1/"\n',
        "Listen 127.0.0.1\nListen ::1\n",
    ],
)
def test_what_keeps_strangers_out(lines: str) -> None:
    assert audited(SERVER, HEAD + lines).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("lines", "rule", "line"),
    [
        ("Allow 0.0.0.0/0\n", "tp-allow-wide", 5),
        ("Allow 127.0.0.1\nallow ::/0\n", "tp-allow-wide", 6),
        ("Deny 10.0.0.0/8\nAllow 0.0.0.0/0\n", "tp-allow-wide", 6),
        ("ReverseOnly Yes\n", "tp-no-allow", 0),  # without a ReversePath it is a proxy: seen with 1.11.1
        ('ReversePath "/x" "http://192.0.2.1/"\n', "tp-no-allow", 0),
        ("Listen 127.0.0.1\nListen 192.0.2.30\n", "tp-no-allow", 0),
        ("Upstream http 192.0.2.1:3128\n# Allow 127.0.0.1\n\n", "tp-no-allow", 0),
    ],
)
def test_what_lets_strangers_in(lines: str, rule: str, line: int) -> None:
    finding = audited(SERVER, HEAD + lines).findings[0]
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, rule, line)


@pytest.mark.parametrize(
    "value", ['"/" "http://192.0.2.31"', '"http://192.0.2.31"', '"/x" "http://a.test:80"']
)
def test_a_reverse_path_to_an_address_without_a_slash_leads_anywhere(value: str) -> None:
    text = f"{HEAD}ReverseOnly Yes\nReversePath {value}\n"
    finding = only(audited(SERVER, text))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "tp-reverse-loose", 6)
    assert "GET /.elsewhere.example/" in finding.witness
    assert mended_texts(SERVER, text) == {MAIN: text.removesuffix('"\n') + '/"\n'}
    assert audited(SERVER, text + "Allow 127.0.0.1\n").verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize("value", ['"x" "http://192.0.2.31/"', '"/x/" "nowhere"', "what"])
def test_a_reverse_path_that_it_passes_over_leaves_it_a_proxy(value: str) -> None:
    finding = audited(SERVER, f"{HEAD}ReverseOnly Yes\nReversePath {value}\n").findings[0]
    assert (finding.verdict, finding.rule) == (AuditVerdict.OPEN, "tp-no-allow")


@pytest.mark.parametrize("name", ["localhost", ".example.org", "all", "host.example.org"])
def test_a_name_is_the_clients_own_word(name: str) -> None:
    report = audited(SERVER, HEAD + f"Allow {name}\n")  # "evil.localhost" was let in by 1.11.1
    assert report.verdict is AuditVerdict.OPEN_IF
    assert report.findings[0].rule == "tp-allow-name"
    assert f"PTR {name}" in report.findings[0].witness


@pytest.mark.parametrize(
    "line",
    [
        "Allow 127.0.0.0/255.0.0.0",
        "Allow 10.0.0.1 # ours",
        "Allow a b",
        "ConnectPort x",
        "Timeout 5 # seconds",
        "Nonsense 1",
        "what?",
        "BasicAuth user",
        "Listen here",
    ],
)
def test_what_it_stumbles_over(line: str) -> None:
    finding = only(audited(SERVER, HEAD + line + "\n"))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.DOWN, "tp-syntax", 5)


@pytest.mark.parametrize(
    ("lines", "listed", "verdict"),
    [
        ("FilterDefaultDeny Yes\n", "^www\\.example\\.org$\n", AuditVerdict.CLOSED),
        ("FilterDefaultDeny Yes\n", "# none\n\n", AuditVerdict.CLOSED),
        ("FilterDefaultDeny Yes\n", "example\\.org\n", AuditVerdict.OPEN),
        ("FilterDefaultDeny Yes\n", ".*\n", AuditVerdict.OPEN),
        ("FilterDefaultDeny Yes\n", "^(?!elsewhere)[a-c]{4}x\n", AuditVerdict.UNKNOWN),
        ("FilterDefaultDeny Yes\nFilterURLs On\n", "example\n", AuditVerdict.UNKNOWN),
        ("FilterDefaultDeny Yes\nFilterType fnmatch\n", "*.example\n", AuditVerdict.OPEN),
        ("FilterDefaultDeny Yes\nFilterType fnmatch\n", "www.example.org\n", AuditVerdict.CLOSED),
        ("", "bad\\.test\n", AuditVerdict.OPEN),
        ("FilterDefaultDeny No\n", ".*\n", AuditVerdict.CLOSED),
        ("", "^elsewhere\n", AuditVerdict.UNKNOWN),
        ("", "\x00", AuditVerdict.UNKNOWN),
    ],
)
def test_lists_of_hosts(lines: str, listed: str, verdict: AuditVerdict) -> None:
    files = {MAIN: f'{HEAD}Filter "{LIST}"\n{lines}', LIST: listed}
    assert audited(SERVER, files).verdict is verdict


def test_a_list_of_hosts_that_is_not_there_keeps_it_down() -> None:
    finding = only(audited(SERVER, HEAD + f'Filter "{LIST}"\n'))
    assert (finding.verdict, finding.rule) == (AuditVerdict.DOWN, "tp-no-filter")


def test_unreadable_files() -> None:
    assert audited(SERVER, "\x00").verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Allow 0.0.0.0/0\n",
        "Allow ::/0\nAllow 127.0.0.1\n",
        "Allow localhost\nAllow 0.0.0.0/0\n",
        "ReverseOnly On\n",
    ],
)
@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(lines: str, allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, HEAD + lines, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    [source] = outcome.after.values()
    assert all(f"Allow {network}" in source.lines for network in ("127.0.0.1", *allowed))


def test_mending_writes_little() -> None:
    assert mended_texts(SERVER, HEAD + "Allow 0.0.0.0/0\nAllow ::1\n") == {
        MAIN: HEAD + "Allow 127.0.0.1\nAllow ::1\n"
    }
    assert mended_texts(SERVER, HEAD + "what?\n") == {}


WORDS = st.sampled_from(
    [
        "Allow",
        "Deny",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "Filter",
        '"x"',
        "Listen",
        "::1",
        "name",
        "\n",
        "ConnectPort",
        "25",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=20).map(" ".join) | st.text(max_size=100))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, {MAIN: HEAD + text, "/etc/tinyproxy/x": text})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["Allow 0.0.0.0/0", "Allow 10.0.0.0/8", "Deny ::/0"]), max_size=5).map("\n".join)
)
def test_a_first_deny_of_everybody_closes(lines: str) -> None:
    assert audited(SERVER, f"{HEAD}Deny 0.0.0.0/0\nDeny ::/0\n{lines}\n").verdict is AuditVerdict.CLOSED
