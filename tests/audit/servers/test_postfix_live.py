"""Postfix 3.7.11 ran with each of these, and answered as the verdict says: what once was judged otherwise."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited
from tests.audit.servers.postfix_files import MASTER, NARROW, OWN, files, postfix

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import GapKind
from relaywatch.audit.servers.postfix import SERVER
from relaywatch.audit.setup import FrontEnd

RELAY = "smtpd_relay_restrictions = "
REFUSE = "reject_unauth_destination\n"
WIDE = OWN + "mynetworks = 0.0.0.0/0\n"
RESERVED = "/\\.(test|example|invalid|localhost)$/ REJECT\n"
LEVEL = "compatibility_level = 3.6\nmydestination = own.example\nmynetworks = 127.0.0.1\n"
SAID = {
    "a value of commas is an empty list, and OK": (
        NARROW + RELAY + f"check_sender_access texthash:/etc/postfix/t, {REFUSE}",
        {"t": "own.example ,\n"},
        "open-if",
    ),
    "a number without a text is OK": (
        NARROW + RELAY + f"check_sender_access texthash:/etc/postfix/t, {REFUSE}",
        {"t": "own.example 550\n"},
        "open-if",
    ),
    "an expression without a value is an error": (
        NARROW + RELAY + f"check_sender_access regexp:/etc/postfix/t, {REFUSE}",
        {"t": "/./\n"},
        "closed",
    ),
    "a network without a value is passed over": (
        NARROW + RELAY + f"check_client_access cidr:/etc/postfix/t, {REFUSE}",
        {"t": "0.0.0.0/0\n8.0.0.0/8 OK\n"},
        "open-if",
    ),
    "a class that isn't there": (
        NARROW + "smtpd_restriction_classes = c\n" + RELAY + f"c, {REFUSE}",
        {},
        "down",
    ),
    "a blank in a name": (NARROW + "my networks = 1\n", {}, "down"),
    "mydomain is what myhostname is in": (
        LEVEL + "myhostname = foo.example\nrelay_domains = $mydomain\n",
        {},
        "open-if",
    ),
    "mydomain of a longer name": (
        LEVEL + "myhostname = mx.foo.example\nrelay_domains = $mydomain\n",
        {},
        "closed",
    ),
    "a name without dots": (OWN + "a = 0.0.0.0/0\nmynetworks = $a.5\n", {}, "closed"),
    "config_directory and the usual type": (
        NARROW + RELAY + f"check_sender_access $default_database_type:$config_directory/t, {REFUSE}",
        {"t": "own.example OK\n"},
        "open-if",
    ),
    "whose address has a name": (
        WIDE + "smtpd_client_restrictions = check_client_access inline:{unknown=REJECT}\n",
        {},
        "open",
    ),
    "whose address has none": (
        NARROW + RELAY + f"check_client_access inline:{{unknown=OK}}, {REFUSE}",
        {},
        "open",
    ),
    "names in a table of networks": (
        OWN + "mynetworks = texthash:/etc/postfix/t\n",
        {"t": "isp.example x\n"},
        "open-if",
    ),
    "relay domains have a transport of their own": (
        NARROW + "default_transport = discard\nrelay_domains = static:all\n",
        {},
        "open",
    ),
    "both are thrown away": (
        NARROW + "default_transport = discard\nrelay_transport = error:no\nrelay_domains = static:all\n",
        {},
        "closed",
    ),
    "somebody else gets it": (
        WIDE + "smtpd_recipient_restrictions = check_recipient_access static:{REDIRECT x@own.example}\n",
        {},
        "closed",
    ),
    "another HELO than the reserved": (
        WIDE
        + "smtpd_helo_required = yes\nsmtpd_helo_restrictions = check_helo_access regexp:/etc/postfix/t\n",
        {"t": RESERVED},
        "open",
    ),
    "other mailboxes than the reserved": (
        WIDE
        + "smtpd_sender_restrictions = check_sender_access regexp:/etc/postfix/t, reject_non_fqdn_sender,"
        + " check_sender_access inline:{<>=REJECT}\n"
        + "smtpd_recipient_restrictions = check_recipient_access regexp:/etc/postfix/t\n",
        {"t": RESERVED},
        "open",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_as_the_server_answered(case: str) -> None:
    main, tables, verdict = SAID[case]
    assert postfix(main, **tables).verdict == verdict


@pytest.mark.parametrize(
    ("main", "override", "verdict"),
    [
        ("", "relay_domains=static:all", "closed"),
        ("relay_domains = static:all\n", "relay_domains=", "open"),
        ("", "virtual_mailbox_domains=static:all", "closed"),
        ("relay_domains = relay.example\n", "allow_untrusted_routing=yes", "open-if"),
    ],
)
def test_classes_of_addresses_are_told_by_another_service(main: str, override: str, verdict: str) -> None:
    """What master.cf overrides for smtpd is nothing to trivial-rewrite, which says whose a domain is."""
    assert postfix(NARROW + main, MASTER + f"  -o {override}\n").verdict == verdict


def test_what_overrides_trivial_rewrites_counts() -> None:
    master = MASTER + "rewrite unix - - y - - trivial-rewrite\n  -o relay_domains=static:all\n"
    assert postfix(NARROW, master).verdict == "open"


def test_a_service_that_is_switched_off() -> None:
    for off, verdict in (("smtp.inet", "unknown"), ("inet", "unknown"), ("!smtp/inet inet", "open")):
        told = postfix(WIDE + f"master_service_disable = {off}\n")
        assert (told.verdict, bool(told.services)) == (verdict, verdict == "open")
    both = MASTER + "10025 inet n - y - - smtpd\n  -o mynetworks=\n"
    assert postfix(WIDE + "master_service_disable = smtp/inet\n", both).verdict == "closed"


def test_what_isnt_evaluated_is_unknown() -> None:
    filtering = NARROW + "smtpd_command_filter = regexp:/etc/postfix/f\n"
    assert postfix(filtering, f="/^RCPT TO:.*/ RCPT TO:<y@own.example>\n").verdict == "unknown"
    spawned = MASTER + "2525 inet n n n - 0 spawn user=nobody argv=/usr/bin/program\n"
    told = postfix(NARROW, spawned)
    assert told.verdict == "unknown"
    assert [(gap.kind, gap.subject) for gap in told.gaps] == [(GapKind.EXTERNAL, "2525/inet spawn")]
    assert postfix(NARROW, spawned.replace("2525 ", "127.0.0.1:2525 ")).verdict == "closed"
    anonymous = NARROW + "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_security_options = noplaintext\n"
    assert postfix(anonymous).verdict == "unknown"
    assert postfix(anonymous.replace("noplaintext", "noplaintext, noanonymous")).verdict == "closed"
    replaced = NARROW + RELAY + f"check_sender_access regexp:/etc/postfix/t, {REFUSE}"
    assert postfix(replaced, t="/@own\\.(ok)$/ $1\n").verdict == "unknown"
    relayed = "compatibility_level = 3.6\nmynetworks =\nmydestination =\nrelay_domains = $mydomain\n"
    assert postfix(relayed).verdict == "unknown"
    named = files(relayed) | {"/etc/hostname": "own.example\n"}
    assert audited(SERVER, named).verdict == "open-if"
    assert audited(SERVER, named | {"/etc/hostname": "mx.own.example\n"}).verdict == "closed"


@pytest.mark.parametrize(
    ("hosts", "verdict", "words"),
    [
        ("isp.example", "open-if", "PTR isp.example; XCLIENT ADDR=127.0.0.1"),
        (".isp.example", "open-if", "PTR .isp.example; XCLIENT ADDR=127.0.0.1"),
        ("texthash:/etc/postfix/gone", "closed", ""),  # Postfix hangs up
        ("hash:/etc/postfix/t", "unknown", ""),
        ("ldap:x", "unknown", ""),
    ],
)
def test_who_may_say_that_he_is_another(hosts: str, verdict: str, words: str) -> None:
    told = postfix(NARROW + f"smtpd_authorized_xclient_hosts = {hosts}\n", **{"t.db": "\0"})
    assert told.verdict == verdict
    assert words in (told.findings[0].witness if told.findings else "")


def test_xclient_gives_a_name_or_an_address_that_a_table_lets_in() -> None:
    main = OWN + "mynetworks =\nsmtpd_authorized_xclient_hosts = 0.0.0.0/0\n" + RELAY
    told = postfix(main + f"check_client_access inline:{{10.1.2.3=OK}}, {REFUSE}")
    assert "XCLIENT ADDR=10.1.2.3" in told.findings[0].witness
    told = postfix(main + f"check_client_access inline:{{trusted.example=OK}}, {REFUSE}")
    assert any("XCLIENT NAME=trusted.example" in one.witness for one in told.findings)


def test_a_front_end_may_have_any_of_its_addresses() -> None:
    gateways = [f"172.{number}.0.1" for number in range(17, 32)]
    docker = FrontEnd(addresses=AddressSet.of(gateways), name="docker-proxy")
    told = postfix(OWN + "mynetworks = 127.0.0.0/8 172.29.0.0/16\n", front_ends=[docker])
    assert [(one.verdict, one.rule) for one in told.findings] == [("open-if", "pf-net-gateway")]


def test_check_relay_domains_lets_clients_of_these_domains_pass_too() -> None:
    """What smtpd itself has for relay_domains, where trivial-rewrite has another list."""
    main = NARROW.replace("3.6", "0") + "smtpd_recipient_restrictions = check_relay_domains\n"
    assert postfix(main, MASTER + "  -o relay_domains=static:all\n").verdict == "open"
    assert postfix(main, MASTER).verdict == "closed"
