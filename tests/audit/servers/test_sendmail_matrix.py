"""Sendmail: every rule of the reference, by its own id, as sendmail -bt 8.17 answered or cf/README says."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, seen
from tests.audit.servers.test_sendmail import CF, MC, cf, mc

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.servers.sendmail import SERVER
from relaywatch.audit.setup import FrontEnd

HOST = {"/etc/hostname": "example.org\n"}
OLD = "V1\nCwlocalhost\nSparse=0\nR$+ < @ $+ >\t\t$#esmtp $@ $2 $: $1 < @ $2 >\n"
ROWS = {
    "SM-PROMISC": (mc("FEATURE(`promiscuous_relay')dnl\n"), "open", {("sm-promiscuous", 8)}),
    "SM-LOCALFROM": (mc("FEATURE(`relay_local_from')dnl\n"), "open-if", {("sm-local-from", 8)}),
    "SM-MAILFROM": (
        mc("FEATURE(`relay_mail_from')dnl\n", "From:boss@partner.test RELAY\n"),
        "open-if",
        {("sm-mail-from", 1)},
    ),
    "SM-LOOSE": (
        mc("FEATURE(`loose_relay_check')dnl\nRELAY_DOMAIN(`relay.test')dnl\n"),
        "open-if",
        {("sm-loose", 9)},
    ),
    "SM-LOOSE: without it": (mc("RELAY_DOMAIN(`relay.test')dnl\n"), "closed", set()),
    "SM-ENTIRE: a host named example.org": (
        mc("FEATURE(`relay_entire_domain')dnl\n") | HOST,
        "open-if",
        {("sm-entire", 8)},
    ),
    "SM-ENTIRE: a host below the domain": (
        mc("FEATURE(`relay_entire_domain')dnl\n") | {"/etc/hostname": "mail.example.org\n"},
        "closed",
        set(),
    ),
    "SM-BASEDMX": (mc("FEATURE(`relay_based_on_MX')dnl\n"), "open-if", {("sm-mx", 8)}),
    "SM-BESTMX: takes mail, and relays none": (mc("FEATURE(`bestmx_is_local')dnl\n"), "closed", set()),
    "SM-R-WIDE: a top-level domain": (mc(relay_domains="example\n"), "open-if", {("sm-relay-domains", 1)}),
    "SM-R-WIDE: one octet": (mc(relay_domains="192\n"), "open-if", {("sm-relay-domains", 1)}),
    "SM-R-WIDE: relay_hosts_only": (
        mc("FEATURE(`relay_hosts_only')dnl\n", relay_domains="example\n"),
        "closed",
        set(),
    ),
    "SM-ACC-RELAY: a short prefix": (mc("", "Connect:203\tRELAY\n"), "open-if", {("sm-access-relay", 1)}),
    "SM-ACC-RELAY: a top-level domain": (
        mc("", "Connect:com\tRELAY\n"),
        "open-if",
        {("sm-access-relay", 1)},
    ),
    "SM-ACC-RELAY: a prefix ends at an octet": (mc("", "Connect:10.16\tRELAY\n"), "closed", set()),
    "SM-ACC-UNTAG": (mc("", "com RELAY\n"), "open-if", {("sm-access-untagged", 1)}),
    "SM-ACC-UNTAG: OK is no RELAY": (mc("", "203 OK\ncom OK\n"), "closed", set()),
    "SM-UNQUAL, SM-UNRES": (
        mc("FEATURE(`accept_unqualified_senders')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n"),
        "closed",
        set(),
    ),
    "SM-NOSPECIAL": (
        mc("FEATURE(`nopercenthack', `nospecial')dnl\nRELAY_DOMAIN(`relay.test')dnl\n"),
        "open-if",
        {("sm-loose", 9)},
    ),
    "SM-NOSPECIAL: reject": (
        mc("FEATURE(`nopercenthack', `reject')dnl\nRELAY_DOMAIN(`relay.test')dnl\n"),
        "closed",
        set(),
    ),
    "SM-DEFER": (mc("define(`confDELIVERY_MODE', `deferred')dnl\n"), "open", {("sm-defer", 8)}),
    "SM-OLD: no check_rcpt": ({CF: OLD}, "open", {("sm-promiscuous", 0), ("not-evaluated", 0)}),
    "a certificate of an authority relays": (
        mc("", "CERTIssuer:/O=Anybody/CN=Authority\tRELAY\n"),
        "unknown",
        {("not-evaluated", 0)},
    ),
    "a certificate, in sendmail.cf": (
        cf(access="CERTIssuer:/O=Anybody/CN=Authority\tRELAY\n"),
        "unknown",
        {("not-evaluated", 0)},
    ),
    "a null client's rules refuse": (mc("FEATURE(`nullclient', `hub.example')dnl\n"), "closed", set()),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_rule_of_the_reference(row: str) -> None:
    files, verdict, rules = ROWS[row]
    told = audited(SERVER, files)
    assert (told.verdict, {(rule, line) for _, rule, line in seen(told)}) == (verdict, rules)


def test_sm_nodaemonaddr() -> None:
    """A front end on loopback lends strangers 127.0.0.1, which Relay_ok lets relay always."""
    front = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="socat", reaches_loopback=True)
    told = audited(SERVER, mc(), front_ends=[front])
    assert [(verdict, rule) for verdict, rule, _ in seen(told)] == [("open-if", "sm-front-end")]
    assert told.path == MC
