"""Exim: what routers, transports and rewriting make of accepted mail; recipients by expressions."""

from __future__ import annotations

import pytest
from tests.audit.auditing import seen
from tests.audit.servers.exim_files import REQUIRE, ROUTERS, exim

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


def test_percent_hack_domains_is_undone_before_the_acl() -> None:
    """4.96: the ACL already sees the outside domain, and refuses it."""
    assert exim(OWN, "percent_hack_domains = *\n").verdict == "closed"
    assert exim(REQUIRE, "percent_hack_domains = own.example\n").verdict == "closed"
