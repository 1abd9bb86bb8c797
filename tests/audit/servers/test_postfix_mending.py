"""Mending Postfix: the smallest edit that closes it, and what the owner allows still passes."""

from __future__ import annotations

import pytest
from tests.audit.auditing import mending, setup_of
from tests.audit.servers.postfix_files import MASTER, NARROW, OWN, files

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.mending import mended
from relaywatch.audit.servers.postfix import SERVER
from relaywatch.audit.setup import FrontEnd

PROPER = "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"


def lines(main: str, master: str = MASTER, allowed: tuple[str, ...] = (), **tables: str) -> list[str]:
    """The lines that mending adds or puts in place of others; what it leaves must be closed."""
    outcome = mending(SERVER, files(main, master, **tables), allowed=allowed)
    assert outcome.report.verdict == "closed", outcome.report.findings
    assert outcome.left == ()
    return [
        line[1:] for line in outcome.diff.splitlines() if line.startswith("+") and not line.startswith("+++")
    ]


@pytest.mark.parametrize(
    ("networks", "after"),
    [
        ("0.0.0.0/0", "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"),
        ("127.0.0.0/8, 0.0.0.0/0", "127.0.0.0/8"),
        ("0.0.0.0/1 128.0.0.0/1 10.0.0.0/8", "10.0.0.0/8"),
        ("!127.0.0.9 127.0.0.0/8 [::]/0", "127.0.0.0/8"),
        ("127.0.0.0/8 isp.example", "127.0.0.0/8"),
    ],
)
def test_mynetworks_keeps_what_is_nobody_elses(networks: str, after: str) -> None:
    assert lines(OWN + f"mynetworks = {networks}\n") == [f"mynetworks = {after}"]


def test_what_the_owner_allows_is_added() -> None:
    assert lines(
        OWN + "mynetworks = 127.0.0.0/8 0.0.0.0/0\n", allowed=("10.1.0.0/16", "2001:db8:1::/48")
    ) == ["mynetworks = 127.0.0.0/8 10.1.0.0/16 [2001:db8:1::]/48"]


def test_a_style_is_replaced_by_a_list() -> None:
    assert lines(OWN + "mynetworks_style = class\n") == [
        "mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"
    ]


@pytest.mark.parametrize(
    "said",
    [
        "smtpd_relay_restrictions = check_client_access static:OK,\n  reject_unauth_destination\n",
        "smtpd_relay_restrictions = check_sender_access inline:{own.example=OK}, reject_unauth_destination\n",
        "smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination\n",
        "smtpd_relay_restrictions = permit, reject_unauth_destination\n",
        "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = check_helo_access inline:{x.example=OK}, reject\n",
    ],
)
def test_the_relay_list_becomes_a_proper_one(said: str) -> None:
    assert lines(NARROW + said) == [PROPER]


def test_a_relay_list_that_wasnt_there_is_added() -> None:
    said = "smtpd_recipient_restrictions = check_sender_access inline:{own.example=OK}, reject_unauth_destination\n"
    assert lines(NARROW.replace("3.6", "0") + said) == [PROPER]
    assert lines(NARROW.replace("3.6", "0") + said, allowed=("192.0.2.0/24",)) == [
        "mynetworks = 127.0.0.1/32 192.0.2.0/24",
        said.replace("= ", "= permit_mynetworks, ").strip(),
        PROPER,
    ]
    indented = "smtpd_recipient_restrictions =\n  check_sender_access inline:{own.example=OK},\n  reject\n"
    assert lines(NARROW.replace("3.6", "0") + indented, allowed=("127.0.0.1",)) == [
        "smtpd_recipient_restrictions = permit_mynetworks,",
        PROPER,
    ]


def test_certificates_of_ones_own_are_kept() -> None:
    said = "smtpd_relay_restrictions = permit_tls_clientcerts, check_sender_access static:OK, reject\n"
    assert lines(NARROW + said) == [PROPER.replace(", reject", ", permit_tls_clientcerts, reject")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  -o mynetworks=0.0.0.0/0", "  -o mynetworks=127.0.0.0/8,[::1]/128"),
        ("  -o { mynetworks = 0.0.0.0/0 } -v", "  -o mynetworks=127.0.0.0/8,[::1]/128 -v"),
        (
            "  -o smtpd_relay_restrictions=check_sender_access,static:OK,reject",
            "  -o smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination",
        ),
        ("  -o smtpd_authorized_xclient_hosts=0.0.0.0/0", "  -o smtpd_authorized_xclient_hosts="),
        ("  -o allow_untrusted_routing=yes", "  -o allow_untrusted_routing=no"),
        (
            "  -o smtpd_relay_restrictions=",
            "  -o smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination",
        ),
    ],
)
def test_an_override_is_changed_where_it_stands(before: str, after: str) -> None:
    main = NARROW + "relay_domains = example.net\n"
    assert lines(main, MASTER + f"2525 inet n - y - - smtpd\n{before}\n") == [after]


def test_trust_in_a_header_and_in_routes() -> None:
    assert lines(NARROW + "relay_domains = example.net\nallow_untrusted_routing = yes\n") == [
        "allow_untrusted_routing = no"
    ]
    assert lines(NARROW + "smtpd_authorized_xclient_hosts = 127.0.0.1 0.0.0.0/0\n") == [
        "smtpd_authorized_xclient_hosts = 127.0.0.1"
    ]
    assert lines(
        NARROW + "qmqpd_authorized_clients = 0.0.0.0/0\n", MASTER + "628 inet n - n - - qmqpd\n"
    ) == ["qmqpd_authorized_clients ="]


def test_a_plain_expression_is_anchored() -> None:
    main = NARROW + "relay_domains = regexp:/etc/postfix/d\n"
    assert lines(main, d="/example\\.org/ x\n") == ["/^(.+\\.)?example\\.org$/ x"]
    assert lines(main, d="# mine\n/^.*example.org/  x\n") == ["/^(.+\\.)?example\\.org$/  x"]


def test_a_gateway_is_taken_out_of_mynetworks() -> None:
    bridge = FrontEnd(addresses=AddressSet.of(["172.22.1.1"]), name="docker-proxy")
    named = files(OWN + "mynetworks = 127.0.0.0/8 172.22.0.0/16\n")
    outcome = mended(SERVER, setup_of(SERVER, named, front_ends=[bridge]))
    assert outcome.report.verdict == "closed"
    assert "+mynetworks = !172.22.1.1/32 127.0.0.0/8 172.22.0.0/16" in outcome.diff


@pytest.mark.parametrize(
    ("allowed", "after"),
    [
        ((), "127.0.0.0/8 10.0.0.0/8"),
        (("172.30.5.0/24",), "127.0.0.0/8 10.0.0.0/8 172.30.5.0/24"),
        (("172.30.0.0/16", "10.1.0.0/16"), "!172.30.0.1/32 127.0.0.0/8 10.0.0.0/8 172.30.0.0/16"),
    ],
)
def test_where_the_gateway_may_be_one_of_many_their_networks_go(allowed: tuple[str, ...], after: str) -> None:
    """An engine gives any of its pools: an exception for each gateway would be a list that nobody reads."""
    gateways = [f"172.{number}.0.1" for number in range(17, 32)]
    gateways += [f"192.168.{number}.1" for number in range(0, 256, 16)]
    bridge = FrontEnd(addresses=AddressSet.of(gateways), name="docker-proxy")
    named = files(OWN + "mynetworks = 127.0.0.0/8, 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16\n")
    outcome = mended(SERVER, setup_of(SERVER, named, front_ends=[bridge], allowed=allowed))
    assert outcome.report.verdict == "closed"
    assert f"+mynetworks = {after}\n" in outcome.diff.replace(",", "")


@pytest.mark.parametrize(
    "said",
    [
        "smtpd_upstream_proxy_protocol = haproxy\n",
        "relay_domains = static:all\n",
        "relay_domains = example\n",
        "relay_domains = regexp:/etc/postfix/d\n",
        "junk\n",
    ],
)
def test_what_only_the_owner_knows_is_left(said: str) -> None:
    outcome = mending(SERVER, files(NARROW + said, d="/exa(mple)?/ x\n"))
    assert outcome.diff == ""
    assert outcome.left


def test_an_override_in_another_form_is_left() -> None:
    main = NARROW + "wide = 0.0.0.0/0\n"
    outcome = mending(SERVER, files(main, MASTER + "2525 inet n - y - - smtpd\n  -o mynetworks=$wide\n"))
    assert "mynetworks=127.0.0.0/8,[::1]/128" in outcome.diff
    proxied = MASTER + "2525 inet n - y - - smtpd\n  -o smtpd_upstream_proxy_protocol=haproxy\n"
    assert mending(SERVER, files(NARROW, proxied)).diff == ""
