"""Caddy: the field's row, sites, matchers and order, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.caddy import SERVER


def site(*lines: str, at: str = ":8080") -> str:
    return "\n".join([f"{at} {{", *(f"\t{line}" for line in lines), "}", ""])


@pytest.mark.parametrize(
    "upstream",
    [
        "{http.request.host}:80",
        "{http.request.hostport}",
        "{host}:80",
        "{hostport}",
        "http://{host}",
        "{labels.1}.{labels.0}:80",
    ],
)
def test_an_upstream_from_the_host_is_open(upstream: str) -> None:
    finding = only(audited(SERVER, site(f"reverse_proxy {upstream}")))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ca-upstream", 2)
    assert finding.advisory == "RW-2006"
    named = site(f"reverse_proxy {upstream}", at="www.example.org")
    assert audited(SERVER, named).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    "lines",
    [
        ["reverse_proxy {header.X-To}:80"],
        ["reverse_proxy {http.request.header.X-To}"],
        ["reverse_proxy {query.to}:80"],
        ["reverse_proxy {re.target.1}:80"],
        ["reverse_proxy /x/* {http.request.uri.query.to}:80"],
        ["reverse_proxy {", "to {query.to}:80", "}"],
        ["reverse_proxy {", "dynamic a {", "name {query.to}", "}", "}"],
    ],
)
def test_an_upstream_from_the_clients_other_words_is_open_at_a_named_site_too(lines: list[str]) -> None:
    assert audited(SERVER, site(*lines, at="www.example.org")).verdict is AuditVerdict.OPEN


PROXY = "reverse_proxy {host}:80"


@pytest.mark.parametrize(
    "lines",
    [
        ["respond /x 200", PROXY],
        ["@get method GET", f"reverse_proxy @get {PROXY.split()[1]}"],
        ["@not not host www.example.org", f"reverse_proxy @not {PROXY.split()[1]}"],
        ["@any host *.example", f"reverse_proxy @any {PROXY.split()[1]}"],
        ["@own remote_ip 10.0.0.0/8", "respond @own 403", PROXY],
        ["@h header Host *", f"reverse_proxy @h {PROXY.split()[1]}"],
        ["@p {", "path /a/*", "protocol http", "}", f"reverse_proxy @p {PROXY.split()[1]}"],
        ["handle /a/* {", "respond 200", "}", "handle {", PROXY, "}"],
        ["route {", PROXY, "respond 403", "}"],
        ["handle_path /p/* {", PROXY, "}"],
        ["basic_auth /admin/* {", "a b", "}", PROXY],
    ],
)
def test_ways_in(lines: list[str]) -> None:
    assert audited(SERVER, site(*lines)).verdict is AuditVerdict.OPEN


@pytest.mark.parametrize(
    "lines",
    [
        ["reverse_proxy 192.0.2.1:80"],
        ["reverse_proxy {env.BACKEND}:80"],
        ["header_up Host {host}"],
        [PROXY, "respond 403"],
        [PROXY, "abort"],
        ["route {", "respond 403", PROXY, "}"],
        ["@out not remote_ip private_ranges 192.0.2.0/24 host.example.org", "respond @out 403", PROXY],
        ["@own {", "remote_ip 10.0.0.0/8", "}", f"reverse_proxy @own {PROXY.split()[1]}"],
        ["@own host www.example.org", f"reverse_proxy @own {PROXY.split()[1]}"],
        ["@own header Host www.example.org", f"reverse_proxy @own {PROXY.split()[1]}"],
        [f"reverse_proxy @gone {PROXY.split()[1]}"],
        ["basicauth {", "a b", "}", PROXY],
        ["bind 127.0.0.1", PROXY],
        ["handle {", "respond 404", "}", PROXY],
    ],
)
def test_ways_that_keep_him_out(lines: list[str]) -> None:
    assert audited(SERVER, site(*lines)).verdict is AuditVerdict.CLOSED


def test_what_has_to_be_sent_and_what_is_not_evaluated() -> None:
    keyed = site("@k header X-Key secret", f"reverse_proxy @k {PROXY.split()[1]}")
    assert audited(SERVER, keyed).verdict is AuditVerdict.OPEN_IF
    for lines in (
        ["forward_auth 192.0.2.1 {", "uri /", "}", PROXY],
        ["@e expression x", f"reverse_proxy @e {PROXY.split()[1]}"],
        ["reverse_proxy {map_made}:80"],
        ["import gone", PROXY],
    ):
        assert audited(SERVER, site(*lines)).verdict is AuditVerdict.UNKNOWN


def test_the_plug_in_that_forwards() -> None:
    finding = only(audited(SERVER, site("forward_proxy", at=":443, proxy.example.org")))
    assert (finding.verdict, finding.rule, finding.advisory) == (AuditVerdict.OPEN, "ca-forward", "RW-2001")
    assert ":25 by CONNECT" in finding.witness
    limited = site("forward_proxy {", "ports 443", "acl {", "allow all", "}", "}")
    assert ":443 by CONNECT" in only(audited(SERVER, limited)).witness
    for lines in (
        ["forward_proxy {", "basic_auth a b", "}"],
        ["forward_proxy {", "acl {", "allow *.own.example.org", "deny all", "}", "}"],
    ):
        assert audited(SERVER, site(*lines)).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, site("forward_proxy", at="proxy.example.org")).verdict is AuditVerdict.CLOSED


def test_sites_by_their_addresses() -> None:
    for at in (
        ":80",
        "http://",
        "*",
        "https://*:443",
        "*.example",
        "a.example.org, :80",
        "a.example.org,\n:80",
    ):
        assert audited(SERVER, site(PROXY, at=at)).verdict is AuditVerdict.OPEN
    for at in ("localhost:8080", "http://127.0.0.1:80", "*.own.example.org"):
        assert audited(SERVER, site(PROXY, at=at)).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, f":80\n{PROXY}\n").verdict is AuditVerdict.OPEN
    assert audited(SERVER, "{\n\tadmin off\n}\n" + site(PROXY)).verdict is AuditVerdict.OPEN


def test_snippets_and_files_are_imported() -> None:
    text = "(any) {\n\treverse_proxy {args[0]} {\n\t\tto x\n\t}\n}\n" + site("import any {host}:80")
    assert only(audited(SERVER, text)).line == 2
    files = {
        "/etc/caddy/Caddyfile": "import sites/*\n" + site("import /etc/caddy/common", at="b.example.org"),
        "/etc/caddy/sites/a": site(PROXY),
        "/etc/caddy/common": "respond 200\n",
    }
    assert only(audited(SERVER, files)).file == "/etc/caddy/sites/a"
    loop = "(a) {\n\timport a\n}\n" + site("import a")
    assert audited(SERVER, loop).gaps[0].kind is GapKind.LOOP


@pytest.mark.parametrize("text", [":80 {\n", "}\n", ':80 {\n\tx "y\n}\n', "import gone\n:80 {\n}\n", "\x00"])
def test_what_cannot_be_read_is_told(text: str) -> None:
    report = audited(SERVER, text)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


@pytest.mark.parametrize("allowed", [(), ("10.1.0.0/16", "2001:db8::/32")])
def test_mending_closes_it_and_keeps_the_owners_networks(allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, site(PROXY), allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert all(network in outcome.diff for network in allowed)
    inside = mending(SERVER, site("handle {", PROXY, "}"), allowed=allowed)
    assert bool(inside.after) == (not allowed)  # a matcher's name is a site's, not a block's


def test_mending_leaves_alone_what_it_has_no_edit_for() -> None:
    assert mended_texts(SERVER, site("forward_proxy"), allowed=["10.0.0.0/8"]) == {}
    assert mended_texts(SERVER, site("reverse_proxy {query.to}:80 {", "lb_policy first", "}")) == {}


WORDS = st.sampled_from(
    [
        "reverse_proxy",
        "{host}",
        "{",
        "}",
        "@a",
        "not",
        "host",
        "respond",
        "handle",
        "route",
        "import",
        "a",
        "(a)",
        '"',
        "`",
        "\n",
        ",",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, text)
    audited(SERVER, site(text))
