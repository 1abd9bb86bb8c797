"""Postfix's tables and lists: what can be read is looked up in as Postfix does, what can't is unknown."""

from __future__ import annotations

import pytest
from tests.audit.auditing import seen
from tests.audit.servers.postfix_files import MASTER, NARROW, OWN, postfix

from relaywatch.audit.findings import GapKind

TABLE = "smtpd_relay_restrictions = permit_mynetworks, {}, reject_unauth_destination\n"


def relay(restriction: str, **tables: str):
    return postfix(NARROW + TABLE.format(restriction), **tables)


@pytest.mark.parametrize("kind", ["hash", "lmdb", "btree", "cdb", "dbm", "texthash", "proxy:hash"])
def test_an_indexed_table_is_read_in_its_text(kind: str) -> None:
    told = relay(f"check_sender_access {kind}:/etc/postfix/senders", senders="# mine\nown.example\tOK\n")
    assert seen(told) == [("open-if", "pf-relay-order-sender", 4)]
    causes = [(cause.text, cause.position.line) for cause in told.findings[0].causes if cause.position]
    assert causes == [(f"check_sender_access {kind}:/etc/postfix/senders", 4), ("own.example OK", 2)]
    assert "MAIL FROM:<anybody@own.example>" in told.findings[0].witness


@pytest.mark.parametrize(
    ("key", "sender"),
    [
        ("joe@own.example", "joe@own.example"),
        ("joe@", "joe@anywhere.example"),
        ("OWN.example", "anybody@OWN.example"),
        ('"own.example"', "anybody@own.example"),
        ("<>", ""),
    ],
)
def test_keys_of_a_sender_table(key: str, sender: str) -> None:
    told = relay("check_sender_access hash:/etc/postfix/t", t=f"{key} OK\n")
    assert f"MAIL FROM:<{sender}>" in told.findings[0].witness


def test_parent_domains_match_unless_the_parameter_says_otherwise() -> None:
    assert relay("check_sender_access inline:{.own.example=OK}").verdict == "closed"
    dotted = NARROW + "parent_domain_matches_subdomains =\n"
    told = postfix(dotted + TABLE.format("check_sender_access inline:{.own.example=OK}"))
    assert "MAIL FROM:<anybody@a.own.example>" in told.findings[0].witness


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        ("OK", "open-if"),
        ("relay", "open-if"),
        ("1712345678", "open-if"),
        ("OK of old", "open-if"),
        ("permit", "open-if"),
        ("DUNNO", "closed"),
        ("HOLD", "closed"),
        ("WARN", "closed"),
        ("FILTER smtp:[127.0.0.1]", "closed"),
        ("PREPEND X: y", "closed"),
        ("REJECT", "closed"),
        ("DISCARD", "closed"),
        ("550 5.7.1 No", "closed"),
        ("defer_if_permit", "closed"),
        ("reject_unauth_destination", "closed"),
        ("check_client_access hash:/x", "closed"),
        ("permit_mynetworks, reject", "closed"),
        ("permit_mx_backup", "open-if"),
        ("no_such_thing", "closed"),
    ],
)
def test_actions(action: str, verdict: str) -> None:
    assert (
        relay("check_sender_access texthash:/etc/postfix/t", t=f"own.example {action}\n").verdict == verdict
    )


def test_addresses_of_a_client_table() -> None:
    told = relay("check_client_access hash:/etc/postfix/t", t="8 OK\n203.0.113 OK\n")
    assert seen(told) == [("open-if", "pf-relay-order", 4)]
    assert "from 8.0.0.0/8" in told.findings[0].witness
    assert (
        relay("check_client_access hash:/etc/postfix/t", t="203.0.113.5 OK\n2001:db8:1::5 OK\n").verdict
        == "closed"
    )
    six = relay("check_client_access hash:/etc/postfix/t", t="2001 OK\n")
    assert "from 2001::/16" in six.findings[0].witness
    assert relay("check_client_access hash:/etc/postfix/t", t="999.1 OK\n1.2.3.4.5 OK\n").verdict == "closed"


def test_names_of_a_client_table() -> None:
    told = relay("check_client_access hash:/etc/postfix/t", t="isp.example OK\n")
    assert "PTR isp.example" in told.findings[0].witness
    told = relay("check_client_access regexp:/etc/postfix/t", t="/\\.isp\\.example$/ OK\n")
    assert told.verdict == "open-if"
    told = postfix(OWN + "mynetworks = 127.0.0.1 isp.example\n")
    assert seen(told) == [("open-if", "pf-net-all", 3)]


def test_a_table_without_its_text_is_unknown_where_it_may_let_somebody_pass() -> None:
    told = relay("check_sender_access hash:/etc/postfix/t", **{"t.db": "\0\1\2"})
    assert seen(told) == [("unknown", "pf-relay-order-sender", 4)]
    assert GapKind.BINARY in [gap.kind for gap in told.findings[0].gaps]
    told = relay("check_sender_access hash:/etc/postfix/t")
    assert [gap.kind for gap in told.findings[0].gaps] == [GapKind.MISSING]
    told = relay("check_sender_access hash:/etc/postfix/t", t="\0\1\2")
    assert [gap.kind for gap in told.findings[0].gaps] == [GapKind.BINARY]


@pytest.mark.parametrize("kind", ["ldap", "mysql", "tcp", "socketmap", "nis", "memcache"])
def test_a_database_is_unknown(kind: str) -> None:
    told = relay(f"check_recipient_access {kind}:whatever")
    assert [gap.kind for gap in told.findings[0].gaps] == [GapKind.EXTERNAL]
    assert told.verdict == "unknown"


def test_a_table_that_can_only_refuse_decides_nothing() -> None:
    main = OWN + "mynetworks = 0.0.0.0/0\nsmtpd_client_restrictions = check_client_access ldap:x,\n"
    main += "  check_policy_service inet:127.0.0.1:10023, reject_rbl_client rbl.example, check_sender_mx_access ldap:y\n"
    assert seen(postfix(main)) == [("open", "pf-net-all", 3)]
    assert postfix(main.replace("0.0.0.0/0", "127.0.0.1")).verdict == "closed"


def test_a_list_that_only_refuses_strangers() -> None:
    wide = OWN + "mynetworks = 0.0.0.0/0\n"
    assert (
        postfix(wide + "smtpd_client_restrictions = permit_sasl_authenticated, reject\n").verdict == "closed"
    )
    assert postfix(wide + "smtpd_sender_restrictions = no_such_restriction\n").verdict == "closed"
    assert postfix(wide + "smtpd_client_restrictions = check_policy_service\n").verdict == "closed"
    assert postfix(wide + "smtpd_client_restrictions = warn_if_reject\n").verdict == "open"
    assert postfix(wide + "smtpd_data_restrictions = reject_unauth_destination\n").verdict == "open"
    alone = wide + "smtpd_data_restrictions = reject_unauth_destination\nsmtpd_recipient_limit = 1\n"
    assert postfix(alone).verdict == "closed"
    assert postfix(wide + "smtpd_sender_restrictions = defer_if_permit\n").verdict == "closed"
    assert postfix(wide + "smtpd_recipient_restrictions = reject_plaintext_session\n").verdict == "closed"


def test_who_doesnt_greet_passes_the_helo_restrictions() -> None:
    wide = OWN + "mynetworks = 0.0.0.0/0\nsmtpd_helo_restrictions = reject\n"
    assert postfix(wide).verdict == "open"
    assert postfix(wide + "smtpd_helo_required = yes\n").verdict == "closed"


def test_what_must_be_claimed_together() -> None:
    main = OWN + (
        "mynetworks = 0.0.0.0/0\n"
        "smtpd_helo_required = yes\n"
        "smtpd_helo_restrictions = check_helo_access inline:{mx.own.example=OK}, reject\n"
        "smtpd_sender_restrictions = inline:{own.example=OK}, reject\n"
    )
    told = postfix(main)
    assert told.verdict == "open-if"
    assert "EHLO mx.own.example; MAIL FROM:<anybody@own.example>" in told.findings[0].witness


def test_before_the_delay_nothing_is_known_of_the_recipient() -> None:
    main = OWN + "mynetworks = 0.0.0.0/0\nsmtpd_client_restrictions = reject_unauth_destination\n"
    assert postfix(main).verdict == "closed"
    assert postfix(main + "smtpd_delay_reject = no\n").verdict == "open"


def test_restriction_classes_are_followed_and_may_not_go_round() -> None:
    main = NARROW + (
        "smtpd_restriction_classes = a, b, c\n"
        "a = b\n"
        "b = check_helo_access inline:{x.example=OK}\n"
        "c = c\n"
        "smtpd_relay_restrictions = check_sender_access inline:{y.example=a}, reject_unauth_destination\n"
    )
    told = postfix(main)
    assert seen(told) == [("open-if", "pf-relay-order-helo", 6)]
    assert "EHLO x.example; MAIL FROM:<anybody@y.example>" in told.findings[0].witness
    assert postfix(main.replace("y.example=a", "y.example=c")).verdict == "closed"
    assert (
        postfix(NARROW + "smtpd_restriction_classes = r\nr = reject\nsmtpd_relay_restrictions = r\n").verdict
        == "closed"
    )


def test_tables_of_tables() -> None:
    assert relay("check_sender_access pipemap:{inline:{own.example=x},inline:{x=OK}}").verdict == "open-if"
    assert relay("check_sender_access pipemap:{inline:{own.example=x},ldap:y}").verdict == "unknown"
    assert (
        relay("check_sender_access unionmap:{inline:{own.example=OK},inline:{own.example=REJECT}}").verdict
        == "closed"
    )
    both = "smtpd_relay_restrictions = check_sender_access unionmap:{static:permit,static:permit}, reject_unauth_destination\n"
    assert postfix(NARROW + both).verdict == "open"
    assert relay("check_sender_access unionmap:{ldap:y,static:OK}").verdict == "unknown"
    assert relay("check_sender_access pipemap:{" * 12 + "static:OK" + "}" * 12).verdict == "unknown"
    assert relay("check_sender_access unionmap:{inline:{a=OK}}").verdict in {"open-if", "closed"}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("/etc/postfix/nets", "open"),
        ("!/etc/postfix/nets", "closed"),
        ("cidr:/etc/postfix/wide", "open"),
        ("hash:/etc/postfix/hosts", "closed"),
        ("static:all", "open"),
        ("regexp:/etc/postfix/any", "open"),
        ("10.1.2.3/8 0.0.0.0/0", "closed"),
        ("0.0.0.0/0 10.1.2.3/8", "open"),
        ("/etc/postfix/round", "unknown"),
        ("/etc/postfix/missing", "unknown"),
        ("ldap:x", "unknown"),
        ("[2000::]/3", "open"),
        ("2000::/3", "closed"),  # 451: a table of type "2000"
        ("::/0", "down"),  # fatal: expecting "type:name" form
        ("! 10.0.0.1, 0.0.0.0/0", "down"),  # fatal: no pattern after "!"
        ("0.0.0.0/0.0.0.0", "closed"),  # 451: a bad mask
        ('"0.0.0.0/0"', "closed"),
        ("[0.0.0.0]/0", "open"),
        ("unknown", "open"),
    ],
)
def test_lists_of_hosts(value: str, verdict: str) -> None:
    told = postfix(
        OWN + f"mynetworks = {value}\n",
        nets="# mine\n127.0.0.0/8,\n0.0.0.0/0\n",
        wide="0.0.0.0/0 x\n",
        hosts="192.0.2.1 x\n",
        any="/./ x\n",
        round="/etc/postfix/round\n",
    )
    assert told.verdict == verdict


def test_domains_in_databases() -> None:
    asking = {"sql.cf": "hosts = x\nquery = SELECT 1 FROM d WHERE d = '%s'\n"}
    for name in ("virtual_mailbox_domains", "relay_domains"):
        main = NARROW + f"{name} = proxy:mysql:/etc/postfix/sql.cf\n"
        assert postfix(main, **asking).verdict == "closed"
        assert postfix(main, **{"sql.cf": "query = SELECT d FROM d\n"}).verdict == "open"
        assert seen(postfix(main)) == [("unknown", "not-evaluated", 4)]
    assert postfix(NARROW + "relay_domains = hash:/etc/postfix/d\n", **{"d.db": "\0"}).verdict == "unknown"
    assert postfix(NARROW + "relay_domains = hash:/etc/postfix/d\n", d="example x\n").verdict == "open-if"
    assert postfix(NARROW + "relay_domains = !static:all\n").verdict == "closed"


def test_unknown_recipients_of_wide_domains_are_refused() -> None:
    wide = NARROW + "virtual_mailbox_domains = static:all\nvirtual_mailbox_maps = "
    assert postfix(wide + "hash:/etc/postfix/m\n", m="joe@own.example x\n").verdict == "closed"
    assert postfix(wide + "static:x\n").verdict == "open"
    assert postfix(wide + "hash:/etc/postfix/m\n").verdict == "unknown"
    for query, verdict in (
        ("SELECT 1 FROM m WHERE a = '%s'", "closed"),
        ("SELECT '%s'", "unknown"),
        ("SELECT 1 FROM m WHERE '%s' LIKE a AND b = 1", "unknown"),
    ):
        told = postfix(wide + "mysql:/etc/postfix/sql.cf\n", **{"sql.cf": f"query = {query}\n"})
        assert told.verdict == verdict
    assert (
        postfix(wide + "hash:/etc/postfix/m\nsmtpd_reject_unlisted_recipient = no\n", m="a b\n").verdict
        == "open"
    )


def test_routes_are_rewritten_at_a_final_destination() -> None:
    table = TABLE.format("check_recipient_access inline:{user%elsewhere.example@own.example=OK}")
    assert postfix(NARROW + table).verdict == "closed"
    assert postfix(NARROW + "smtpd_relay_restrictions = check_relay_domains\n").verdict == "closed"
    assert (
        postfix(NARROW + "smtpd_relay_restrictions = permit_auth_destination, reject\n").verdict == "closed"
    )
    wide = NARROW + "relay_domains = static:x\nsmtpd_relay_restrictions = "
    assert postfix(wide + "permit_auth_destination, reject\n").verdict == "open"
    assert postfix(wide + "check_relay_domains\n").verdict == "open"


def test_certificates() -> None:
    tls = "smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\n"
    main = NARROW + "smtpd_relay_restrictions = permit_tls_all_clientcerts, reject_unauth_destination\n"
    assert postfix(main).verdict == "closed"
    assert postfix(main + tls).verdict == "closed"
    assert postfix(main + tls + "tls_append_default_CA = yes\n").verdict == "open-if"
    ours = main + tls + "smtpd_tls_CAfile = /etc/postfix/ca\n"
    assert postfix(ours).verdict == "unknown"
    assert postfix(ours, ca="-----BEGIN CERTIFICATE-----\n").verdict == "closed"
    assert postfix(ours, ca="-----BEGIN CERTIFICATE-----\n" * 20).verdict == "open-if"
    main = (
        NARROW
        + "smtpd_relay_restrictions = permit_tls_clientcerts, check_ccert_access hash:/etc/postfix/f,\n"
    )
    main += "  reject_unauth_destination\nrelay_clientcerts = "
    assert postfix(main + "hash:/etc/postfix/f\n", f="AA:BB joe\n").verdict == "closed"
    assert postfix(main + "hash:/etc/postfix/f\n" + tls, f="AA:BB joe\n").verdict == "closed"
    assert postfix(main + "regexp:/etc/postfix/g\n" + tls, f="AA x\n", g="/:/ x\n").verdict == "open-if"


def test_a_listener_that_insists_on_a_certificate() -> None:
    main = OWN + "mynetworks = 0.0.0.0/0\nsmtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\n"
    assert postfix(main).verdict == "closed"
    told = postfix(main + "tls_append_default_CA = yes\n")
    assert seen(told) == [("open-if", "pf-net-all", 3)]
    assert postfix(main.replace("encrypt", "may")).verdict == "open"


def test_xclient_logs_in_without_a_password() -> None:
    main = OWN + "mynetworks =\nsmtpd_authorized_xclient_hosts = static:all\nsmtpd_sasl_auth_enable = yes\n"
    assert "XCLIENT LOGIN=anybody" in postfix(main).findings[0].witness


def test_too_many_ways_are_a_gap() -> None:
    senders = "".join(f"s{n}.example OK{n % 9} x\n" for n in range(40))
    main = (
        OWN
        + "mynetworks = 8.0.0.0/8, 16.0.0.0/8, 32.0.0.0/8, 64.0.0.0/8\n"
        + "".join(
            f"smtpd_{name}_restrictions = check_{name}_access hash:/etc/postfix/t,"
            f" check_{name}_access regexp:/etc/postfix/r, check_{name}_access hash:/etc/postfix/u, reject\n"
            for name in ("helo", "sender", "recipient")
        )
        + "smtpd_helo_required = yes\n"
    )
    told = postfix(
        main, t=senders, u=senders.replace("s", "u"), r=senders.replace("s", "/^").replace(" ", "/ ", 1)
    )
    assert told.verdict in {"unknown", "closed", "open-if"}
    assert told.error is None


def test_inet_protocols_and_addresses_choose_the_families() -> None:
    wide = OWN + "mynetworks = [::]/0\n"
    assert postfix(wide + "inet_protocols = ipv4\n").verdict == "closed"
    assert postfix(wide, "192.0.2.1:25 inet n - y - - smtpd\n").verdict == "closed"
    assert postfix(wide, "[2001:db8::1]:25 inet n - y - - smtpd\n").verdict == "open"
    assert postfix(wide, "mx.own.example:25 inet n - y - - smtpd\n").verdict == "open"
    assert postfix(wide, MASTER.rstrip() + " -o inet_protocols=all -v\n").verdict == "open"
