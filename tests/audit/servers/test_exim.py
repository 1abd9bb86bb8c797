"""Exim: the reference's rules as `exim -bh` answered, Debian's two forms, ACLs, lists, expansion, routers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, seen, setup_of
from tests.audit.servers.exim_files import HOME, LISTS, REQUIRE, ROUTERS, exim

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.servers.exim import SERVER
from relaywatch.audit.setup import FrontEnd

RULES = {
    "its own hosts": ("  accept hosts = : +relay_from_hosts\n" + REQUIRE, "closed", []),
    "every host": ("  accept hosts = *\n" + REQUIRE, "open", ["ex-nets:7"]),
    "all of IPv6": ("  accept hosts = <; ::/0\n" + REQUIRE, "open", ["ex-nets:7"]),
    "both families": ("  accept hosts = <; 0.0.0.0/0 ; ::/0\n" + REQUIRE, "open", ["ex-nets:7"]),
    "all but one": ("  accept hosts = !127.0.0.9 : *\n" + REQUIRE, "open", ["ex-nets:7"]),
    "ends with a sign": ("  accept hosts = !10.0.0.0/8\n" + REQUIRE, "open", ["ex-nets:7"]),
    "a wide network": ("  accept hosts = 8.0.0.0/8\n" + REQUIRE, "open-if", ["ex-nets:7"]),
    "sender domains": ("  accept sender_domains = +local_domains\n" + REQUIRE, "open-if", ["ex-sender:7"]),
    "senders": ("  accept senders = *@own.example\n" + REQUIRE, "open-if", ["ex-sender:7"]),
    "null sender": ("  accept senders = :\n" + REQUIRE, "open-if", ["ex-null-sender:7"]),
    "greeting": (
        "  accept condition = ${if eq{$sender_helo_name}{mx.own.example}}\n" + REQUIRE,
        "open-if",
        ["ex-helo:7"],
    ),
    "greeting, expression": (
        "  accept condition = ${if match{$sender_helo_name}{\\N^mx[0-9]\\.own\\N}}\n" + REQUIRE,
        "open-if",
        ["ex-helo:7"],
    ),
    "greets by its name": (
        "  accept condition = ${if eq{$sender_helo_name}{$primary_hostname}}\n" + REQUIRE,
        "open-if",
        ["ex-helo:7"],
    ),
    "nothing asked": ("  accept\n", "open", ["ex-norequire:7"]),
    "every domain": ("  require domains = *\n  accept\n", "open", ["ex-doms:7"]),
    "a top-level domain": ("  accept domains = *.org\n  deny\n", "open-if", ["ex-doms:7"]),
    "a domain and below": ("  accept domains = *.example.org\n  deny\n", "closed", []),
    "unanchored": ("  accept domains = \\N^.*example\\.org\\N\n  deny\n", "open-if", ["ex-doms:7"]),
    "anchored": ("  accept domains = \\N^(.+\\.)?example\\.org$\\N\n  deny\n", "closed", []),
    "any MX": ("  accept domains = +local_domains : @mx_any\n  deny\n", "open-if", ["ex-mx:7"]),
    "TLS": ("  accept encrypted = *\n" + REQUIRE, "open", ["ex-encrypted:7"]),
    "login": ("  accept authenticated = *\n" + REQUIRE, "closed", []),
    "a local part anywhere": (
        "  accept local_parts = postmaster\n" + REQUIRE,
        "open-if",
        ["ex-norequire:7"],
    ),
    "a local part here": (
        "  accept local_parts = postmaster\n    domains = +local_domains\n" + REQUIRE,
        "closed",
        [],
    ),
    "denied by sender": (
        "  deny !sender_domains = own.example\n  accept\n",
        "open-if",
        ["ex-norequire:8"],
    ),
    "denied network": ("  deny hosts = 198.51.100.0/24\n  accept hosts = *\n", "open", ["ex-nets:8"]),
    "put off": ("  defer\n  accept hosts = *\n", "closed", []),
    "dropped": ("  drop !hosts = +relay_from_hosts\n  accept\n", "closed", []),
    "thrown away": ("  discard hosts = *\n" + REQUIRE, "closed", []),
    "warned": ("  warn hosts = *\n" + REQUIRE, "closed", []),
    "endpass": ("  accept hosts = *\n    endpass\n    domains = +local_domains\n  deny\n", "closed", []),
    "blocklist": ("  deny dnslists = zen.example\n  accept hosts = *\n", "open", ["ex-nets:8"]),
    "routed": ("  require verify = recipient\n  accept hosts = *\n", "open", ["ex-nets:8"]),
    "anything but its own": ("  accept !domains = +local_domains\n  deny\n", "open", ["ex-norequire:7"]),
    "sender and greeting": (
        "  accept condition = ${if and{{eq{$sender_helo_name}{x}}{eqi{$sender_address}{a@b.example}}}}\n"
        + REQUIRE,
        "open-if",
        ["ex-helo:7"],
    ),
    "address of the client": (
        "  accept condition = ${if match_ip{$sender_host_address}{<; 0.0.0.0/0}}\n" + REQUIRE,
        "open",
        ["ex-norequire:7"],
    ),
    "recipients": ("  accept recipients = *@*\n  deny\n", "open", ["ex-doms:7"]),
    "no claim was found for it": (
        "  accept condition = ${if eq{${lc:$sender_helo_name}}{${uc:a}b}}\n" + REQUIRE,
        "unknown",
        ["not-evaluated:7"],
    ),
}


@pytest.mark.parametrize("row", RULES)
def test_a_rule(row: str) -> None:
    acl, verdict, rules = RULES[row]
    told = exim(acl)
    assert (told.verdict, [f"{one.rule}:{one.line}" for one in told.findings]) == (verdict, rules)


def test_no_acl_is_closed() -> None:
    """550 Administrative prohibition."""
    text = LISTS.replace("acl_smtp_rcpt = check_rcpt\n", "")
    for main in (text, text + "acl_smtp_rcpt =\n"):
        assert audited(SERVER, {f"{HOME}/exim4.conf": main}).verdict == "closed"


def test_an_acl_in_the_option_or_in_a_file() -> None:
    assert seen(exim(REQUIRE, "acl_smtp_rcpt = accept\n")) == [("open", "ex-norequire", 5)]
    told = exim(REQUIRE, "acl_smtp_rcpt = /etc/exim4/rules\n", rules="# mine\naccept hosts = *\n")
    assert (told.findings[0].rule, told.findings[0].file) == ("ex-nets", f"{HOME}/rules")
    assert exim(REQUIRE, "acl_smtp_rcpt = /etc/exim4/none\n").verdict == "unknown"
    assert exim(REQUIRE, "acl_smtp_rcpt = nowhere\n").verdict == "unknown"
    assert exim(REQUIRE, "acl_smtp_rcpt = ${lookup mysql{x}}\n").verdict == "unknown"
    # 4.96 answers 250: an option that fails on purpose is an ACL that accepts.
    assert seen(exim(REQUIRE, "acl_smtp_rcpt = ${if eq{a}{b}{x}fail}\n")) == [("open", "ex-norequire", 5)]
    assert exim("  accept hosts = *\n", "acl_smtp_helo = ${if eq{a}{b}{x}fail}\n").verdict == "open"
    assert exim("  accept hosts = *\n", "acl_smtp_mail =\n").verdict == "closed"


def test_each_port_has_a_verdict() -> None:
    acl = "  accept condition = ${if ={$received_port}{587}}\n" + REQUIRE
    told = exim(acl, "daemon_smtp_ports = smtp : 587 : submissions\ntls_on_connect_ports = 465\n")
    assert [(one.name, one.verdict) for one in told.services] == [
        ("port 25", "closed"),
        ("port 587", "open"),
        ("port 465", "closed"),
    ]
    tls = exim("  accept encrypted = *\n" + REQUIRE, "tls_advertise_hosts =\n")
    assert tls.verdict == "closed"
    tls = exim(
        "  accept encrypted = *\n" + REQUIRE,
        "tls_advertise_hosts =\nlocal_interfaces = <; [0.0.0.0]:465\ntls_on_connect_ports = 465\n",
    )
    assert [(one.name, one.verdict) for one in tls.services] == [("port 25", "closed"), ("port 465", "open")]


def test_a_listener_on_loopback_and_what_is_in_front() -> None:
    acl = "  accept hosts = +relay_from_hosts\n" + REQUIRE
    inside = "local_interfaces = <; 127.0.0.1 ; ::1 ; [127.0.0.1]:26 ; 127.0.0.1.27\n"
    assert exim("  accept hosts = *\n", inside).verdict == "closed"
    balancer = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="haproxy", reaches_loopback=True)
    for main in ("", inside):
        told = exim(acl, main, front_ends=[balancer])
        assert {one.rule for one in told.findings} == {"ex-net-gateway"}
        assert told.verdict == "open-if"
    assert exim(REQUIRE, inside, front_ends=[balancer]).verdict == "closed"


def test_a_proxy_header() -> None:
    acl = "  accept hosts = +relay_from_hosts\n" + REQUIRE
    told = exim(acl, "hosts_proxy = *\n")
    assert seen(told) == [("open-if", "ex-proxy", 5)]
    assert "PROXY TCP4 127.0.0.1" in told.findings[0].witness
    assert exim(acl, "hosts_proxy = 192.0.2.40\n").verdict == "closed"
    wide = exim("  accept hosts = 10.0.0.0/8\n" + REQUIRE, "hosts_proxy = *\n")
    assert "PROXY TCP4 10.0.0.1" in wide.findings[0].witness


def test_other_acls_may_refuse_and_no_more() -> None:
    refusing = "  accept hosts = *\nconnect:\n  deny hosts = !127.0.0.1\n"
    assert exim(refusing, "acl_smtp_connect = connect\n").verdict == "closed"
    assert exim(refusing, "acl_smtp_mail = ${lookup mysql{x}}\n").verdict == "open"
    open_mail = "  accept hosts = *\nmail:\n  deny sender_domains = own.example\n  accept\n"
    assert exim(open_mail, "acl_smtp_mail = mail\n").verdict == "open"


def test_nested_acls() -> None:
    assert exim("  accept acl = sub\n" + REQUIRE + "sub:\n  accept hosts = *\n").verdict == "open"
    assert exim("  deny acl = sub\n  accept\nsub:\n  accept hosts = *\n").verdict == "closed"
    assert exim("  accept acl = none\n" + REQUIRE).verdict == "unknown"
    assert exim("  accept acl = check_rcpt\n" + REQUIRE).verdict == "closed"
    assert exim("  accept acl = sub\n" + REQUIRE + "sub:\n  accept !acl = sub\n").verdict == "closed"
    told = exim("  accept !acl = sub\n" + REQUIRE + "sub:\n  deny sender_domains = own.example\n  accept\n")
    assert told.verdict == "open-if"


@pytest.mark.parametrize(
    "condition",
    [
        "hosts = cdb;/etc/exim4/hosts",
        "condition = ${lookup mysql{select 1}}",
        "condition = ${run{/bin/true}}",
        "condition = perhaps",
        "hosts = ${lookup{x}cdb{/y}}",
        "senders = ^(a+)+$",
        "whatever = 1",
        "domains = lsearch;/etc/exim4/missing",
    ],
)
def test_what_isnt_evaluated_is_unknown(condition: str) -> None:
    told = exim(f"  accept {condition}\n" + REQUIRE)
    assert [(one.verdict, one.rule, one.line) for one in told.findings] == [("unknown", "not-evaluated", 7)]


def test_what_can_only_refuse_the_disreputable_decides_nothing() -> None:
    conditions = (
        "dnslists = x",
        "ratelimit = 1 / 1h",
        "spf = fail",
        "!verify = sender",
        "malware = *",
        "!verify = helo",
    )
    for condition in conditions:
        assert exim(f"  deny {condition}\n  accept hosts = *\n").verdict == "open"
    assert exim("  accept spf = pass\n" + REQUIRE).verdict == "open"


def test_certificates() -> None:
    acl = "  accept verify = certificate\n" + REQUIRE
    assert exim(acl).verdict == "closed"
    told = exim(acl, "tls_try_verify_hosts = *\ntls_verify_certificates = system\n")
    assert seen(told) == [("open-if", "ex-certificate", 9)]


def test_a_local_part_and_a_domain_together() -> None:
    told = exim("  accept domains = *.org\n    local_parts = ^list-\n  deny\n")
    assert "RCPT TO:<list-@elsewhere.org>" in told.findings[0].witness
    told = exim("  accept domains = @mx_any\n    local_parts = abuse\n  deny\n")
    assert "RCPT TO:<abuse@pointing.example>" in told.findings[0].witness
    told = exim("  accept condition = ${if match{$domain}{\\N\\.org$\\N}}\n" + REQUIRE)
    assert told.verdict in {"open-if", "unknown"}


def test_names_of_hosts() -> None:
    for item in ("*.isp.example", "mx.isp.example", "\\N^.*\\.isp\\.example$\\N"):
        told = exim(f"  accept hosts = {item}\n" + REQUIRE)
        assert seen(told) == [("open-if", "ex-nets", 7)]
        assert "PTR " in told.findings[0].witness


def test_lists_in_files() -> None:
    assert (
        exim("  accept hosts = /etc/exim4/h\n" + REQUIRE, h="# mine\n10.0.0.0/8\n0.0.0.0/0 # oh\n").verdict
        == "open"
    )
    assert (
        exim("  accept hosts = !/etc/exim4/h : 10.0.0.0/8\n" + REQUIRE, h="0.0.0.0/0\n").verdict == "closed"
    )
    assert (
        exim("  accept hosts = net-iplsearch;/etc/exim4/h\n" + REQUIRE, h="0.0.0.0/0: x\n").verdict == "open"
    )
    assert exim("  accept senders = lsearch;/etc/exim4/s\n" + REQUIRE, s="a@b.example\n").verdict == "open-if"
    assert exim("  accept domains = wildlsearch;/etc/exim4/d\n  deny\n", d="*\n").verdict == "open"
    assert exim("  accept domains = lsearch*;/etc/exim4/d\n  deny\n", d="*\n").verdict == "open"
    assert exim("  accept domains = lsearch;/etc/exim4/d\n  deny\n", d="own.example: x\n").verdict == "closed"


def test_lists_name_lists() -> None:
    main = "hostlist a = +b : 127.0.0.1\nhostlist b = <; 0.0.0.0/0\n"
    assert seen(exim("  accept hosts = +a\n" + REQUIRE, main)) == [("open", "ex-nets", 6)]
    assert exim("  accept hosts = +none\n" + REQUIRE).verdict == "closed"
    assert exim("  deny hosts = +none\n  accept\n").verdict == "closed"
    assert exim("  warn hosts = +none\n  accept\n").verdict == "open"
    assert exim("  accept hosts = +a\n" + REQUIRE, "hostlist a = +a\n").verdict == "closed"
    assert exim("  accept hosts = +ignore_unknown : *\n" + REQUIRE).verdict == "open"
    main = "addresslist a = +c\naddresslist c = *@own.example : ^x@y\\.example : postmaster@@\n"
    assert exim("  accept senders = +a\n" + REQUIRE, main).verdict == "open-if"
    assert (
        exim("  accept sender_domains = lsearch;/etc/exim4/d\n" + REQUIRE, d="own.example\n").verdict
        == "open-if"
    )


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("yes", "open"),
        ("0", "closed"),
        ("${if def:sender_address}", "open"),
        ("${if !def:authenticated_id}", "open"),
        ("${if def:nothing_known}", "unknown"),
        ("${if exists{/etc/exim4/flag}}", "closed"),
        ("${if exists{/var/flag}}", "unknown"),
        ("${if isip6{$sender_host_address}}", "open"),
        ("${if isip4{$sender_host_address}}", "open"),
        ("${if isip{x}}", "closed"),
        ("${if bool{true}}", "open"),
        ("${if inlist{a}{b:a}}", "open"),
        ("${if lt{a}{b}}", "open"),
        ("${if gei{A}{b}}", "closed"),
        ("${if >={1K}{1023}}", "open"),
        ("${if <{x}{1}}", "unknown"),
        ("${if or{{eq{a}{b}}{first_delivery}}}", "open"),
        ("${if queue_running}", "closed"),
        ("${if and{{eq{a}{b}}{unheard{a}{b}}}}", "closed"),
        ("${if unheard{a}{b}}", "unknown"),
        ("${if eq{a}{a}{no}{yes}}", "closed"),
        ("${if eq{a}{b}{no}fail}", "open"),
        ("${eval:2*(3-1)%3}", "open"),
        ("${eval:-1+1}", "closed"),
        ("${eval:1/0}", "unknown"),
        ("${sg{abc}{^a}{}}", "unknown"),
        ("${if eq{${sg{abc}{^a(b)}{$1}}}{bc}}", "open"),
        ("${if eq{${tr{abc}{a}{x}}}{xbc}}", "open"),
        ("${if eq{${domain:a@b}}{b}}", "open"),
        ("${if eq{${nonsense:a}}{b}}", "unknown"),
        ("${if eq{\\N$x\\N}{\\$x}}", "open"),
        ("${if eq{a\\tb}{a\tb}}", "open"),
        ("${if eq{a}", "unknown"),
        ("$", "unknown"),
        ("${if eq a}", "unknown"),
        ("${if match{a}{(}}", "unknown"),
        ("${sg{a}{(}{}}", "unknown"),
        ("${if match_domain{own.example}{+local_domains}}", "open"),
        ("${if match_domain{x}{cdb;/y}}", "unknown"),
        ("${if match_local_part{a}{a:b}}", "open"),
        ("${received_port}", "open"),
        ("${if eq{" * 70, "unknown"),
    ],
)
def test_expansion(condition: str, verdict: str) -> None:
    assert exim(f"  accept condition = {condition}\n" + REQUIRE).verdict == verdict


def test_a_router_that_rewrites_a_route() -> None:
    acl = "  accept domains = +local_domains\n  deny\n"
    hack = "hack:\n  driver = redirect\n  domains = +local_domains\n  local_parts = ^.*%\n  data = ${sg{$local_part}{%}{@}}\n"
    told = exim(acl, "", ROUTERS.replace("dnslookup:\n", hack + "dnslookup:\n", 1))
    assert (told.findings[0].rule, told.findings[0].verdict) == ("ex-localpart", "open-if")
    assert "RCPT TO:<someone%elsewhere.example@own.example>" in told.findings[0].witness
    denied = "  deny local_parts = ^.*[@%!/|]\n" + acl
    assert exim(denied, "", ROUTERS.replace("dnslookup:\n", hack + "dnslookup:\n", 1)).verdict == "closed"
    assert exim(acl, "percent_hack_domains = *\n").verdict == "closed"
    lookup = hack.replace("${sg{$local_part}{%}{@}}", "${lookup{$local_part}lsearch{/etc/aliases}}")
    assert exim(acl, "", ROUTERS.replace("dnslookup:\n", lookup + "dnslookup:\n", 1)).verdict == "closed"


def test_what_no_router_sends_out_is_not_relayed() -> None:
    wide = "  accept hosts = *\n"
    assert exim(wide, "", "begin routers\nuser:\n  driver = accept\n").verdict == "closed"
    hole = "begin routers\nnowhere:\n  driver = redirect\n  data = :blackhole:\n"
    assert exim(wide, "", hole + ROUTERS.removeprefix("begin routers\n")).verdict == "closed"
    assert exim(wide, "", "").verdict == "open"
    assert (
        exim("  require verify = recipient\n  accept\n", "", "begin routers\nu:\n  driver = accept\n").verdict
        == "closed"
    )


def test_a_main_file_that_is_not_there() -> None:
    for main in ("exim4.conf", "update-exim4.conf.conf"):
        assert list(SERVER.evaluate(setup_of(SERVER, {f"{HOME}/x": ""}, main=f"{HOME}/{main}"))) == []


@given(st.text(alphabet=st.sampled_from("acept dny=+:!*@%^$\\N{}<;>/.01 \n\tifhosdmr"), max_size=160))
@settings(max_examples=120, deadline=None)
def test_no_text_makes_it_stumble(text: str) -> None:
    exim("  accept hosts = " + text + "\n  accept condition = " + text + "\n" + text)
    audited(SERVER, {f"{HOME}/exim4.conf": text})


@given(
    st.integers(0, 2),
    st.sampled_from(["  deny\n", "  deny hosts = *\n", "  defer\n", "  drop senders = *\n"]),
)
@settings(max_examples=30, deadline=None)
def test_adding_a_refusal_never_opens(place: int, refusal: str) -> None:
    said = ["  accept sender_domains = +local_domains\n", "  accept local_parts = postmaster\n", "  deny\n"]
    order = ["closed", "open-if"]
    before = order.index(exim("".join(said)).verdict)
    said.insert(place, refusal)
    assert order.index(exim("".join(said)).verdict) <= before
