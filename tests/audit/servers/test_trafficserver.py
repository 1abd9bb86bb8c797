"""Traffic Server: the lab's three configurations, ip_allow in both forms, mappings, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.trafficserver import SERVER

HOME = "/etc/trafficserver"
STOCK = (
    "CONFIG proxy.config.http.server_ports STRING 8080 8080:ipv6\n"
    "CONFIG proxy.config.url_remap.remap_required INT 1\n"
    "CONFIG proxy.config.reverse_proxy.enabled INT 1\n"
)
OPEN = STOCK.replace("required INT 1", "required INT 0")
ALLOW = """ip_allow:
  - apply: in
    ip_addrs: 127.0.0.1
    action: allow
    methods: ALL
  - apply: in
    ip_addrs: ::1
    action: allow
    methods: ALL
  - apply: in
    ip_addrs: 0/0
    action: deny
    methods:
      - PURGE
      - PUSH
  - apply: in
    ip_addrs: ::/0
    action: deny
    methods: [PURGE, PUSH]
"""


def files(records: str, **more: str) -> dict[str, str]:
    name = "records.yaml" if records.startswith("records:") else "records.config"
    laid = {f"{HOME}/{name}": records, f"{HOME}/ip_allow.yaml": ALLOW}
    return laid | {f"{HOME}/{key.replace('__', '.')}": value for key, value in more.items()}


def test_as_debian_installs_it_is_closed() -> None:
    assert audited(SERVER, files(STOCK)).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, files("CONFIG proxy.config.x INT 1\n# no\n")).verdict is AuditVerdict.CLOSED


def test_a_forward_proxy_for_anybody() -> None:
    report = audited(SERVER, files(OPEN + "CONFIG proxy.config.http.connect_ports STRING *\n"))
    assert {(one.verdict.value, one.rule, one.line) for one in report.findings} == {
        ("open", "ts-connect", 2),
        ("open", "ts-forward", 2),
    }
    assert ":25 by CONNECT" in report.findings[0].witness
    assert "ts-ip-allow" in {cause.rule for cause in report.findings[0].causes}


@pytest.mark.parametrize(
    ("ports", "witness"), [("443", ":443"), ("443 563", ":443"), ("20-30", ":25"), ("8443", ":8443")]
)
def test_connect_to_the_ports_that_are_listed(ports: str, witness: str) -> None:
    report = audited(SERVER, files(OPEN + f"CONFIG proxy.config.http.connect_ports STRING {ports}\n"))
    assert [one.rule for one in report.findings] == ["ts-connect", "ts-forward"]
    assert witness in report.findings[0].witness
    none = audited(SERVER, files(OPEN + "CONFIG proxy.config.http.connect_ports STRING\n"))
    assert [one.rule for one in none.findings] == ["ts-forward"]


def test_records_in_yaml() -> None:
    text = "records:\n  url_remap:\n    remap_required: 0\n  http:\n    connect_ports: 443\n"
    report = audited(SERVER, files(text))
    assert seen(report) == [("open", "ts-connect", 3), ("open", "ts-forward", 3)]
    assert audited(SERVER, files("records: [\n")).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, files("records:\n  a: 1\n")).verdict is AuditVerdict.CLOSED


DENY = "ip_allow:\n  - {apply: in, ip_addrs: [0/0, '::/0'], action: deny}\n"


@pytest.mark.parametrize(
    "allow",
    [
        DENY,
        "ip_allow:\n  apply: in\n  ip_addrs: 10.0.0.0/8\n  action: allow\n",
        "ip_allow:\n  - {apply: in, ip_addrs: 192.0.2.0-192.0.2.255, action: allow, methods: ALL}\n",
        "ip_allow:\n  - {apply: in, ip_addrs: 0/0, action: allow, methods: [PURGE]}\n",
        ALLOW + "  - {apply: out, ip_addrs: [0/0, '::/0'], action: deny}\n",
        "ip_allow: []\n",
    ],
)
def test_ip_allow_keeps_strangers_out(allow: str) -> None:
    assert audited(SERVER, files(OPEN, ip_allow__yaml=allow)).verdict is AuditVerdict.CLOSED


def test_ip_allow_as_it_was() -> None:
    shipped = (
        "# ats\nsrc_ip=127.0.0.1 action=ip_allow method=ALL\n"
        "src_ip=0.0.0.0-255.255.255.255 action=ip_deny method=PUSH|PURGE\n"
    )
    laid = {f"{HOME}/records.config": OPEN, f"{HOME}/ip_allow.config": shipped}
    assert audited(SERVER, laid).verdict is AuditVerdict.OPEN
    laid[f"{HOME}/ip_allow.config"] = "src_ip=0.0.0.0-255.255.255.255 action=ip_deny method=ALL\n"
    assert audited(SERVER, laid).verdict is AuditVerdict.CLOSED
    laid[f"{HOME}/ip_allow.config"] = "src_ip=what action=ip_allow\n"
    assert audited(SERVER, laid).verdict is AuditVerdict.UNKNOWN
    named = OPEN + "CONFIG proxy.config.cache.ip_allow.filename STRING other.yaml\n"
    assert audited(SERVER, files(named, other__yaml=DENY)).verdict is AuditVerdict.CLOSED


def test_networks_of_strangers_are_told() -> None:
    allow = "ip_allow:\n  - {apply: in, ip_addrs: 198.0.0.0/8, action: allow}\n"
    report = audited(SERVER, files(OPEN, ip_allow__yaml=allow))
    assert report.verdict is AuditVerdict.OPEN_IF
    assert "from 198.0.0.0/8" in report.findings[0].witness


@pytest.mark.parametrize(
    "laid",
    [
        {f"{HOME}/records.config": OPEN},
        files(OPEN, ip_allow__yaml="ip_allow: [\n"),
        files(OPEN, ip_allow__yaml="other: 1\n"),
        files(OPEN, ip_allow__yaml="ip_allow:\n  - {apply: in, ip_addrs: a-b, action: allow}\n"),
        files(OPEN, ip_allow__yaml="ip_allow:\n  - {apply: in, ip_addrs: 1.2.3.4-'::1', action: allow}\n"),
        files(OPEN, ip_allow__yaml="ip_allow:\n  - {apply: in, ip_category: ACME, action: allow}\n"),
        files(OPEN, plugin__config="# none\nauthproxy.so --auth-transform=head\n"),
        files(STOCK.replace("enabled INT 1", "enabled INT 0")),
        files(STOCK + "CONFIG proxy.config.socks.accept_enabled INT 1\n"),
        files(STOCK, remap__config=".include more.config\n"),
        files(STOCK, remap__config="map http://a.example http://b.example @plugin=tslua.so @pparam=x.lua\n"),
        files(STOCK, remap__config="regex_map http://(.*)/ http://$1/ @src_ip=10.0.0.0-10.9.9.9\n"),
        files(STOCK, remap__config="regex_map http://((?=(e))\\2lsewhere+)+/ http://$1/\n"),
        files(STOCK + "what is this\n"),
    ],
)
def test_what_is_not_evaluated_is_unknown(laid: dict[str, str]) -> None:
    report = audited(SERVER, laid)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize(
    ("remap", "is_open"),
    [
        ("regex_map http://(.*)/ http://$1/", True),
        ("regex_map http://(.*)\\.proxy\\.example\\.org/ http://$1/", True),
        ("regex_map http://(.*)/ http://$0:8080/", True),
        ("regex_map http://([a-z]+)\\.example\\.org$/ http://$1.inner.example.org/", False),
        ("regex_map http://^(.*)\\.proxy\\.example\\.org$/ http://$1/", True),
        ("regex_map http://^(.*)\\.example\\.org$/ http://$1.inner.example.org/", False),
        ("regex_map http://(.*)/ http://192.0.2.1/", False),
        ("map http://www.example.org/ http://192.0.2.1/ @plugin=cachekey.so", False),
        ("# regex_map http://(.*)/ http://$1/", False),
    ],
)
def test_mappings(remap: str, *, is_open: bool) -> None:
    report = audited(SERVER, files(STOCK, remap__config=f"\n{remap}\n", plugin__config="compress.so\n"))
    assert seen(report) == ([("open", "ts-regex-map", 2)] if is_open else [])
    assert report.verdict is (AuditVerdict.OPEN if is_open else AuditVerdict.CLOSED)


TLS = STOCK.replace("8080 8080:ipv6", "8080 8443:ssl")


@pytest.mark.parametrize(
    ("fqdn", "route", "may_lead_out"),
    [
        ("'*'", "$1:443", True),
        ("'*'", "'$1:{inbound_local_port}'", True),
        ("'*.proxy.example.org'", "$1", True),
        ("'*.example.org'", "$1.inner.example.org:443", False),
        ("www.example.org", "192.0.2.31:443", False),
        ("'*'", "192.0.2.31:443", False),
    ],
)
@pytest.mark.parametrize("key", ["tunnel_route", "forward_route", "partial_blind_route"])
def test_routes_made_of_the_name_in_a_hello_may_lead_out(
    fqdn: str, route: str, key: str, *, may_lead_out: bool
) -> None:
    sni = f"sni:\n  - fqdn: {fqdn}\n    {key}: {route}\n"
    report = audited(SERVER, files(TLS, sni__yaml=sni))
    how = "open" if key == "tunnel_route" and route.endswith(":443") else "unknown"
    assert seen(report) == ([(how, "ts-sni", 3)] if may_lead_out else [])
    assert report.verdict.value == (how if may_lead_out else "closed")


@pytest.mark.parametrize(
    ("port", "more", "allow", "verdict"),
    [
        ("443", "", ALLOW, "open"),
        ("8443", "", ALLOW, "closed"),
        ("8443", "CONFIG proxy.config.http.connect_ports STRING *\n", ALLOW, "open"),
        ("443", "CONFIG proxy.config.http.connect_ports STRING 1\n", ALLOW, "closed"),
        ("443", "", ALLOW.replace("PUSH", "CONNECT"), "open"),
        ("443", "", "ip_allow:\n  - {apply: in, ip_addrs: 0/0, action: deny, methods: ALL}\n", "closed"),
    ],
)
def test_a_tunnel_by_name_as_traffic_server_made_it(port: str, more: str, allow: str, verdict: str) -> None:
    sni = f"sni:\n  - fqdn: '*.via.test'\n    tunnel_route: $1:{port}\n"
    report = audited(SERVER, files(TLS + more, sni__yaml=sni, ip_allow__yaml=allow))  # 9.2.9
    assert report.verdict.value == verdict


def test_the_file_of_names_by_its_other_names() -> None:
    sni = "sni:\n  - fqdn: '*'\n    tunnel_route: $1:443\n"
    assert audited(SERVER, files(TLS, ssl_server_name__yaml=sni)).verdict is AuditVerdict.OPEN
    named = TLS + "CONFIG proxy.config.ssl.servername.filename STRING names.yaml\n"
    assert seen(audited(SERVER, files(named, names__yaml=sni))) == [("open", "ts-sni", 3)]
    # nobody says a name where no port speaks TLS
    assert audited(SERVER, files(STOCK, sni__yaml=sni)).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, files(TLS, sni__yaml=sni, ip_allow__yaml=DENY)).findings == ()
    for broken in ("sni: [\n", "server_config = {}\n"):
        assert audited(SERVER, files(TLS, sni__yaml=broken)).verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, files(TLS, sni__yaml="# none\n")).verdict is AuditVerdict.CLOSED


def test_listeners_on_loopback_are_out_of_reach() -> None:
    text = OPEN.replace("8080 8080:ipv6", "8080:ip-in=127.0.0.1 8080:ip-in=[::1]")
    assert audited(SERVER, files(text)).verdict is AuditVerdict.CLOSED
    half = OPEN.replace("8080 8080:ipv6", "8080:ip-in=127.0.0.1 8081")
    assert audited(SERVER, files(half)).verdict is AuditVerdict.OPEN


def test_mending_asks_for_a_mapping() -> None:
    for text in (OPEN, "records:\n  url_remap:\n    remap_required: 0\n"):
        outcome = mending(SERVER, files(text))
        assert outcome.report.verdict is AuditVerdict.CLOSED
        assert outcome.diff.count("\n+") == 2


def test_mending_keeps_the_owners_networks() -> None:
    outcome = mending(SERVER, files(OPEN), allowed=("198.51.100.0/24", "2001:db8::/32"))
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert '+  - {apply: in, ip_addrs: "198.51.100.0/24", action: allow, methods: ALL}' in outcome.diff
    assert "remap_required" not in outcome.diff
    old = "src_ip=0.0.0.0-255.255.255.255 action=ip_deny method=PUSH\n"
    laid = {f"{HOME}/records.config": OPEN, f"{HOME}/ip_allow.config": old}
    outcome = mending(SERVER, laid, allowed=("198.51.100.0/24",))
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert "+src_ip=198.51.100.0-198.51.100.255 action=ip_allow method=ALL" in outcome.diff


WORDS = st.sampled_from(
    ["ip_allow:", "- ", "apply: in", "ip_addrs: 0/0", "action: allow", "{", "}", "[", "\n", "  "]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=100), st.text(max_size=60))
def test_nothing_makes_it_fail(allow: str, remap: str) -> None:
    audited(
        SERVER, files(OPEN, ip_allow__yaml=allow, remap__config="regex_map http://" + remap + " http://$1/")
    )
    audited(SERVER, files("records:\n" + allow))
