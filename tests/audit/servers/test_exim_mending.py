"""Mending Exim: the smallest edit that closes it, and what the owner allows still passes."""

from __future__ import annotations

import pytest
from tests.audit.auditing import mending, setup_of
from tests.audit.servers.exim_files import HOME, LISTS, REQUIRE, ROUTERS, debian, files

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.mending import mended
from relaywatch.audit.servers.exim import SERVER
from relaywatch.audit.setup import FrontEnd


def changed(named: dict[str, str], allowed: tuple[str, ...] = ()) -> list[str]:
    """The lines that mending adds; what it leaves must be closed."""
    outcome = mending(SERVER, named, allowed=allowed)
    assert outcome.report.verdict == "closed", outcome.report.findings
    assert outcome.left == ()
    return [
        line[1:] for line in outcome.diff.splitlines() if line.startswith("+") and not line.startswith("+++")
    ]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("dc_relay_nets", "0.0.0.0/0", ""),
        ("dc_relay_nets", "*", ""),
        ("dc_relay_nets", "10.0.0.0/8;0.0.0.0/0", "10.0.0.0/8"),
        ("dc_relay_nets", "<; 192.0.2.1 ; ::/0", "192.0.2.1"),
        ("dc_relay_nets", "0.0.0.0/1 ; 128.0.0.0/1", ""),
        ("dc_relay_domains", "*", ""),
        ("dc_relay_domains", "example.net;@mx_any", "example.net"),
        ("dc_relay_domains", "^.*example.org", "example.org ; *.example.org"),
        ("dc_relay_domains", "^.*(x|y)", ""),
        ("dc_relay_domains", "*.org : *.example.org", "*.example.org"),
    ],
)
def test_debians_answers(name: str, before: str, after: str, split: bool) -> None:
    assert changed(debian(split=split, **{name: before})) == [f"{name}='{after}'"]


def test_what_the_owner_allows_is_added() -> None:
    named = debian(dc_relay_nets="0.0.0.0/0")
    assert changed(named, ("10.1.0.0/16", "2001:db8:1::/48")) == [
        "dc_relay_nets='<; 10.1.0.0/16 ; 2001:db8:1::/48'"
    ]


def test_lists_are_changed_where_they_stand() -> None:
    acl = "  accept hosts = +relay_from_hosts\n" + REQUIRE
    text = f"{LISTS}begin acl\ncheck_rcpt:\n{acl}{ROUTERS}"
    wide = text.replace("relay_from_hosts = 127.0.0.1\n", "relay_from_hosts = 0.0.0.0/0\n")
    assert changed({f"{HOME}/exim4.conf": wide}) == ["hostlist relay_from_hosts = <; 127.0.0.1 ; ::1"]
    long = text.replace("relay_from_hosts = 127.0.0.1\n", "relay_from_hosts = 10.0.0.0/8 : \\\n  0.0.0.0/0\n")
    assert changed({f"{HOME}/exim4.conf": long}) == ["hostlist relay_from_hosts = 10.0.0.0/8"]
    doms = text.replace("relay_to_domains = example.net\n", "relay_to_domains = example.net : *\n")
    assert changed({f"{HOME}/exim4.conf": doms}) == ["domainlist relay_to_domains = example.net"]
    assert changed(files("  accept hosts = *\n" + REQUIRE)) == ["  accept hosts = <; 127.0.0.1 ; ::1"]
    assert changed(files("  accept hosts = <; 127.0.0.1 ; 0.0.0.0/0\n" + REQUIRE), ("192.0.2.0/24",)) == [
        "  accept hosts = <; 127.0.0.1 ; 192.0.2.0/24"
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "  accept sender_domains = +local_domains\n",
        "  accept senders = :\n",
        "  accept condition = ${if eq{$sender_helo_name}{mx.own.example}}\n",
        "  accept encrypted = *\n",
    ],
)
def test_a_claim_needs_a_login_as_well(statement: str) -> None:
    assert changed(files(statement + REQUIRE)) == ["      authenticated = *"]


def test_an_accept_for_everybody_gets_a_requirement_above_it() -> None:
    require = [
        "  require message = relay not permitted",
        "          domains = +local_domains : +relay_to_domains",
    ]
    assert changed(files("  accept\n")) == require
    assert changed(files("  accept\n"), ("192.0.2.0/24",)) == ["  accept hosts = <; 192.0.2.0/24", *require]


def test_a_route_is_denied_above_the_accept() -> None:
    hack = "hack:\n  driver = redirect\n  local_parts = ^.*%\n  data = ${sg{$local_part}{%}{@}}\n"
    routers = ROUTERS.replace("dnslookup:\n", hack + "dnslookup:\n", 1)
    named = files("  accept domains = +local_domains\n  deny\n", "", routers)
    assert changed(named) == [
        "  deny message = restricted characters in address",
        '       local_parts = ^.*[@%!/|"]',
    ]


def test_a_gateway_is_taken_out() -> None:
    bridge = FrontEnd(addresses=AddressSet.of(["172.22.1.1"]), name="docker-proxy")
    outcome = mended(SERVER, setup_of(SERVER, debian(dc_relay_nets="172.22.0.0/16"), front_ends=[bridge]))
    assert outcome.report.verdict == "closed"
    assert "+dc_relay_nets='!172.22.1.1/32 ; 172.22.0.0/16'" in outcome.diff


@pytest.mark.parametrize(
    ("acl", "main"),
    [
        ("  accept hosts = +relay_from_hosts\n" + REQUIRE, "hosts_proxy = *\n"),
        ("  accept hosts = ${lookup{x}cdb{/y}}\n" + REQUIRE, ""),
        (REQUIRE, "acl_smtp_rcpt = accept\n"),
    ],
)
def test_what_only_the_owner_knows_is_left(acl: str, main: str) -> None:
    outcome = mending(SERVER, files(acl, main))
    assert outcome.diff == ""
    assert outcome.left


def test_without_a_list_of_domains_nothing_is_required() -> None:
    text = "acl_smtp_rcpt = check_rcpt\nbegin acl\ncheck_rcpt:\n  accept\n"
    assert mending(SERVER, {f"{HOME}/exim4.conf": text}).left


def test_quotes_and_files_are_kept() -> None:
    quoted = f'{LISTS}hostlist wide = "0.0.0.0/0"\nbegin acl\ncheck_rcpt:\n  accept hosts = +wide\n{REQUIRE}{ROUTERS}'
    assert changed({f"{HOME}/exim4.conf": quoted}) == ['hostlist wide = "<; 127.0.0.1 ; ::1"']
    beside = files(
        "  accept hosts = +wide\n" + REQUIRE, "hostlist wide = 10.0.0.0/8 : 8.0.0.0/9 : 8.128.0.0/9\n"
    )
    assert changed(beside) == ["hostlist wide = 10.0.0.0/8"]
    three = files("  accept condition = ${if match_ip{$sender_host_address}{0.0.0.0/0}}\n" + REQUIRE)
    assert mending(SERVER, three).report.verdict == "closed"
