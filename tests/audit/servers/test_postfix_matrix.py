"""Postfix: every row of the reference's matrix and of its rules, as the running server answered."""

from __future__ import annotations

import pytest
from tests.audit.auditing import audited, setup_of
from tests.audit.servers.postfix_files import MASTER, NARROW, OWN, files, postfix

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.servers.postfix import SERVER
from relaywatch.audit.servers.postfix.parameters import Parameters, read_main_cf
from relaywatch.audit.servers.postfix.smtpd import Listener, Smtpd
from relaywatch.audit.servers.postfix.tables import Tables
from relaywatch.audit.setup import FrontEnd

RELAY = "smtpd_relay_restrictions = "
RECIPIENT = "smtpd_recipient_restrictions = "
REFUSE = "reject_unauth_destination"

MATRIX = {
    "row 01: as Debian has it": (NARROW, "closed", []),
    "row 02: all of IPv4": (OWN + "mynetworks = 0.0.0.0/0\n", "open", ["pf-net-all:3"]),
    "row 02: all but one": (OWN + "mynetworks = !127.0.0.9,0.0.0.0/0\n", "open", ["pf-net-all:3"]),
    "row 02: two halves": (OWN + "mynetworks = 0.0.0.0/1 128.0.0.0/1\n", "open", ["pf-net-all:3"]),
    "row 03: mapped addresses are no IPv4 clients": (
        OWN + "mynetworks = 127.0.0.1/32 [::ffff:0:0]/96\n",
        "closed",
        [],
    ),
    "PF-NET-ALL: all of IPv6": (OWN + "mynetworks = 127.0.0.0/8, [::]/0\n", "open", ["pf-net-ipv6:3"]),
    "row 05: client table": (
        NARROW + RELAY + f"check_client_access static:OK, {REFUSE}\n",
        "open",
        ["pf-relay-order:4"],
    ),
    "row 06: sender table": (
        NARROW + RELAY + f"permit_mynetworks,\n check_sender_access inline:{{own.example=OK}},\n {REFUSE}\n",
        "open-if",
        ["pf-relay-order-sender:5"],
    ),
    "row 06: null sender": (
        NARROW + RELAY + f"check_sender_access inline:{{<>=OK}}, {REFUSE}\n",
        "open-if",
        ["pf-relay-order-null:4"],
    ),
    "row 07: HELO table": (
        NARROW + RELAY + f"check_helo_access inline:{{mx.own.example=OK}}, {REFUSE}\n",
        "open-if",
        ["pf-relay-order-helo:4"],
    ),
    "row 08: recipient table": (
        NARROW + RELAY + f"check_recipient_access inline:{{partner.example=OK}}, {REFUSE}\n",
        "open-if",
        ["pf-relay-order-recipient:4"],
    ),
    "row 09: a restriction instead of OK": (
        NARROW + RELAY + f"check_sender_access inline:{{own.example=permit_mynetworks}}, {REFUSE}\n",
        "closed",
        [],
    ),
    "row 10: lookups in the recipient list only": (
        NARROW + RECIPIENT + f"check_sender_access inline:{{own.example=OK}}, {REFUSE}\n",
        "closed",
        [],
    ),
    "row 10: lookups in the recipient list, level 1": (
        NARROW.replace("3.6", "1") + RECIPIENT + f"check_sender_access inline:{{own.example=OK}}, {REFUSE}\n",
        "closed",
        [],
    ),
    "row 11: lookups in the recipient list, level 0": (
        NARROW.replace("3.6", "0") + RECIPIENT + f"check_sender_access inline:{{own.example=OK}}, {REFUSE}\n",
        "open-if",
        ["pf-relay-empty:1"],
    ),
    "row 12: relay list emptied": (
        NARROW + RELAY + "\n" + RECIPIENT + f"check_sender_access inline:{{own.example=OK}}, {REFUSE}\n",
        "open-if",
        ["pf-relay-empty:4"],
    ),
    "row 14: all relay domains": (NARROW + "relay_domains = static:all\n", "open", ["pf-dom-wide:4"]),
    "row 14: all local domains": (
        NARROW + "mydestination = static:all\n",
        "open",
        ["pf-dom-wide:4"],
    ),
    "row 14: all virtual mailbox domains": (
        NARROW + "virtual_mailbox_domains = static:all\n",
        "open",
        ["pf-dom-wide:4"],
    ),
    "row 14: all virtual alias domains refuse unknown users": (
        NARROW + "virtual_alias_domains = static:all\n",
        "closed",
        [],
    ),
    "row 15: a top-level domain": (NARROW + "relay_domains = example\n", "open-if", ["pf-dom-wide:4"]),
    "a top-level domain in which nobody has one": (NARROW + "relay_domains = localhost\n", "closed", []),
    "row 15: a country's second level": (NARROW + "relay_domains = co.kr\n", "open-if", ["pf-dom-wide:4"]),
    "a domain": (NARROW + "relay_domains = example.net\n", "closed", []),
    "row 16: untrusted routing": (
        NARROW + "relay_domains = example.net\nallow_untrusted_routing = yes\n",
        "open-if",
        ["pf-routing:5"],
    ),
    "untrusted routing and nothing relayed": (NARROW + "allow_untrusted_routing = yes\n", "closed", []),
    "row 17: XCLIENT": (
        NARROW + "smtpd_authorized_xclient_hosts = 0.0.0.0/0\n",
        "open-if",
        ["pf-xclient:4"],
    ),
    "XCLIENT of the filter": (NARROW + "smtpd_authorized_xclient_hosts = 127.0.0.1\n", "closed", []),
    "row 18: PROXY header": (
        NARROW + "smtpd_upstream_proxy_protocol = haproxy\n",
        "open-if",
        ["pf-proxyproto:4"],
    ),
    "row 19: its own addresses": (NARROW + RELAY + f"permit_inet_interfaces, {REFUSE}\n", "closed", []),
    "row 20: permit at the end": (
        NARROW + RELAY + "permit_mynetworks, permit\n",
        "down",
        ["pf-relay-noreject:4"],
    ),
    "row 20: permit first": (NARROW + RELAY + f"permit, {REFUSE}\n", "down", ["pf-relay-noreject:4"]),
    "row 20: a warning alone": (
        NARROW + RELAY + f"warn_if_reject {REFUSE}\n",
        "down",
        ["pf-relay-noreject:4"],
    ),
    "row 21: refusal in the recipient list": (
        NARROW + RELAY + "permit_mynetworks\n" + RECIPIENT + f"{REFUSE}\n",
        "closed",
        [],
    ),
    "row 22: a warning, and a deferral": (
        NARROW + RELAY + f"warn_if_reject, {REFUSE}\n" + RECIPIENT + "defer_if_permit\n",
        "closed",
        [],
    ),
    "row 23: only other lists permit": (
        NARROW + "".join(f"smtpd_{one}_restrictions = permit\n" for one in ("client", "helo", "sender")),
        "closed",
        [],
    ),
    "PF-RELAY-ORDER: a policy service first": (
        NARROW + RELAY + f"check_policy_service unix:private/policy, {REFUSE}\n",
        "unknown",
        ["pf-relay-order:4"],
    ),
    "PF-RELAY-ORDER: a policy service behind": (
        NARROW + RELAY + f"{REFUSE}, check_policy_service unix:private/policy\n",
        "closed",
        [],
    ),
    "PF-MXBACKUP: backup MX for everybody": (
        NARROW + RELAY + f"permit_mx_backup, {REFUSE}\n",
        "open-if",
        ["pf-mxbackup:4"],
    ),
    "PF-MXBACKUP: backup MX for a network": (
        NARROW + RELAY + f"permit_mx_backup, {REFUSE}\npermit_mx_backup_networks = 192.0.2.0/24\n",
        "closed",
        [],
    ),
    "PF-NET-STYLE: a class network": (OWN + "mynetworks_style = class\n", "open-if", ["pf-net-style:3"]),
    "PF-NET-STYLE: subnet by the level": (OWN.replace("3.6", "1"), "open-if", ["pf-net-style:1"]),
    "PF-NET-STYLE: an empty mynetworks overrides the style": (
        OWN + "mynetworks =\nmynetworks_style = class\n",
        "closed",
        [],
    ),
    "PF-RELAY-EMPTY: nothing at level 0": (
        "mydestination = own.example\nmynetworks = 127.0.0.1\n",
        "down",
        ["pf-relay-noreject:0"],
    ),
    "a naked address": (
        NARROW + RELAY + f"permit_naked_ip_address, {REFUSE}\n",
        "open-if",
        ["pf-relay-order-helo:4"],
    ),
    "PF-TLS-CERT: public authorities": (
        NARROW
        + RELAY
        + f"permit_tls_all_clientcerts, {REFUSE}\nsmtpd_tls_security_level = may\n"
        + "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        "open-if",
        ["pf-tls-cert:4"],
    ),
    "PF-TLS-CERT: all fingerprints": (
        NARROW
        + RELAY
        + f"permit_tls_clientcerts, {REFUSE}\nsmtpd_use_tls = yes\nsmtpd_tls_req_ccert = yes\n"
        + "relay_clientcerts = static:all\n",
        "open-if",
        ["pf-tls-cert:4"],
    ),
    "nothing for strangers leaves": (
        OWN + "mynetworks = 0.0.0.0/0\ndefault_transport = discard:\n",
        "closed",
        [],
    ),
    "row 04: -o mynetworks in master.cf only": (
        {"main.cf": NARROW, "master.cf": MASTER + "  -o mynetworks=0.0.0.0/0\n"},
        "open",
        ["pf-master-o:2"],
    ),
    "row 08: not by a route through that domain": (
        NARROW
        + RELAY
        + f"check_recipient_access inline:{{user%elsewhere.example@own.example=OK}}, {REFUSE}\n",
        "closed",
        [],
    ),
    "row 10: lookups in the recipient list, level 2": (
        NARROW.replace("3.6", "2") + RECIPIENT + f"check_sender_access inline:{{own.example=OK}}, {REFUSE}\n",
        "closed",
        [],
    ),
    "row 11: client lookups in the recipient list, level 0": (
        NARROW.replace("3.6", "0") + RECIPIENT + f"check_client_access static:OK, {REFUSE}\n",
        "open",
        ["pf-relay-empty:1"],
    ),
    "row 13: an unanchored expression": (
        {
            "main.cf": NARROW + "relay_domains = pcre:/etc/postfix/d\n",
            "master.cf": MASTER,
            "d": "/example\\.org/ x\n",
        },
        "open-if",
        ["pf-dom-wide:1"],
    ),
    "row 17: XCLIENT from a range that strangers are in": (
        NARROW + "smtpd_authorized_xclient_hosts = 8.0.0.0/8\n",
        "open-if",
        ["pf-xclient:4"],
    ),
    "row 17: XCLIENT from loopback, where no stranger is": (
        NARROW + "smtpd_authorized_xclient_hosts = 127.0.0.0/8\n",
        "closed",
        [],
    ),
    "row 20: the relay list emptied by -o": (
        {"main.cf": NARROW, "master.cf": MASTER + "  -o smtpd_relay_restrictions=\n"},
        "down",
        ["pf-relay-noreject:2"],
    ),
    "row 24: routes to the local host": (NARROW + "relay_domains = relay.example\n", "closed", []),
    "PF-CATCHALL: a virtual catch-all forwards, and relays nothing": (
        NARROW + "virtual_alias_maps = regexp:{ {/@own\\.example$/ someone@outside.test} }\n",
        "closed",
        [],
    ),
    "PF-DOM-WIDE: SQL that ignores the key": (
        {
            "main.cf": NARROW + "relay_domains = mysql:/etc/postfix/sql.cf\n",
            "master.cf": MASTER,
            "sql.cf": "query = SELECT name FROM domains\n",
        },
        "open",
        ["pf-dom-wide:4"],
    ),
    "PF-XCLIENT: of the filter, by name": (
        NARROW + "smtpd_authorized_xclient_hosts = filter.own.example\n",
        "open-if",
        ["pf-xclient:4"],
    ),
}


@pytest.mark.parametrize("row", MATRIX)
def test_a_row_of_the_matrix(row: str) -> None:
    given, verdict, rules = MATRIX[row]
    named = {"main.cf": given, "master.cf": MASTER} if isinstance(given, str) else given
    told = audited(SERVER, {f"/etc/postfix/{name}": text for name, text in named.items()})
    assert (told.verdict, [f"{one.rule}:{one.line}" for one in told.findings]) == (verdict, rules)


def test_a_front_end_hides_who_is_in_xclients_range() -> None:
    """Row 17, and row 19: the range is loopback's, and a proxy on the machine lends strangers its address."""
    front = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="socat")
    main = OWN + "mynetworks = 192.0.2.1\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
    told = postfix(main, front_ends=[front])
    assert [(one.verdict, one.rule, one.line) for one in told.findings] == [("open-if", "pf-xclient", 4)]
    assert "through socat; XCLIENT ADDR=192.0.2.1" in told.findings[0].witness


ROUTES = [
    "someone%elsewhere.example@own.example",
    "elsewhere.example!someone@own.example",
    '"someone@elsewhere.example"@own.example',
    "someone@elsewhere.example@own.example",
    "someone%elsewhere.example@relay.example",
    "elsewhere.example!someone@relay.example",
    '"someone@elsewhere.example"@relay.example',
]


@pytest.mark.parametrize("path", ROUTES)
def test_a_route_is_refused_unless_untrusted_routing_is_allowed(path: str) -> None:
    """Row 24, and row 16: as Postfix 3.7.11 answered."""
    local, _, domain = path.rpartition("@")
    for extra, passes in (("", False), ("allow_untrusted_routing = yes\n", domain == "relay.example")):
        setup = setup_of(SERVER, files(NARROW + "relay_domains = relay.example\n" + extra))
        entries, _ = read_main_cf(setup.read_main(), setup)
        parameters = Parameters(entries, {})
        listener = Listener(
            parameters, parameters, "smtp", (4,), (), only_front_ends=False, proxy_header=None
        )
        found = Smtpd.of(listener, setup, Tables(setup)).restrictions.destinations.find(f"{local}@{domain}")
        assert (found is not None) is passes
