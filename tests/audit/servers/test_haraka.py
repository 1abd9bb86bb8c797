"""Haraka: plug-ins, relay.ini, lists, and mending."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.haraka import SERVER

HOME = "/etc/haraka/config"


def haraka(plugins: str, **files: str):
    named = {
        f"{HOME}/{name.replace('relay_ini', 'relay.ini').replace('smtp_ini', 'smtp.ini')}": text
        for name, text in files.items()
    }
    return {f"{HOME}/plugins": f"rcpt_to.in_host_list\nqueue/discard\n{plugins}\n", **named}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (haraka(""), []),
        (haraka("# relay_all"), []),
        (haraka("relay_all"), [("open", "hk-all", 3)]),
        (haraka("relay", relay_ini="[relay]\nall=true\n"), [("open", "hk-all", 2)]),
        (haraka("", relay_ini="[relay]\nall=true\n"), []),
        (haraka("relay", relay_ini="[relay]\n; all=true\nacl=true\n", relay_acl_allow="192.0.2.0/24\n"), []),
        (
            haraka("relay", relay_ini="acl=true\n", relay_acl_allow="# x\n203.0.0.0/8\n"),
            [("open-if", "hk-acl", 2)],
        ),
        (
            haraka("relay_acl", relay_acl_allow="0.0.0.0/1\n128.0.0.0/1\n"),
            [("open", "hk-acl", 1), ("open", "hk-acl", 2)],
        ),
        (haraka("relay", relay_ini="acl=false\n", relay_acl_allow="0.0.0.0/0\n"), []),
        (haraka("", host_list_regex="# ours\n.*hosted[.]example\n"), [("open-if", "hk-regex", 2)]),
        (haraka("", host_list_regex="mail[.]hosted[.]example\n"), []),
        (haraka("", host_list_regex="((\n"), [("unknown", "hk-regex", 1)]),
        (haraka("mine"), [("unknown", "not-evaluated", 0)]),
    ],
)
def test_rows(files, expected):
    assert seen(audited(SERVER, files)) == expected


def test_the_listener_and_a_list_that_is_no_address():
    files = haraka(
        "relay",
        relay_ini="acl=true\ndest_domains=true\n",
        relay_acl_allow="somewhere\n",
        smtp_ini="listen=0.0.0.0:2525\n",
    )
    told = audited(SERVER, files | {f"{HOME}/relay_dest_domains.ini": "[domains]\n"})
    assert told.services[0].name == "0.0.0.0:2525"
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.SYNTAX)


@pytest.mark.parametrize(
    "files",
    [
        haraka("relay_all"),
        haraka("relay", relay_ini="[relay]\nall=true\n"),
        haraka("relay_acl", relay_acl_allow="0.0.0.0/1\n128.0.0.0/1\n"),
        haraka("", host_list_regex=".*hosted[.]example\n"),
    ],
)
def test_mending(files):
    assert mending(SERVER, files, allowed=["198.51.100.0/24"]).report.verdict is AuditVerdict.CLOSED
