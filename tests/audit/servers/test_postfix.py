"""Postfix: services, overrides, expansion, front ends, and what surrounds the matrix (test_postfix_matrix.py)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import seen, setup_of
from tests.audit.servers.postfix_files import MASTER, NARROW, OWN, postfix

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.postfix import SERVER
from relaywatch.audit.setup import FrontEnd

RELAY = "smtpd_relay_restrictions = "
RECIPIENT = "smtpd_recipient_restrictions = "
REFUSE = "reject_unauth_destination"


def test_what_master_cf_overrides_holds_for_its_service() -> None:
    told = postfix(NARROW, MASTER + "10025 inet n - y - - smtpd\n  -o mynetworks=0.0.0.0/0\n")
    assert seen(told) == [("open", "pf-master-o", 3)]
    assert told.findings[0].file == "/etc/postfix/master.cf"
    assert [(one.name, one.verdict) for one in told.services] == [
        ("smtp/inet", "closed"),
        ("10025/inet", "open"),
    ]


@pytest.mark.parametrize(
    "override", ["-o mynetworks=0.0.0.0/0", "-o { mynetworks = 0.0.0.0/0 }", "-omynetworks=0.0.0.0/0"]
)
def test_every_form_of_an_override(override: str) -> None:
    told = postfix(NARROW, MASTER + f"submission inet n - y - - smtpd -v\n {override}\n")
    assert seen(told) == [("open", "pf-submission", 3)]


def test_a_relay_list_that_master_cf_empties_keeps_the_service_down() -> None:
    told = postfix(NARROW, MASTER.rstrip() + "\n -o smtpd_relay_restrictions=\n")
    assert seen(told) == [("down", "pf-relay-noreject", 2)]


def test_an_override_may_name_a_parameter_of_main_cf() -> None:
    main = NARROW + f"mua = permit_sasl_authenticated,\n  check_sender_access static:OK, {REFUSE}\n"
    told = postfix(main, MASTER + "587 inet n - y - - smtpd\n -o smtpd_relay_restrictions=$mua\n")
    assert seen(told) == [("open", "pf-relay-order-sender", 5)]


def test_a_listener_on_loopback_is_out_of_reach_but_for_a_front_end_beside_it() -> None:
    inner = "127.0.0.1:10025 inet n - y - - smtpd\n"
    main = OWN + "mynetworks = 127.0.0.0/8\n"
    assert postfix(OWN + "mynetworks = 0.0.0.0/0\n", inner).verdict is AuditVerdict.CLOSED
    assert postfix(main + "inet_interfaces = loopback-only\n").verdict is AuditVerdict.CLOSED
    balancer = FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="haproxy", reaches_loopback=True)
    told = postfix(main, inner, front_ends=[balancer])
    assert seen(told) == [("open-if", "pf-net-gateway", 3)]
    assert postfix(OWN + "mynetworks = 192.0.2.1\n", inner, front_ends=[balancer]).verdict == "closed"


def test_a_gateway_in_mynetworks_lends_its_address() -> None:
    bridge = FrontEnd(addresses=AddressSet.of(["172.22.1.1"]), name="docker-proxy")
    told = postfix(OWN + "mynetworks = 127.0.0.0/8 172.16.0.0/12\n", front_ends=[bridge])
    assert seen(told) == [("open-if", "pf-net-gateway", 3)]
    assert told.findings[0].advisory == "RW-1023"
    assert "through docker-proxy" in told.findings[0].witness
    own = postfix(NARROW + RELAY + f"permit_inet_interfaces, {REFUSE}\n", front_ends=[_loopback()])
    assert own.findings[0].rule == "pf-net-gateway"


def _loopback() -> FrontEnd:
    return FrontEnd(addresses=AddressSet.of(["127.0.0.1"]), name="socat")


def test_postscreen_hands_on_to_the_smtpd_service() -> None:
    screen = "smtp inet n - y - 1 postscreen\n"
    wide = OWN + "mynetworks = 0.0.0.0/0\n"
    assert postfix(wide, screen + "smtpd pass - - y - - smtpd\n").verdict == "open"
    refusing = screen + "smtpd pass - - y - - smtpd\n -o smtpd_client_restrictions=reject\n"
    assert postfix(wide, refusing).verdict == "closed"
    assert postfix(wide, screen).verdict == "closed"
    told = postfix(
        NARROW + "postscreen_upstream_proxy_protocol = haproxy\n", screen + "smtpd pass - - y - - smtpd\n"
    )
    assert [one.rule for one in told.findings] == ["pf-proxyproto"]


def test_a_qmqp_listener_relays_for_its_list() -> None:
    master = MASTER + "628 inet n - n - - qmqpd\n"
    assert postfix(NARROW, master).verdict == "closed"
    assert postfix(NARROW + "qmqpd_authorized_clients = 192.0.2.1 ldap:x\n", master).verdict == "unknown"
    assert seen(postfix(NARROW + "qmqpd_authorized_clients = 0.0.0.0/0\n", master)) == [
        ("open", "pf-qmqp", 4)
    ]


def test_where_master_cf_is_missing_nobody_knows() -> None:
    told = postfix(NARROW, None)
    assert told.verdict == "unknown"
    assert [gap.kind for gap in told.gaps] == [GapKind.MISSING]
    assert postfix(OWN + "mynetworks = 0.0.0.0/0\n", None).verdict == "open"
    assert postfix(NARROW, "pickup unix n - y 60 1 pickup\nbroken\n").verdict == "unknown"


def test_the_last_of_two_holds_and_continuation_lines_count() -> None:
    told = postfix(
        OWN + "mynetworks = 0.0.0.0/0\n# no\nmynetworks = 127.0.0.0/8,\n# within\n\n  10.0.0.0/8\n"
    )
    assert told.verdict == "closed"
    told = postfix(OWN + "mynetworks = 127.0.0.1\nmynetworks = 127.0.0.0/8,\n  0.0.0.0/0\n")
    assert seen(told) == [("open", "pf-net-all", 4)]


def test_a_line_without_an_equals_sign_keeps_it_from_starting() -> None:
    assert seen(postfix(NARROW + "whatever\n")) == [("down", "pf-syntax", 4)]
    assert seen(postfix(NARROW + "relay_domains = $a\na = $b\nb = $a\n"))[0][:2] == ("down", "pf-syntax")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("mynetworks = ${x}0.0.0.0/0\n", "open"),
        ("x = 0.0.0.0/0\nmynetworks = $x\n", "open"),
        ("x = 0.0.0.0/0\nmynetworks = $(x)\n", "open"),
        ("x = 1\nmynetworks = ${x?0.0.0.0/0}\n", "open"),
        ("mynetworks = ${x?0.0.0.0/0}\n", "closed"),
        ("mynetworks = ${x:0.0.0.0/0}\n", "open"),
        ("mynetworks = ${x?{127.0.0.1}:{0.0.0.0/0}}\n", "open"),
        ("mynetworks = ${{$compatibility_level} >=level {3.6} ? {0.0.0.0/0} : {127.0.0.1}}\n", "open"),
        ("mynetworks = ${{$compatibility_level} <level {3.10} ? {0.0.0.0/0} : {127.0.0.1}}\n", "open"),
        ("x = 9\nmynetworks = ${{$x} > {10} ? {0.0.0.0/0} : {127.0.0.1}}\n", "closed"),
        ("x = a\nmynetworks = ${{$x} == {a} ? {0.0.0.0/0} : {127.0.0.1}}\n", "open"),
        ("x = a\nmynetworks = ${{$x} != {a} ? {0.0.0.0/0} : {127.0.0.1}}\n", "closed"),
        ("x = a\nmynetworks = ${{$x} <= {b} ? {0.0.0.0/0} : {127.0.0.1}}\n", "open"),
        ("x = a\nmynetworks = ${{$x} ? {0.0.0.0/0} : {127.0.0.1}}\n", "open"),
        ("mynetworks = $$ 127.0.0.1 ${x\n", "closed"),
        ("mynetworks = $ 127.0.0.1\n", "closed"),
    ],
)
def test_expansion(text: str, verdict: str) -> None:
    assert postfix(OWN + text).verdict == verdict


@given(st.text(alphabet=st.sampled_from("abmynetworks=:,${}/[]!0.12 \n\t#?<>-o"), max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_stumble(text: str) -> None:
    postfix(text)
    postfix(NARROW + "smtpd_relay_restrictions = " + text, MASTER + text)


_NETWORKS = st.lists(
    st.sampled_from(
        ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "127.0.0.0/8", "8.0.0.0/8", "[::]/0"]
    ),
    max_size=4,
)


@given(_NETWORKS, st.sampled_from(["0.0.0.0/0", "8.0.0.0/8", "128.0.0.0/1", "[::]/0"]))
@settings(max_examples=60, deadline=None)
def test_taking_a_network_out_never_opens(networks: list[str], out: str) -> None:
    order = ["closed", "open-if", "open"]
    before = postfix(OWN + f"mynetworks = {' '.join(networks)}\n").verdict
    after = postfix(OWN + f"mynetworks = !{out} {' '.join(networks)}\n").verdict
    assert order.index(after) <= order.index(before)


@given(st.integers(0, 3), st.sampled_from(["reject", REFUSE, "check_sender_access static:REJECT", "defer"]))
@settings(max_examples=40, deadline=None)
def test_adding_a_refusal_never_opens(place: int, refusal: str) -> None:
    words = ["permit_mynetworks", "check_sender_access inline:{own.example=OK}", "permit_mx_backup", REFUSE]
    words.insert(place, refusal)
    order = ["closed", "open-if"]
    assert order.index(postfix(NARROW + RELAY + ", ".join(words) + "\n").verdict) <= 1
    if place == 0:
        assert postfix(NARROW + RELAY + ", ".join(words) + "\n").verdict == "closed"


def test_the_witness_comes_from_where_he_passes() -> None:
    six = postfix(OWN + "mynetworks = 127.0.0.0/8 [::]/0\n").findings[0]
    assert (six.verdict, six.witness.partition(";")[0]) == ("open", "from 2001:db8::7")
    both = postfix(OWN + "mynetworks = 0.0.0.0/0 [::]/0\n").findings[0]
    assert (both.verdict, both.witness.partition(";")[0]) == ("open", "from 198.51.100.7")
    half = postfix(OWN + "mynetworks = !198.51.100.0/22 0.0.0.0/1 192.0.0.0/3 160.0.0.0/3\n").findings[0]
    assert (half.verdict, half.witness.partition(";")[0]) == ("open", "from 203.0.113.9")


def test_the_witness_writes_to_whom_he_may() -> None:
    main = (
        OWN
        + "mynetworks = 0.0.0.0/0\nsmtpd_recipient_restrictions = check_recipient_access inline:{elsewhere.example=REJECT}\n"
    )
    told = postfix(main).findings[0]
    assert (told.verdict, told.witness.rpartition("; ")[2]) == ("open", "RCPT TO:<someone@outside.test>")


def test_a_main_file_that_is_not_there() -> None:
    assert (
        list(SERVER.evaluate(setup_of(SERVER, {"/etc/postfix/other": ""}, main="/etc/postfix/main.cf"))) == []
    )
