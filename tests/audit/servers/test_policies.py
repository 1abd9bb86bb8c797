"""chasquid, KumoMTA, Stalwart and Zimbra: the one setting of each that decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.auditing import audit
from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers import chasquid, hmailserver, kumomta, stalwart, zimbra

LUA = "local kumo = require 'kumo'; kumo.start_esmtp_listener {\n  listen = '0.0.0.0:25',\n"
TOML = "[server.listener.smtp]\nbind = '[::]:25'\n[session.rcpt]\n"


def test_chasquid_relays_for_its_users_only():
    text = 'hostname: "mail.example.org"\n# comment\nsmtp_address: ":25"\nsubmission_address: "127.0.0.1:587"\nmax_data_size_mb: 50\n'
    told = audited(chasquid.SERVER, text)
    assert [(one.name, one.verdict.value) for one in told.services] == [
        (":25", "closed"),
        ("127.0.0.1:587", "closed"),
        ("systemd (submission_over_tls_address)", "closed"),
    ]
    assert audited(chasquid.SERVER, 'smtp {\nsmtp_address: ":25"\n').verdict is AuditVerdict.UNKNOWN
    as_shipped = audited(chasquid.SERVER, "# Default: systemd\n")
    assert (as_shipped.verdict, len(as_shipped.services)) == (AuditVerdict.CLOSED, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{LUA}}}\n", []),
        (f"{LUA}  -- relay_hosts = {{ '0.0.0.0/0' }},\n}}\n", []),
        (f"{LUA}  relay_hosts = {{ '127.0.0.1', \"192.0.2.0/24\" }},\n}}\n", []),
        (f"{LUA}  relay_hosts = {{ '0.0.0.0/0' }},\n}}\n", [("open", "km-relay-hosts", 3)]),
        (f"{LUA}  relay_hosts = {{ '203.0.0.0/8' }},\n}}\n", [("open-if", "km-relay-hosts", 3)]),
        (f"{LUA}  relay_hosts = HOSTS,\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  relay_hosts = {{ HOSTS[1] }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  relay_hosts = {{ 'somewhere' }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"kumo.on('get_listener_domain', f)\n{LUA}}}\n", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_kumomta(text, expected):
    assert seen(audited(kumomta.SERVER, text)) == expected


TABLE = "local cfg = { listen = '0.0.0.0:25', relay_hosts = { '0.0.0.0/0' } }\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{LUA}  banner = 'hi -- there', relay_hosts = {{ '0.0.0.0/0' }},\n}}\n", [("open", "km-relay-hosts", 3)]),
        (f"--[[\nkumo.start_esmtp_listener {{ relay_hosts = {{ '0.0.0.0/0' }} }}\n]]\n{LUA}}}\n", []),
        (f"{LUA}  banner = [[ -- ]], relay_hosts = {{ '0.0.0.0/0' }},\n}}\n", [("open", "km-relay-hosts", 3)]),
        (f"{TABLE}kumo.start_esmtp_listener(cfg)\n", [("unknown", "not-evaluated", 0)]),
        (f"local start = kumo.start_esmtp_listener\n{LUA}}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  peer = {{ ['203.0.0.0/8'] = {{ relay_hosts = {{ '0.0.0.0/0' }} }} }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  relay_hosts = {{ '127.0.0.1' }}, relay_hosts = {{ '0.0.0.0/0' }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  ['relay_hosts'] = {{ '0.0.0.0/0' }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}  [name] = {{ '0.0.0.0/0' }},\n}}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}}}\nkumo.start_proxy_listener {{ listen = '0.0.0.0:1080' }}\n", [("unknown", "not-evaluated", 0)]),
        (f"{LUA}", [("unknown", "not-evaluated", 0)]),
    ],
)  # fmt: skip
def test_kumomta_isnt_fooled(text, expected):
    assert seen(audited(kumomta.SERVER, text)) == expected


DOMAINS = (
    "local listener_domains = require 'policy-extras.listener_domains'\n"
    "kumo.on('get_listener_domain', listener_domains:setup({'/opt/kumomta/etc/policy/domains.toml'}))\n"
)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('["example.org"]\nrelay_to = true\n', []),
        ('["*"]\nrelay_to = false\nlog_oob = true\n', []),
        ('# all\n["*"]\nrelay_to = true\n', [("open", "km-relay-to", 2)]),
        ('["*.org"]\nrelay_to = true\n', [("open-if", "km-relay-to", 1)]),
        ('["*.example.org"]\nrelay_to = true\n', []),
        ('["example.org"]\nrelay_from = ["192.0.2.0/24"]\n', []),
        ('["*"]\nrelay_from = ["0.0.0.0/0"]\n', [("open", "km-relay-to", 1)]),
        ('["example.org"]\nrelay_from = ["0.0.0.0/0"]\n', [("open-if", "km-relay-to", 1)]),
        ('["example.org"]\nrelay_from = ["gw"]\n', [("unknown", "not-evaluated", 0)]),
        ('[listener."0.0.0.0:25"."*"]\nrelay_to = true\n', [("open", "km-relay-to", 1)]),
        ("= broken", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_kumomtas_file_of_domains(toml, expected):
    home = kumomta.SERVER.home
    told = audited(kumomta.SERVER, {f"{home}/init.lua": f"{DOMAINS}{LUA}}}\n", f"{home}/domains.toml": toml})
    assert seen(told) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "function(d, l, m) return kumo.make_listener_domain { relay_to = true } end)",
            [("open", "km-relay-to", 1)],
        ),
        ("function(d) return kumo.make_listener_domain({ relay_to = false }) end)", []),
        (
            "function(d)\n if d == 'x' then return kumo.make_listener_domain { relay_to = true } end end)",
            [("unknown", "km-relay-to", 2)],
        ),
        ("listener_domains:setup({ FILE }))", [("unknown", "not-evaluated", 0)]),
        ("listener_domains:setup({ 'a.json' }))", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_kumomtas_domains_by_a_program(text, expected):
    told = audited(kumomta.SERVER, f"kumo.on('get_listener_domain', {text}\n{LUA}}}\n")
    assert seen(told) == expected


def test_kumomta_is_mended_on_one_line():
    text = f"{LUA}  relay_hosts = {{ '0.0.0.0/0' }},\n}}\n"
    outcome = mending(kumomta.SERVER, text, allowed=["198.51.100.0/24"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert (
        "relay_hosts = { '127.0.0.1', '::1', '198.51.100.0/24' }," in next(iter(outcome.after.values())).text
    )
    assert mending(kumomta.SERVER, f"{LUA}  relay_hosts = {{\n '0.0.0.0/0' }},\n}}\n").after == {}
    assert audited(kumomta.SERVER, "print()\n").verdict is AuditVerdict.UNKNOWN


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", [("unknown", "not-evaluated", 0)]),
        ("relay = false", []),
        ("relay = 'true && !is_empty(authenticated_as)'", []),
        ("relay = 'true || !is_empty(authenticated_as)'", [("unknown", "not-evaluated", 0)]),
        (
            "relay = [ { if = 'remote_ip != 10', then = false }, { else = true } ]",
            [("unknown", "not-evaluated", 0)],
        ),
        ("relay = '!is_empty(authenticated_as)'", []),
        ("relay = [ { if = '!is_empty(authenticated_as)', then = true }, { else = false } ]", []),
        (
            "relay = [ { if = '!is_empty(authenticated_as)', then = true }, { else = true } ]",
            [("open", "st-relay", 4)],
        ),
        ("relay = true", [("open", "st-relay", 4)]),
        ("relay = 'true'", [("open", "st-relay", 4)]),
        (
            "relay = [ { if = 'remote_ip = 10', then = true }, { else = false } ]",
            [("unknown", "not-evaluated", 0)],
        ),
        ("relay = [ { else = 'x' } ]", [("unknown", "not-evaluated", 0)]),
        ("relay = [ 1 ]", [("unknown", "not-evaluated", 0)]),
        ("relay = [ { if = 'x', then = false } ]", [("unknown", "not-evaluated", 0)]),
        ("relay = = 1", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_stalwart(line, expected):
    assert seen(audited(stalwart.SERVER, f"{TOML}{line}\n")) == expected


STAGE = "MtaStageRcpt"
KNOWN = "!is_empty(authenticated_as)"


def plan(value: object) -> str:
    """A snapshot's lines."""
    other = {"@type": "destroy", "object": "MtaStageMail"}
    stage = {"@type": "update", "object": STAGE, "value": value}
    return f"# plan\n{json.dumps(other)}\n\n{json.dumps(stage)}\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"allowRelaying": {"else": KNOWN}}, []),
        ({"singleton": {"maxFailures": {"else": "5"}}}, []),
        ({"singleton": {"allowRelaying": {"else": "true"}}}, [("open", "st-relay", 4)]),
        ({"allowRelaying": {"match": [{"if": KNOWN, "then": "true"}], "else": "false"}}, []),
        (
            {"allowRelaying": {"match": {"0": {"if": KNOWN, "then": "true"}}, "else": "true"}},
            [("open", "st-relay", 4)],
        ),
        (
            {
                "allowRelaying": {
                    "match": [{"if": "remote_ip == '10.0.0.1'", "then": "true"}],
                    "else": "false",
                }
            },
            [("unknown", "not-evaluated", 0)],
        ),
    ],
)
def test_a_snapshot_of_stalwart(value, expected):
    files = {"/copy/plan.ndjson": plan(value)}
    assert seen(audited(stalwart.SERVER, files)) == expected


def test_an_answer_of_stalwarts_api_and_its_small_file():
    answer = {
        "methodResponses": [
            [f"x:{STAGE}/get", {"list": [{"id": "singleton", "allowRelaying": {"else": "true"}}]}, "c1"]
        ]
    }
    text = json.dumps(answer, indent=1)
    assert seen(audited(stalwart.SERVER, {"/copy/rcpt.json": text})) == [("open", "st-relay", 9)]
    for text in (
        '{"@type": "RocksDb", "path": "/var/lib/stalwart"}\n',
        plan({}).partition("{")[0] + '{"a": 1}\nbroken\n',
    ):
        told = audited(stalwart.SERVER, {"/etc/stalwart/config.json": text})
        assert seen(told) == [("unknown", "not-evaluated", 0)]
        assert any("allowRelaying, in the database" in gap.subject for gap in told.gaps)


def test_stalwarts_files_are_told(tmp_path: Path):
    (tmp_path / "stalwart").mkdir()
    (tmp_path / "stalwart" / "config.json").write_text('{"@type": "RocksDb"}')
    (tmp_path / "plan.ndjson").write_text(plan({"allowRelaying": {"else": "true"}}))
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert sorted((one.server, one.verdict.value) for one in audit([tmp_path])) == [
        ("stalwart", "open"),
        ("stalwart", "unknown"),
    ]


def test_stalwart_is_mended():
    outcome = mending(stalwart.SERVER, f"{TOML}relay = true\n")
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert mending(stalwart.SERVER, "[session]\nrcpt = { relay = true }\n").after == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zimbraMtaMyNetworks: 127.0.0.0/8 [::1]/128 192.0.2.0/24\n", []),
        ("cn: x\nzimbraMtaMyNetworks: 0.0.0.0/0\n", [("open", "zm-net", 2)]),
        (
            "zimbraMtaMyNetworks: 127.0.0.0/8\nzimbraMtaMyNetworks: 203.0.0.0/8, 10.0.0.0/8\n",
            [("open-if", "zm-net", 1)],
        ),
        ("zimbraMtaMyNetworks: !203.0.0.0/8 203.0.0.0/8\n", []),
        ("zimbraMtaMyNetworks: 203.0.0.0/8 !203.0.0.0/8\n", [("open-if", "zm-net", 1)]),
        ("zimbraMtaMyNetworks: hash:/etc/x\n", [("unknown", "not-evaluated", 0)]),
        ("cn: x\n", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_zimbra(text, expected):
    assert seen(audited(zimbra.SERVER, {"/opt/zimbra/zmprov-gs.txt": text})) == expected


def span(options: int, low: str = "0.0.0.0", high: str = "255.255.255.255", priority: int = 10) -> str:
    return f'<SecurityRange Name="Internet" LowerIP="{low}" UpperIP="{high}" Priority="{priority}" Options="{options}"/>\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (span(1 | 128 | 256 | 16384), []),
        (span(512), []),
        (span(1 | 512), [("open", "hm-ext-to-ext", 2)]),
        (span(1 | 512 | 65536), []),
        (span(1 | 128), [("open-if", "hm-local-to-ext", 2)]),
        (span(1 | 512, priority=1) + span(1, priority=2), []),
        (span(1 | 512, "203.0.0.0", "203.255.255.255", 20) + span(1), [("open-if", "hm-ext-to-ext", 2)]),
        (
            span(1 | 512, priority=1) + span(0, priority=20).replace("/>", ' Expires="1"/>'),
            [("open", "hm-ext-to-ext", 2)],
        ),
        (span(1).replace('Options="1"', 'Options="x"'), [("unknown", "not-evaluated", 0)]),
        ("", [("unknown", "not-evaluated", 0)]),
    ],
)
def test_hmailserver(text, expected):
    assert seen(audited(hmailserver.SERVER, f"<Backup>\n{text}</Backup>\n")) == expected
