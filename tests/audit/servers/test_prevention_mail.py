"""The reference on prevention, sections 1.3 to 1.8, row by row: each verdict, with its rule and line.

Rows of Postfix's kin (mailcow, iRedMail, Zimbra) are in those servers' own tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from tests.audit.auditing import audited, seen
from tests.audit.servers import exim_files
from tests.audit.servers.test_courier import courier
from tests.audit.servers.test_exchange import connector, right
from tests.audit.servers.test_haraka import haraka
from tests.audit.servers.test_iis_smtp import LOOPBACK, blob, metabase
from tests.audit.servers.test_opensmtpd import conf
from tests.audit.servers.test_policies import KNOWN, LUA, TOML, plan, span
from tests.audit.servers.test_qmail import LOCAL, qmail

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.server import Server
from relaywatch.audit.servers import (
    chasquid,
    exchange,
    exim,
    hmailserver,
    iis_smtp,
    kumomta,
    opensmtpd,
    stalwart,
)
from relaywatch.audit.servers.courier import SERVER as COURIER_SERVER
from relaywatch.audit.servers.haraka import SERVER as HARAKA_SERVER
from relaywatch.audit.servers.qmail import SERVER as QMAIL_SERVER
from relaywatch.audit.setup import FrontEnd

Found = list[tuple[str, str, int]]
REQUIRE = exim_files.REQUIRE
OWN = "  accept domains = +local_domains\n  deny\n"
DEFAULT_FRONTEND = "MX1\\Default Frontend MX1"
STRANGERS_OWN = "example.net;@mx_any"


def acl(text: str, main: str = "", routers: str = exim_files.ROUTERS) -> dict[str, str]:
    return exim_files.files(text, main, routers)


def exported(*rows: object) -> dict[str, str]:
    return {"/exchange/all.json": json.dumps(rows, indent=1)}


HACK = exim_files.ROUTERS.replace(
    "dnslookup:\n",
    "hack:\n  driver = redirect\n  local_parts = ^.*%\n  data = ${sg{$local_part}{%}{@}}\ndnslookup:\n",
    1,
)
WORDS = acl("").popitem()[1].replace("acl_smtp_rcpt = check_rcpt\n", "")
EXIM = {
    "EX-NETS every host": (exim_files.debian(dc_relay_nets="*"), [("open", "ex-nets", 7)]),
    "EX-NETS 0.0.0.0/0": (exim_files.debian(dc_relay_nets="0.0.0.0/0"), [("open", "ex-nets", 7)]),
    "EX-NETS <; 0.0.0.0/0 ; ::/0": (
        exim_files.debian(dc_relay_nets="<; 0.0.0.0/0 ; ::/0"),
        [("open", "ex-nets", 7)],
    ),
    "EX-NETS relay_from_hosts": (acl("  accept hosts = *\n" + REQUIRE), [("open", "ex-nets", 7)]),
    "EX-DOMS *": (exim_files.debian(dc_relay_domains="*"), [("open", "ex-doms", 5)]),
    "EX-DOMS @mx_any": (exim_files.debian(dc_relay_domains=STRANGERS_OWN), [("open-if", "ex-mx", 5)]),
    "EX-DOMS unanchored": (exim_files.debian(dc_relay_domains="^.*example.org"), [("open-if", "ex-doms", 5)]),
    "EX-SENDER sender_domains": (
        acl("  accept sender_domains = +local_domains\n" + REQUIRE),
        [("open-if", "ex-sender", 7)],
    ),
    "EX-SENDER senders": (acl("  accept senders = *@own.example\n" + REQUIRE), [("open-if", "ex-sender", 7)]),
    "EX-SENDER fixed": (acl("  accept authenticated = *\n" + REQUIRE), []),
    "EX-NOREQUIRE": (acl("  accept\n"), [("open", "ex-norequire", 7)]),
    "EX-NOREQUIRE fixed": (acl(REQUIRE), []),
    "EX-LOCALPART accepted as local": (acl(OWN), []),
    "EX-LOCALPART a router rewrites": (acl(OWN, "", HACK), [("open-if", "ex-localpart", 13)]),
    "EX-LOCALPART denied": (acl("  deny local_parts = ^.*[@%!/|]\n" + OWN, "", HACK), []),
    "EX-PCT": (acl(OWN, "percent_hack_domains = *\n"), []),  # undone before the ACL, as 4.96 shows
    "EX-OTHER": (exim_files.debian(dc_other_hostnames="*"), []),
    "EX-PROXY": (
        acl("  accept hosts = +relay_from_hosts\n" + REQUIRE, "hosts_proxy = *\n"),
        [("open-if", "ex-proxy", 5)],
    ),
    "EX-NOACL": ({"/etc/exim4/exim4.conf": WORDS}, []),
}
OPENSMTPD = {
    "OS-ANYANY": (conf('match from any for any action "relay"'), [("open", "os-any", 9)]),
    "OS-ANYANY from src 0.0.0.0/0": (
        conf('match from src 0.0.0.0/0 for any action "relay"'),
        [("open", "os-src", 9)],
    ),
    "OS-MAILFROM": (
        conf('match from any mail-from "@hosted.example" for any action "relay"'),
        [("open-if", "os-mail-from", 9)],
    ),
    "OS-NEGDOM": (
        conf('match from any !for domain "x.example" action "relay"'),
        [("open", "os-not-domain", 9)],
    ),
    "OS-REGEX": (
        conf('match from any for domain regex "example.org" action "relay"'),
        [("open-if", "os-domain", 9)],
    ),
    "OS-REGEX fixed": (
        conf('match from any for domain regex "^([a-z0-9-]+\\.)*example\\.org$" action "relay"'),
        [],
    ),
    "ok match for any": (conf('match for any action "relay"'), []),
    "ok match from auth": (conf('match from auth for any action "relay"'), []),
}
QMAIL = {
    "QM-NORCPT": (qmail(rcpthosts=""), [("open", "qm-no-rcpthosts", 0)]),
    "QM-NORCPT an empty file": (qmail() | {"/var/qmail/control/rcpthosts": ""}, []),
    "QM-NORCPT morercpthosts alone doesn't close it": (
        qmail(rcpthosts="", morercpthosts="a.example\n"),
        [("open", "qm-no-rcpthosts", 0)],
    ),
    "QM-RELAYALL everybody": (qmail(':allow,RELAYCLIENT=""\n'), [("open", "qm-relayclient", 1)]),
    "QM-RELAYALL a short prefix": (
        qmail('203.:allow,RELAYCLIENT=""\n:allow\n'),
        [("open-if", "qm-relayclient", 1)],
    ),
    "QM-RELAYALL in the environment": (
        qmail(LOCAL)
        | {"/service/smtpd/run": 'RELAYCLIENT=""\nexport RELAYCLIENT\nexec tcpserver 0 25 qmail-smtpd\n'},
        [("open", "qm-relayclient", 1)],
    ),
    "QM-RELAYALL fixed": (qmail(LOCAL), []),
    "QM-PCT": (qmail(percenthack="hosted.example\n"), [("open-if", "qm-percenthack", 1)]),
    "QM-WILD": (qmail(rcpthosts=".com\n"), [("open-if", "qm-rcpthosts-wide", 1)]),
}
COURIER = {
    "CO-DEFAULTNETS": (courier("10\tallow,RELAYCLIENT\n192.168\tallow,RELAYCLIENT\n"), []),
    "CO-NET-ALL": (courier("203\tallow,RELAYCLIENT\n"), [("open-if", "co-net-all", 1)]),
    "CO-NET-ALL everybody": (courier("*\tallow,RELAYCLIENT\n"), [("open", "co-net-all", 1)]),
    "CO-DOM-WIDE esmtpacceptmailfor": (courier("", ".com\n"), [("open-if", "co-dom-wide", 1)]),
    "CO-DOM-WIDE hosteddomains": (
        courier("") | {"/etc/courier/hosteddomains/all": ".com\n"},
        [("open-if", "co-dom-wide", 1)],
    ),
}
EXCHANGE = {
    "EXC-ANONRELAY": (exported(connector(), right()), [("open", "exc-anon-relay", 3)]),
    "EXC-ANONRELAY ::-ffff": (
        exported(connector(ranges="::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), right()),
        [("open", "exc-anon-relay", 3)],
    ),
    "EXC-ANONRELAY fixed": (exported(connector(ranges="192.0.2.10"), right()), []),
    "EXC-EXTSECURED": (
        exported(connector(groups="ExchangeServers", mechanism="ExternalAuthoritative")),
        [("open", "exc-ext-secured", 3)],
    ),
    "EXC-DEFAULTTOUCHED": (
        exported(connector(DEFAULT_FRONTEND), right(DEFAULT_FRONTEND)),
        [("open", "exc-anon-relay", 3)],
    ),
    "EXC anonymous alone is normal": (exported(connector(DEFAULT_FRONTEND), right("MX1\\Relay")), []),
    "EXC-ACCDOM": (
        exported(connector(), right("MX1\\Other"), {"DomainName": "*", "DomainType": "ExternalRelay"}),
        [("open", "exc-accepted-domain", 22)],
    ),
}
IIS = {
    "IIS-ALLEXCEPT": (
        metabase(blob(denied=(("192.0.2.1", "255.255.255.255"),))),
        [("open", "iis-relay-all", 2)],
    ),
    "IIS-ALLEXCEPT fixed": (metabase(LOOPBACK), []),
    "IIS a remote domain overrides": (
        metabase(LOOPBACK, '<IIsSmtpDomain Location="/LM/SmtpSvc/1/Domain/*.com"></IIsSmtpDomain>\n'),
        [("unknown", "iis-relay-list", 5)],
    ),
}
RELAY_TO = "kumo.on('get_listener_domain', function(d, l, m) return kumo.make_listener_domain { relay_to = true } end)\n"
DEST = "[relay]\ndest_domains=true\n"
HARAKA = {
    "HK-ALL relay_all": (haraka("relay_all"), [("open", "hk-all", 3)]),
    "HK-ALL relay all": (haraka("relay", relay_ini="[relay]\nall=true\n"), [("open", "hk-all", 2)]),
    "HK-ALL relay_acl_allow": (haraka("relay", relay_acl_allow="0.0.0.0/0\n"), [("open", "hk-acl", 1)]),
    "HK-ALL relay_dest_domains": (
        haraka(
            "relay", relay_ini=DEST, relay_dest_domains_ini='[domains]\nx.example = {"action":"accept"}\n'
        ),
        [("open-if", "hk-dest-domains", 2)],
    ),
    "HK-REGEX": (haraka("", host_list_regex=".*hosted[.]example\n"), [("open-if", "hk-regex", 1)]),
}
OTHERS: dict[str, tuple[Server, str | Mapping[str, str], Found]] = {
    "HM-EXT2EXT": (hmailserver.SERVER, f"<B>\n{span(1 | 512)}</B>", [("open", "hm-ext-to-ext", 2)]),
    "HM-EXT2EXT the highest priority wins": (
        hmailserver.SERVER,
        f"<B>\n{span(1 | 512, priority=1)}{span(1, priority=2)}</B>",
        [],
    ),
    "ST-RELAY 0.15": (stalwart.SERVER, f"{TOML}relay = true\n", [("open", "st-relay", 4)]),
    "ST-RELAY 0.15 by address": (
        stalwart.SERVER,
        f"{TOML}relay = \"remote_ip == '10.0.0.1'\"\n",
        [("unknown", "not-evaluated", 0)],
    ),
    "ST-RELAY 0.16": (
        stalwart.SERVER,
        {"/copy/plan.ndjson": plan({"allowRelaying": {"else": "true"}})},
        [("open", "st-relay", 4)],
    ),
    "ST-RELAY 0.16 fixed": (
        stalwart.SERVER,
        {"/copy/plan.ndjson": plan({"allowRelaying": {"else": KNOWN}})},
        [],
    ),
    "KM-RELAYTO": (
        kumomta.SERVER,
        f"{RELAY_TO}{LUA}}}\n",
        [("open", "km-relay-to", 1)],
    ),
    "KM-RELAYTO relay_hosts": (
        kumomta.SERVER,
        f"{LUA}  relay_hosts = {{ '0.0.0.0/0' }},\n}}\n",
        [("open", "km-relay-hosts", 3)],
    ),
    "CQ": (chasquid.SERVER, 'smtp_address: ":25"\n', []),
}
ROWS: dict[str, tuple[Server, str | Mapping[str, str], Found]] = {
    **{name: (exim.SERVER, *row) for name, row in EXIM.items()},
    **{name: (opensmtpd.SERVER, *row) for name, row in OPENSMTPD.items()},
    **{name: (QMAIL_SERVER, *row) for name, row in QMAIL.items()},
    **{name: (COURIER_SERVER, *row) for name, row in COURIER.items()},
    **{name: (exchange.SERVER, *row) for name, row in EXCHANGE.items()},
    **{name: (iis_smtp.SERVER, *row) for name, row in IIS.items()},
    **{name: (HARAKA_SERVER, *row) for name, row in HARAKA.items()},
    **OTHERS,
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    server, files, expected = ROWS[row]
    told = audited(server, files)
    assert seen(told) == expected
    assert told.verdict.value == (expected[0][0] if expected else "closed")


BEHIND = {
    "EX-NETS a gateway": (exim.SERVER, exim_files.debian(dc_relay_nets="10.0.0.0/8"), "ex-net-gateway"),
    "CO-DEFAULTNETS a gateway": (COURIER_SERVER, courier("10\tallow,RELAYCLIENT\n"), "co-net-all"),
    "EXC-LB": (exchange.SERVER, exported(connector(ranges="10.0.0.0/8"), right()), "exc-anon-relay"),
    "QM-RELAYALL a gateway": (QMAIL_SERVER, qmail('10.:allow,RELAYCLIENT=""\n:allow\n'), "qm-relayclient"),
    "HK-ALL a gateway": (HARAKA_SERVER, haraka("relay", relay_acl_allow="10.0.0.0/8\n"), "hk-acl"),
    "KM-RELAYTO a gateway": (
        kumomta.SERVER,
        f"{LUA}  relay_hosts = {{ '10.0.0.0/8' }},\n}}\n",
        "km-relay-hosts",
    ),
    "OS behind something": (
        opensmtpd.SERVER,
        conf('match from src 10.0.0.0/8 for any action "relay"'),
        "os-src",
    ),
}


@pytest.mark.parametrize("row", BEHIND)
def test_a_trusted_address_that_strangers_come_through(row: str) -> None:
    server, files, rule = BEHIND[row]
    gateway = FrontEnd(addresses=AddressSet.of(["10.0.0.1"]), name="gateway")
    assert audited(server, files).verdict == "closed"
    told = audited(server, files, front_ends=[gateway])
    assert [(one.verdict.value, one.rule) for one in told.findings] == [("open-if", rule)]
    assert "through gateway" in told.findings[0].witness
