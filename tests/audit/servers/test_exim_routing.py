"""Exim: what routers, transports and rewriting make of accepted mail; recipients by expressions."""

from __future__ import annotations

import pytest
from tests.audit.auditing import seen
from tests.audit.servers.exim_files import REQUIRE, ROUTERS, exim

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.setup import FrontEnd

WIDE = "  accept hosts = *\n"
OWN = "  accept domains = +local_domains\n  deny\n"
LOCAL = "user:\n  driver = accept\n  transport = local\n"
TRANSPORTS = "begin transports\nout:\n  driver = smtp\n  hosts = 192.0.2.25\nlocal:\n  driver = appendfile\n  file = /x\n"
GATEWAY = "gw:\n  driver = manualroute\n  domains = gateway.example\n  route_list = * 192.0.2.25\n  transport = out\n"


@pytest.mark.parametrize(
    ("routers", "verdict"),
    [
        (LOCAL, "closed"),
        ("all:\n  driver = accept\n  transport = out\n", "open"),
        ("all:\n  driver = accept\n  domains = +local_domains\n  transport = out\n" + LOCAL, "closed"),
        ("all:\n  driver = accept\n  transport = ${if eq{a}{b}{x}{y}}\n", "unknown"),
        ("r:\n  driver = redirect\n  data = $local_part=$domain@gateway.example\n" + GATEWAY, "open"),
        ("r:\n  driver = redirect\n  data = $local_part@other.$domain\n" + LOCAL, "closed"),
        ("r:\n  driver = redirect\n  data = ${lookup{$local_part}lsearch{/etc/aliases}}\n" + LOCAL, "closed"),
        ("r:\n  driver = redirect\n  data = ${lookup{$domain}cdb{/x}}\n" + LOCAL, "unknown"),
        ("r:\n  driver = redirect\n  data = ${if eq{$domain}{x}{y@x}fail}\n" + LOCAL, "closed"),
        ("r:\n  driver = redirect\n  data = $local_part@x.$domain\n", "closed"),
    ],
)
def test_where_accepted_mail_goes(routers: str, verdict: str) -> None:
    """An accept router that hands over by SMTP relays, as 4.96 -bt says, and so does a redirect to a gateway."""
    assert exim(WIDE, "", f"begin routers\n{routers}{TRANSPORTS}").verdict == verdict


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("\\N^(.*)%(.*)@own\\.example$\\N $1@$2 T", "unknown"),
        ("\\N^(.*)%(.*)@own\\.example$\\N $1@$2", "unknown"),
        ("\\N^(.*)%(.*)@own\\.example$\\N $1@$2 S", "unknown"),
        ("\\N^(.*)%(.*)@own\\.example$\\N $1@$2 Ffrs", "closed"),
        ("*@own.example ${lookup{$local_part}lsearch{/x}} E", "unknown"),
        ("*@old.example $1@own.example", "closed"),
        ("*@*.own.example $1@${domain}", "closed"),
        ("nonsense", "closed"),
    ],
)
def test_rewriting_that_may_lead_out(rule: str, verdict: str) -> None:
    """4.96 accepts the recipient at its own domain, and the rule makes an outside address of it."""
    routers = ROUTERS.replace("check_local_user\n", "transport = local\n") + TRANSPORTS
    assert exim(OWN, "", f"{routers}begin rewrite\n{rule}\n").verdict == verdict


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [
        ("^.*@.*example\\\\.org", [("open-if", "ex-doms", 7)]),
        ("^[^@]+@example\\\\.org", [("open-if", "ex-doms", 7)]),
        ("^[^@]+@example\\\\.org\\$", []),
        ("^(.+)@(.+\\\\.)?example\\\\.org\\$", []),
        ("*@*.org", [("open-if", "ex-doms", 7)]),
        ("a@partner.example", []),
        ("*@own.example", []),
    ],
)
def test_recipients(recipients: str, expected: list[tuple[str, str, int]]) -> None:
    assert seen(exim(f"  accept recipients = {recipients}\n  deny\n")) == expected


PLAIN = "begin authenticators\nplain:\n  driver = plaintext\n  server_condition = {}\n"


@pytest.mark.parametrize(
    ("authenticators", "expected"),
    [
        (PLAIN.format("yes"), [("open", "ex-any-password", 20)]),
        (PLAIN.format("${if eq{$auth3}{secret}{yes}{no}}"), []),
        ("begin authenticators\ncram:\n  driver = cram_md5\n  server_condition = yes\n", []),
        ("", []),
    ],
)
def test_who_logs_in(authenticators: str, expected: list[tuple[str, str, int]]) -> None:
    """4.96 answers 250 to anybody after AUTH PLAIN with anything, if server_condition is yes."""
    assert seen(exim("  accept authenticated = *\n" + REQUIRE, "", ROUTERS + authenticators)) == expected


def test_hosts_in_a_file_are_looked_up_by_name_unless_it_says_by_address() -> None:
    acl = "  accept hosts = {}lsearch;/etc/exim4/h\n" + REQUIRE
    assert exim(acl.format(""), h="0.0.0.0/0\n@[]\n").verdict == "closed"
    assert exim(acl.format("net-ip"), h="0.0.0.0/0: x\n").verdict == "open"
    told = exim(acl.format(""), h="gw.partner.example: x\n")
    assert seen(told) == [("open-if", "ex-nets", 7)]
    assert "PTR gw.partner.example" in told.findings[0].witness


def test_the_host_itself_is_whatever_is_in_front() -> None:
    front = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="haproxy", reaches_loopback=True)
    acl = "  accept hosts = @[]\n" + REQUIRE
    assert exim(acl).verdict == "closed"
    assert {one.rule for one in exim(acl, front_ends=[front]).findings} == {"ex-net-gateway"}


@pytest.mark.parametrize(
    ("acl", "expected"),
    [
        ("  deny !verify = sender\n  accept hosts = *\n", [("open", "ex-nets", 8)]),
        ("  accept !verify = sender\n  deny\n", [("open", "ex-norequire", 7)]),
        ("  accept verify = reverse_host_lookup\n  deny\n", [("open", "ex-norequire", 7)]),
        ("  accept !verify = recipient\n  deny\n", []),
        ("  deny dnslists = black.example\n  require domains = +local_domains\n  accept\n", []),
        ("  accept dnslists = white.example\n  deny\n", [("unknown", "not-evaluated", 7)]),
        ("  accept senders = boss@*\n  deny\n", [("open-if", "ex-sender", 7)]),
    ],
)
def test_what_he_may_bring_about_as_he_likes(acl: str, expected: list[tuple[str, str, int]]) -> None:
    """Proper or not is his choice; a list in the DNS that lets somebody in is the owner's, and nobody knows it."""
    assert seen(exim(acl)) == expected


def test_percent_hack_domains_is_undone_before_the_acl() -> None:
    """4.96: the ACL already sees the outside domain, and refuses it."""
    assert exim(OWN, "percent_hack_domains = *\n").verdict == "closed"
    assert exim(REQUIRE, "percent_hack_domains = own.example\n").verdict == "closed"
