"""MikroTik exports: both servers, their access lists, the input chain, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.mikrotik import SERVER

PROXY = "/ip proxy\nset enabled=yes port=8080\n"
SOCKS = "/ip socks\nset enabled=yes port=4145\n"
INPUT = "/ip firewall filter\nadd action=accept chain=input connection-state=established,related\n"


def test_both_are_open_by_themselves() -> None:
    report = audited(SERVER, INPUT + PROXY + SOCKS)
    assert seen(report) == [("open", "mk-proxy", 4), ("open", "mk-forward", 4), ("open", "mk-socks", 6)]
    assert ":25 by CONNECT" in report.findings[0].witness
    assert report.findings[2].service == "/ip socks *:4145"


@pytest.mark.parametrize(
    "text",
    [
        "/ip proxy\nset port=8080\n",
        PROXY.replace("yes", "no"),
        PROXY + "/ip proxy access\nadd action=deny\n",
        PROXY + "/ip proxy access\nadd action=allow dst-host=*.example.org\nadd action=deny\n",
        PROXY + "/ip proxy access\nadd action=allow dst-host=www.example.org\nadd action=deny\n",
        PROXY + "/ip proxy access add action=allow src-address=10.0.0.0/8\n/ip proxy access\nadd action=deny\n",
        SOCKS.replace("port", "auth-method=password version=5 port"),
        SOCKS + "/ip socks access\nadd action=allow src-address=10.0.0.0-10.9.9.9\nadd action=deny src-address=!10.0.0.0/8\n",
        PROXY + INPUT + "add action=drop chain=input in-interface-list=WAN\n",
        PROXY + INPUT + "add action=drop chain=input in-interface-list=!LAN\n",
        PROXY + INPUT + "add action=drop chain=input \\\n    dst-port=8080,1080 protocol=tcp\n",
        PROXY + INPUT + "add action=accept chain=input in-interface-list=LAN\nadd action=drop chain=input\n",
        PROXY + INPUT + "add action=reject chain=input connection-state=!established\n",
        PROXY + "/interface list member\nadd interface=ether1 list=WAN\n/ip firewall filter\n"
        "add action=drop chain=input in-interface=ether1\n",
        PROXY + "/ip firewall address-list\nadd address=10.0.0.0/8 list=own\n/ip firewall filter\n"
        "add action=drop chain=input src-address-list=!own\n",
        PROXY + "/ip firewall raw\nadd action=drop chain=prerouting dst-port=8080 protocol=tcp\n",
        PROXY + INPUT + "add action=drop chain=input dst-address-type=local in-interface=all\n",
        "/ip address\nadd address=192.0.2.1/24\n",
    ],
)  # fmt: skip
def test_what_keeps_strangers_out(text: str) -> None:
    assert audited(SERVER, text).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize(
    ("more", "witness"),
    [
        ("/ip proxy access\nadd action=deny dst-port=25\n", ":443"),
        ("/ip proxy access\nadd action=deny dst-port=!443\n", ":443"),
        ("/ip proxy access\nadd action=deny method=CONNECT dst-port=!443\n", ":443"),
        ("/ip proxy access\nadd action=allow dst-port=6667\nadd action=deny\n", ":6667"),
        ("/ip proxy access\nadd action=allow dst-host=*.com\nadd action=deny\n", "elsewhere.com"),
        ("/ip proxy access\nadd action=deny dst-host=*.example\n", ":25"),
        (
            "/ip firewall filter\nadd action=accept chain=input protocol=!gre\nadd action=drop chain=input\n",
            ":25",
        ),
        ("/ip proxy access\nadd action=deny disabled=yes\n", ":25"),
        ("/ip proxy access\nadd action=deny dst-address=127.0.0.0/8\n", ":25"),
        ("/ip proxy access\nadd action=deny dst-host=www.example.org\n", ":25"),
        ("/ip proxy access\nadd action=deny path=*.mp3\n", ":25"),
        ("/ip proxy access\nadd action=deny local-port=8081\n", ":25"),
        ("/ip firewall filter\nadd action=drop chain=forward\nadd action=log chain=input\n", ":25"),
        ("/ip firewall filter\nadd action=drop chain=input protocol=udp\n", ":25"),
        ("/ip firewall filter\nadd action=drop chain=input connection-state=invalid\n", ":25"),
        ("/ip firewall filter\nadd action=drop chain=input in-interface-list=!WAN\n", ":25"),
        ("/ip firewall filter\nadd chain=input\nadd action=drop chain=input\n", ":25"),
    ],
)
def test_what_leaves_it_open(more: str, witness: str) -> None:
    report = audited(SERVER, PROXY + more)
    assert report.verdict is AuditVerdict.OPEN
    assert witness in report.findings[0].witness


@pytest.mark.parametrize(
    "more",
    [
        "/ip firewall filter\nadd action=jump jump-target=x chain=input\n",
        "/ip firewall filter\nadd action=drop chain=input in-interface=ether5\n",
        "/ip firewall filter\nadd action=drop chain=input limit=1\n",
        "/ip proxy access\nadd action=allow dst-host=*else*\nadd action=deny\n",
        "/ip firewall filter\nadd action=drop chain=input src-address=what\n",
        '/ip proxy access\nadd action=deny dst-host=":x"\n',
        "/ip proxy access\nadd action=deny odd=1\n",
        "/ip firewall filter\nwhat\nadd action=drop chain=input\n",
        '/ip firewall filter\nadd action=drop chain=input\nadd comment="x\n',
    ],
)
def test_what_is_not_evaluated_is_unknown(more: str) -> None:
    report = audited(SERVER, PROXY + more)
    assert report.verdict is AuditVerdict.UNKNOWN
    assert report.gaps


def test_a_password_is_of_socks_5_alone_and_menus_may_be_written_with_slashes() -> None:
    text = SOCKS.replace("port", "auth-method=password version=4 port")
    assert audited(SERVER, text).verdict is AuditVerdict.OPEN
    assert audited(SERVER, "/ip/proxy/set enabled=yes\n").verdict is AuditVerdict.OPEN
    assert (
        audited(SERVER, "/ip/proxy set enabled=yes\n/ip/proxy/access add action=deny\n").verdict
        is AuditVerdict.CLOSED
    )


def test_wide_networks_are_told() -> None:
    report = audited(
        SERVER, PROXY + "/ip proxy access\nadd action=allow src-address=198.0.0.0/8\nadd action=deny\n"
    )
    assert report.verdict is AuditVerdict.OPEN_IF
    assert "from 198.0.0.0/8" in report.findings[0].witness


@pytest.mark.parametrize(
    "text", [PROXY, INPUT + PROXY + SOCKS, PROXY + "/ip proxy access\nadd action=deny dst-port=25\n"]
)
def test_mending(text: str) -> None:
    off = mending(SERVER, text)
    assert off.report.verdict is AuditVerdict.CLOSED
    assert "+set enabled=no port=8080" in off.diff
    kept = mending(SERVER, text, allowed=("198.51.100.0/24",))
    assert kept.report.verdict is AuditVerdict.CLOSED
    assert "+add action=allow src-address=198.51.100.0/24" in kept.diff
    assert "enabled=no" not in kept.diff


WORDS = st.sampled_from(["/ip proxy access", "/ip firewall filter", "add", "set", "action=deny", "chain=input", "src-address=",
                         "dst-port=1-a", "!", "=", "\n", "\\", '"', "in-interface=x", "src-address=1.2.3.4-::1"])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, PROXY + text)
    audited(SERVER, PROXY + text.replace(" \n ", "\n"))
