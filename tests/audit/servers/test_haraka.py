"""Haraka: plug-ins, relay.ini, lists, and mending."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.haraka import SERVER
from relaywatch.audit.setup import FrontEnd

HOME = "/etc/haraka/config"


def haraka(plugins: str, **files: str):
    """``files`` are named with _ for a dot before ini, and for the dot in xclient.hosts."""
    named = {
        f"{HOME}/{name.replace('_ini', '.ini').replace('xclient_', 'xclient.')}": text
        for name, text in files.items()
    }
    return {f"{HOME}/plugins": f"rcpt_to.in_host_list\nqueue/discard\n{plugins}\n", **named}


DEST = "[relay]\nacl=false\ndest_domains=true\n"
ACL = "[relay]\nacl=true\n"


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
            haraka("relay", relay_ini=ACL, relay_acl_allow="# x\n203.0.0.0/8\n"),
            [("open-if", "hk-acl", 2)],
        ),
        (
            haraka("relay", relay_acl_allow="0.0.0.0/0\n::/0\n"),
            [("open", "hk-acl", 1), ("open", "hk-acl", 2)],
        ),
        (haraka("relay", relay_ini="[main]\nall=true\n"), []),
        (haraka("relay", relay_acl_allow="192.0.2.10\n"), []),
        (
            haraka("relay_acl", relay_acl_allow="0.0.0.0/1\n128.0.0.0/1\n"),
            [("open", "hk-acl", 1), ("open", "hk-acl", 2)],
        ),
        (haraka("relay", relay_ini="[relay]\nacl=false\n", relay_acl_allow="0.0.0.0/0\n"), []),
        (haraka("", host_list_regex="# ours\n.*hosted[.]example\n"), [("open-if", "hk-regex", 2)]),
        (haraka("", host_list_regex="mail[.]hosted[.]example\n"), []),
        (haraka("", host_list_regex="((\n"), [("unknown", "hk-regex", 1)]),
        (haraka("mine"), [("unknown", "not-evaluated", 0)]),
        (haraka("relayed"), [("unknown", "not-evaluated", 0)]),
        (haraka("relay") | {"/etc/haraka/plugins/relay.js": "x"}, [("unknown", "not-evaluated", 0)]),
        (
            haraka(
                "relay",
                relay_ini=DEST,
                relay_dest_domains_ini='[domains]\npartner.example = {"action":"continue"}\n',
            ),
            [("open-if", "hk-dest-domains", 3)],
        ),
        (
            haraka(
                "relay_dest_domains",
                relay_dest_domains_ini='[domains]\npartner.example = {"action":"accept"}\n',
            ),
            [("open-if", "hk-dest-domains", 3)],
        ),
        (
            haraka(
                "relay", relay_ini=DEST, relay_dest_domains_ini='[domains]\nx.example = {"action":"deny"}\n'
            ),
            [],
        ),
        (
            haraka(
                "relay", relay_ini=DEST, relay_dest_domains_ini='[other]\nx.example = {"action":"accept"}\n'
            ),
            [],
        ),
        (
            haraka("relay", relay_ini=DEST, relay_dest_domains_ini="[domains]\nx.example = accept\n"),
            [("unknown", "not-evaluated", 0)],
        ),
        (haraka("relay", relay_ini=DEST), []),
        (
            haraka(
                "relay", relay_acl_allow="192.0.2.10/32\n", connection_ini="[haproxy]\nhosts[] = 0.0.0.0/0\n"
            ),
            [("open-if", "hk-proxy", 2)],
        ),
        (
            haraka("relay", relay_acl_allow="2001:db8::10/128\n", haproxy_hosts="[2000::]/3\n2000::/3\n"),
            [("open-if", "hk-proxy", 2)],
        ),
        (haraka("relay", connection_ini="[haproxy]\nhosts[] = 0.0.0.0/0\n"), []),
        (
            haraka(
                "relay",
                relay_acl_allow="192.0.2.10/32\n",
                connection_ini="[haproxy]\nhosts[] =\nhosts[] = 192.0.2.4\n",
            ),
            [],
        ),
        (haraka("relay\nxclient", relay_acl_allow="192.0.2.10/32\n", xclient_hosts="192.0.2.4\n"), []),
        (haraka("relay", relay_acl_allow="192.0.2.10/32\n", haproxy_hosts="nobody\n"), []),
    ],
)
def test_rows(files, expected):
    assert seen(audited(SERVER, files)) == expected


def test_what_he_says_for_it():
    """As Haraka 3.1.1 answered: 250 for the partner, and 250 for anybody after him."""
    files = haraka(
        "relay", relay_ini=DEST, relay_dest_domains_ini='[domains]\np.example = {"action":"accept"}\n'
    )
    witness = audited(SERVER, files).findings[0].witness
    assert witness.endswith("RCPT TO:<postmaster@p.example>; RCPT TO:<someone@elsewhere.example>")


def test_xclient_through_something_in_front():
    front = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="stunnel", reaches_loopback=True)
    files = haraka(
        "relay\nxclient", relay_acl_allow="192.0.2.10/32\n", smtp_ini="listen=127.0.0.1:25,[::1]:26\n"
    )
    assert audited(SERVER, files).verdict is AuditVerdict.CLOSED
    told = audited(SERVER, files, front_ends=[front])
    assert [(one[0], one[1], one[2]) for one in seen(told)] == [
        ("open-if", "hk-proxy", 4),
        ("open-if", "hk-proxy", 4),
    ]
    assert "XCLIENT ADDR=192.0.2.10" in told.findings[0].witness


def test_the_listener_and_a_list_that_is_no_address():
    files = haraka(
        "relay",
        relay_ini="[relay]\nacl=true\ndest_domains=true\n",
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
        haraka(
            "relay", relay_ini=DEST, relay_dest_domains_ini='[domains]\np.example = {"action":"accept"}\n'
        ),
        haraka("relay_dest_domains", relay_dest_domains_ini='[domains]\np.example = {"action":"accept"}\n'),
        haraka("relay_acl", relay_acl_allow="0.0.0.0/1\n128.0.0.0/1\n"),
        haraka("", host_list_regex=".*hosted[.]example\n"),
    ],
)
def test_mending(files):
    assert mending(SERVER, files, allowed=["198.51.100.0/24"]).report.verdict is AuditVerdict.CLOSED
