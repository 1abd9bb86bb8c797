"""Exim's preprocessor, and the two forms of Debian's configuration."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, seen
from tests.audit.servers.exim_files import HOME, LISTS, REQUIRE, debian, exim

from relaywatch.audit.findings import GapKind
from relaywatch.audit.servers.exim import SERVER


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
        ({"MAIN_ACL_CHECK_RCPT": "accept"}, "open", ["ex-norequire:9"]),
    ],
)
def test_debian(split: bool, answers: dict[str, str], verdict: str, rules: list[str]) -> None:
    told = audited(SERVER, debian(split=split, **answers))
    assert (told.verdict, [f"{one.rule}:{one.line}" for one in told.findings]) == (verdict, rules)
    assert all(one.file == f"{HOME}/update-exim4.conf.conf" for one in told.findings)


def test_answers_that_the_shell_reads_otherwise_are_a_gap() -> None:
    """update-exim4.conf sources the file; what is no plain assignment may say anything."""
    named = debian()
    path = f"{HOME}/update-exim4.conf.conf"
    for line in ("export dc_relay_nets='*'", "dc_relay_nets=$(nets)", ". /etc/more"):
        told = audited(SERVER, {**named, path: named[path] + line + "\n"})
        assert told.verdict == "unknown", line


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
