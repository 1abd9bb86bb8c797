"""Exim's preprocessor, and the two forms of Debian's configuration."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, seen
from tests.audit.servers.exim_files import HOME, LISTS, REQUIRE, debian, exim

from relaywatch.audit.findings import GapKind
from relaywatch.audit.servers.exim import SERVER

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


def test_macros_conditions_and_includes() -> None:
    assert exim("  accept hosts = NETS\n" + REQUIRE, "NETS = 0.0.0.0/0\n").findings[0].line == 8
    acl = (
        ".ifdef WIDE\n  accept hosts = *\n.elifdef OTHER\n  warn\n.else\n  deny hosts = *\n.endif\n" + REQUIRE
    )
    assert exim(acl).verdict == "closed"
    assert exim(acl, "WIDE = 1\n").verdict == "open"
    assert exim(acl, "OTHER = 1\n").verdict == "closed"
    nested = (
        ".ifndef A\n.ifdef B\n  accept hosts = *\n.endif\n.elifndef C\n  warn\n.endif\n.else\n.endif\n"
        + REQUIRE
    )
    assert exim(nested).verdict == "closed"
    assert exim(".ifdef _HAVE_SPF\n  accept hosts = *\n.endif\n" + REQUIRE).verdict == "open"
    told = exim(".include /etc/exim4/more\n" + REQUIRE, more="  accept hosts = *\n")
    assert told.findings[0].file == f"{HOME}/more"
    assert exim(".include_if_exists /etc/exim4/no\n" + REQUIRE).verdict == "closed"
    missing = exim(".include /etc/exim4/no\n" + REQUIRE)
    assert (missing.verdict, [gap.kind for gap in missing.gaps]) == ("unknown", [GapKind.MISSING])
    loop = exim(".include /etc/exim4/more\n" + REQUIRE, more=".include /etc/exim4/more\n")
    assert GapKind.LOOP in {gap.kind for gap in loop.gaps}


def test_continued_lines_and_switches() -> None:
    told = exim(
        "  accept hosts = \\\n    # why\n    0.0.0.0/0 : \\\n    10.0.0.0/8\n" + REQUIRE,
        "no_prdr_enable\nhide x = y\n",
    )
    assert seen(told) == [("open", "ex-nets", 9)]
    assert exim(REQUIRE, "=\n").verdict == "unknown"
    assert exim("  1nonsense\n" + REQUIRE).verdict == "unknown"
    assert exim(REQUIRE, 'hosts_proxy = "127.0.0.1"\n').verdict == "closed"
    assert exim("  accept hosts = 0.0.0.0/0 : \\").verdict == "open"


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("answers", "verdict", "rules"),
    [
        ({}, "closed", []),
        ({"dc_relay_nets": "0.0.0.0/0"}, "open", ["ex-nets:7"]),
        ({"dc_relay_nets": "10.0.0.0/8 ; 0.0.0.0/0 ; ::/0"}, "open", ["ex-nets:7"]),
        ({"dc_relay_nets": "*"}, "open", ["ex-nets:7"]),
        ({"dc_relay_nets": "10.0.0.0/8;192.0.2.0/24"}, "closed", []),
        ({"dc_relay_domains": "*"}, "open", ["ex-doms:5"]),
        ({"dc_relay_domains": "example.net;@mx_any"}, "open-if", ["ex-mx:5"]),
        ({"dc_relay_domains": "^.*example.org"}, "open-if", ["ex-doms:5"]),
        ({"dc_relay_domains": "example.org"}, "closed", []),
        ({"dc_other_hostnames": "*"}, "closed", []),
        ({"dc_eximconfig_configtype": "local", "dc_relay_nets": "*"}, "closed", []),
        ({"dc_local_interfaces": "127.0.0.1 ; ::1", "dc_relay_nets": "*"}, "closed", []),
        ({"dc_minimaldns": "true"}, "closed", []),
    ],
)
def test_debian(split: bool, answers: dict[str, str], verdict: str, rules: list[str]) -> None:
    told = audited(SERVER, debian(split=split, **answers))
    assert (told.verdict, [f"{one.rule}:{one.line}" for one in told.findings]) == (verdict, rules)
    assert all(one.file == f"{HOME}/update-exim4.conf.conf" for one in told.findings)


def test_debians_other_files() -> None:
    named = debian(dc_relay_nets="*")
    whole = {**named, f"{HOME}/exim4.conf": LISTS + "begin acl\ncheck_rcpt:\n" + REQUIRE}
    assert audited(SERVER, whole).verdict == "closed"
    local = {**named, f"{HOME}/exim4.conf.localmacros": "MAIN_RELAY_NETS = 192.0.2.10\n"}
    assert audited(SERVER, local).verdict == "closed"
    overruled = debian(split=True)
    overruled[f"{HOME}/conf.d/acl/30_rcpt.rul"] = "begin acl\nacl_check_rcpt:\n  accept hosts = *\n"
    assert audited(SERVER, overruled).verdict == "open"
    overruled[f"{HOME}/conf.d/acl/40.disabled"] = "begin acl\nacl_check_rcpt:\n  accept hosts = *\n"
    name = {**named, "/etc/mailname": "own.example\n"}
    assert audited(SERVER, name).verdict == "open"
    without = {path: text for path, text in debian(split=True).items() if "/retry/" not in path}
    assert audited(SERVER, without).verdict == "unknown"
    none = audited(SERVER, debian(dc_eximconfig_configtype="none"))
    assert none.error is None
