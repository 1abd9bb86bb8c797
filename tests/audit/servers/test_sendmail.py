"""Sendmail: sendmail.mc by its features, sendmail.cf by its rules, tables, strangers, and mending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, seen

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.sendmail import SERVER
from relaywatch.audit.servers.sendmail.tables import addresses_of
from relaywatch.audit.setup import FrontEnd

MC = "/etc/mail/sendmail.mc"
CF = "/etc/mail/sendmail.cf"
HEAD = """divert(-1)
FEATURE(`promiscuous_relay')
divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
define(`confDOMAIN_NAME', `mail.example.org')dnl
FEATURE(`no_default_msa')dnl
LOCAL_DOMAIN(`hosted.example')dnl
"""
ACCESS = "FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n"
END = "MAILER(`local')dnl\nMAILER(`smtp')dnl\n"


def mc(lines: str = "", access: str | None = None, **others: str):
    files = {MC: HEAD + (ACCESS if access is not None else "") + lines + END}
    if access is not None:
        files["/etc/mail/access"] = access
    return files | {f"/etc/mail/{name.replace('_', '-')}": text for name, text in others.items()}


def short(told):
    return [(verdict, rule) for verdict, rule, _ in seen(told)]


# --- sendmail.mc ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "access", "expected"),
    [
        ("", None, []),
        ("", "Connect:192.0.2\tRELAY\n", []),
        ("dnl FEATURE(`promiscuous_relay')\n", None, []),
        ("FEATURE(`promiscuous_relay')dnl\n", None, [("open", "sm-promiscuous")]),
        ("FEATURE(`relay_local_from')dnl\n", None, [("open-if", "sm-local-from")]),
        ("FEATURE(`relay_mail_from')dnl\n", "From:boss@partner.test RELAY\n", [("open-if", "sm-mail-from")]),
        ("FEATURE(`relay_mail_from')dnl\n", "From:partner.test RELAY\n", []),
        ("FEATURE(`relay_mail_from', `domain')dnl\n", "From:partner.test RELAY\n", [("open-if", "sm-mail-from")]),
        ("FEATURE(`relay_mail_from', `domain')dnl\n", "partner.test OK\n", []),
        ("FEATURE(`loose_relay_check')dnl\n", None, []),
        ("FEATURE(`loose_relay_check')RELAY_DOMAIN(`relay.test')\n", None, [("open-if", "sm-loose")]),
        ("RELAY_DOMAIN(`relay.test')dnl\n", None, []),
        ("FEATURE(`nopercenthack')RELAY_DOMAIN(`relay.test')\n", None, [("open-if", "sm-loose")]),
        ("FEATURE(`nopercenthack',`reject')RELAY_DOMAIN(`relay.test')\n", None, []),
        ("FEATURE(`relay_based_on_MX')dnl\n", None, [("open-if", "sm-mx")]),
        ("RELAY_DOMAIN(`com 10.1')dnl\n", None, [("open-if", "sm-relay-domains")]),
        ("FEATURE(`relay_hosts_only')RELAY_DOMAIN(`com')dnl\n", None, []),
        ("RELAY_DOMAIN(`192')dnl\n", None, [("open-if", "sm-relay-domains")]),
        ("RELAY_DOMAIN(`IPv6:2001')dnl\n", None, [("open-if", "sm-relay-domains")]),
        ("", "Connect:203 RELAY\n", [("open-if", "sm-access-relay")]),
        ("", "Connect:203 OK\n", []),
        ("", "Connect:203 RELAY\nConnect:203.0 REJECT\n", [("open-if", "sm-access-relay")]),
        ("", "Connect:com RELAY\n", [("open-if", "sm-access-relay")]),
        ("", "To:com RELAY\n", [("open-if", "sm-access-relay")]),
        ("", "com RELAY\n", [("open-if", "sm-access-untagged")]),
        ("", "203 RELAY\n", [("open-if", "sm-access-untagged")]),
        ("FEATURE(`blocklist_recipients')\n", "To:com RELAY\nTo:elsewhere.com 550 no\n", []),
        ("define(`confDELIVERY_MODE', `deferred')dnl\n", None, [("open", "sm-defer")]),
        ("define(`confDELIVERY_MODE', `background')dnl\n", None, []),
        ("FEATURE(`accept_unqualified_senders')FEATURE(`dnsbl')\n", None, []),
        ("LOCAL_CONFIG\nCw com\nC{R}net # comment\nFw-o /etc/mail/gone\nFR-o /etc/mail/relay-more\n", None, [("open-if", "sm-relay-domains")]),
        ("FEATURE(`promiscuous_relay')\n", "Connect:198.51.100 REJECT\n", [("open", "sm-promiscuous")]),
    ],
)  # fmt: skip
def test_a_sendmail_mc_by_its_features(lines, access, expected):
    told = audited(SERVER, mc(lines, access))
    assert short(told) == expected, seen(told)
    assert told.gaps == ()


def test_the_file_and_line_are_named():
    told = audited(SERVER, mc("", "# mine\nConnect:203\tRELAY\n"))
    assert (told.findings[0].file, told.findings[0].line) == ("/etc/mail/access", 2)
    told = audited(SERVER, mc("FEATURE(`promiscuous_relay')dnl\n"))
    assert (told.findings[0].file, told.findings[0].line) == (MC, 8)
    told = audited(SERVER, mc(relay_domains="partner.test # ours\n# net\nnet\n"))
    assert {(one.file, one.line) for one in told.findings} == {("/etc/mail/relay-domains", 3)}


def test_the_whole_domain_above_a_short_name():
    files = mc("FEATURE(`relay_entire_domain')dnl\n")
    told = audited(SERVER, files | {"/etc/hostname": "example.org\n"})
    assert set(short(told)) == {("open-if", "sm-entire")}
    assert audited(SERVER, files).verdict is AuditVerdict.UNKNOWN
    hosts = {
        "/etc/hostname": "mail\n",
        "/etc/hosts": "127.0.0.1 localhost\n192.0.2.1 mail.example.org mail\n",
    }
    assert audited(SERVER, files | hosts).verdict is AuditVerdict.CLOSED
    files = cf(before="R$+ < @ $* $=m >\t$@ RELAY")
    assert audited(SERVER, files).verdict is AuditVerdict.UNKNOWN
    assert set(short(audited(SERVER, files | {"/etc/hostname": "example.org\n"}))) == {
        ("open-if", "sm-entire")
    }


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("FEATURE(`drac')dnl\n", GapKind.NOT_EVALUATED),
        ("DOMAIN(`ours')dnl\n", GapKind.NOT_EVALUATED),
        ("include(`/etc/mail/more.m4')dnl\n", GapKind.NOT_EVALUATED),
        ("LOCAL_RULESETS\nSLocal_check_rcpt\nR$*\t$#OK\n", GapKind.NOT_EVALUATED),
        ("FEATURE(`access_db', `ldap -k x')dnl\n", GapKind.EXTERNAL),
        ("FEATURE(`access_db', `hash /etc/mail/gone')dnl\n", GapKind.MISSING),
        ("FEATURE(`use_cw_file')dnl\n", GapKind.MISSING),
        ("RELAY_DOMAIN_FILE(`/etc/mail/gone')dnl\n", GapKind.MISSING),
        ("define(`x', `y\n", GapKind.SYNTAX),
    ],
)
def test_what_is_not_evaluated_is_unknown(lines, kind):
    told = audited(SERVER, mc(lines))
    assert told.verdict is AuditVerdict.UNKNOWN
    assert kind in {gap.kind for gap in told.gaps}


def test_a_binary_table_without_its_text_is_unknown():
    told = audited(SERVER, {MC: HEAD + ACCESS + END, "/etc/mail/access.db": "\x00\x00"})
    assert told.verdict is AuditVerdict.UNKNOWN
    assert [gap.kind for gap in told.gaps] == [GapKind.BINARY]


def test_listeners():
    told = audited(
        SERVER,
        {
            MC: HEAD.replace("FEATURE(`no_default_msa')dnl\n", "")
            + "DAEMON_OPTIONS(`Family=inet, Name=MTA, Addr=127.0.0.1, Port=smtp')dnl\n"
            + "DAEMON_OPTIONS(`Name=TLS, Port=smtps, M=sa')dnl\n"
            + "FEATURE(`promiscuous_relay')dnl\n"
            + END
        },
    )
    assert [(one.name, one.verdict.value) for one in told.services] == [
        ("MTA 127.0.0.1:25", "closed"),
        ("TLS *:465", "closed"),
        ("MSA *:587", "open"),
    ]


def test_a_front_end_lends_its_address():
    front = FrontEnd(
        addresses=AddressSet.of(["127.0.0.1"]), name="haproxy", reaches_loopback=True, ports=frozenset({25})
    )
    told = audited(SERVER, mc(), front_ends=[front])
    assert short(told) == [("open-if", "sm-front-end")]
    inside = mc("DAEMON_OPTIONS(`Family=inet, Name=MTA, Addr=127.0.0.1')dnl\n")
    assert audited(SERVER, inside).verdict is AuditVerdict.CLOSED
    assert audited(SERVER, inside, front_ends=[front]).verdict is AuditVerdict.OPEN_IF


@pytest.mark.parametrize(
    ("lines", "access", "verdict"),
    [
        ("FEATURE(`delay_checks')RELAY_DOMAIN(`com')\n", "Connect:com REJECT\nFrom:hosted.example OK\n", "open-if"),
        ("FEATURE(`lookupdotdomain')\n", "To:.com RELAY\n", "open-if"),
        ("", "To:.com RELAY\n", "closed"),
        ("FEATURE(`relay_mail_from')\n", "From:boss+tag@partner.test RELAY\nFrom:boss+*@other.test RELAY\n", "open-if"),
        ("FEATURE(`relay_mail_from')\n", "From:boss@ RELAY\n", "closed"),
        ("FEATURE(`promiscuous_relay')FEATURE(`nouucp', `reject')\n", "From:anybody@ REJECT\n", "open-if"),
        ("FEATURE(`promiscuous_relay')\n", "Connect:IPv6:2001 REJECT\nConnect:IPv6 550 no\n", "open"),
        ("LOCAL_DOMAIN(`[198.51.100.7]')dnl\n", None, "open"),
        ("divert(5)FEATURE(`promiscuous_relay')\n", None, "open"),
    ],
)  # fmt: skip
def test_checks_before_and_details(lines, access, verdict):
    assert audited(SERVER, mc(lines, access)).verdict.value == verdict


def test_local_host_names_and_relay_files():
    files = mc(
        "FEATURE(`use_cw_file')define(`confCW_FILE', `-o /etc/mail/names')FEATURE(`relay_local_from')\n",
        names="more.test\n",
    )
    told = audited(SERVER, files)
    assert set(short(told)) == {("open-if", "sm-local-from")}
    assert "/etc/mail/names" in told.files
    files = mc(
        "define(`confCR_FILE', `/etc/mail/relays')RELAY_DOMAIN_FILE(`/etc/mail/more')\n",
        relays="com\n",
        more="net\n",
    )
    assert {(one.file, one.line) for one in audited(SERVER, files).findings} == {
        ("/etc/mail/relays", 1),
        ("/etc/mail/more", 1),
    }


@given(st.text(max_size=60), st.text(max_size=60))
def test_never_a_fault(lines, access):
    audited(SERVER, mc(lines, access))


# --- sendmail.cf ------------------------------------------------------------------------------------

RULES = """V10/Berkeley
Cwlocalhost
CO @ % !
Djmail.example.org
C{w}hosted.example
FR-o /etc/mail/relay-domains %[^\\#]
Kaccess hash -T<TMPF> /etc/mail/access
Kdequote dequote
Kmx bestmx -z: -T<TEMP>
O OperatorChars=.:%@!^/[]+
O DaemonPortOptions=Name=MTA, Port=smtp
Scanonify=3
R< $* >\t\t$1\t\t\ttake the signs off
R$* @ $* @ $*\t\t$1 % $2 @ $3
R$* @ $+\t\t$@ $1 < @ $2 >
R$* % $+\t\t$@ $1 < @ $2 >
SA
R< $+ >\t\t$: < $(access Connect:$1 $: ? $) > < $1 >
R< ? > < $+ . $- >\t$@ $>A < $1 >
R< $* > $*\t\t$@ $1
Scheck_mail
R$*\t\t$: $>canonify $1
R$* < @ spam . example >\t$#error $@ 5.7.1 $: "550 no"
Scheck_rcpt
R$*\t\t$: $>"strip" $1
R$+ < @ $=w >\t\t$@ OK
R$+ < @ $* $=R >\t$@ RELAY
@BEFORE@
R$*\t\t$: $&{client_addr}
R127.0.0.1\t\t$@ RELAY
R$=R $*\t\t$@ RELAY
R$*\t\t$: $>A < $1 >
RRELAY\t\t$@ RELAY
@AFTER@
R$*\t\t$#error $@ 5.7.1 $: "550 Relaying denied"
Sstrip
R$*\t\t$: $>canonify $1
R$* $=O $* < @ $=w >\t$@ $>strip $1 $2 $3
Sparse=0
R$+ < @ $=w >\t\t$#local $: $1
R$+ < @ $+ >\t\t$#esmtp $@ $2 $: $1 < @ $2 >
"""


def cf(
    before: str = "R$@\t\t$@ OK",
    after: str = "R$@\t\t$@ OK",
    access: str = "",
    domains: str = "",
    head: str = "",
):
    text = RULES.replace("@BEFORE@", before).replace("@AFTER@", after)
    return {CF: head + text, "/etc/mail/access": access, "/etc/mail/relay-domains": domains}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (cf(), []),
        (cf(access="Connect:10.1\tRELAY\n"), []),
        (cf(access="Connect:203\tRELAY\n"), [("open-if", "sm-access-relay")]),
        (cf(domains="192\n"), [("open-if", "sm-relay-domains")]),
        (cf(domains="com\n"), [("open-if", "sm-relay-domains")]),
        (cf(domains="relay.test\n"), [("open-if", "sm-loose")]),
        (cf(after="R$*\t\t$@ OK"), [("open", "sm-promiscuous")]),
        (cf(after="R$*\t\t$: $>canonify $&f\nR$+ < @ $=w >\t\t$@ RELAY"), [("open-if", "sm-local-from")]),
        (
            cf(before="R$+ < @ $+ >\t\t$: < : $(mx $2 $: $2 $) : > $1 < @ $2 >\nR< $* : $=w . : $* > $*\t$@ RELAY"),
            [("open-if", "sm-mx")],
        ),
        (
            cf(
                before="R$*\t\t$: < $&{deliveryMode} > $1\nR< d > $*\t\t$@ deferred\nR< $- > $*\t\t$: $2",
                head="O DeliveryMode=defer\n",
            ),
            [("open", "sm-defer")],
        ),
    ],
)  # fmt: skip
def test_a_sendmail_cf_by_its_rules(files, expected):
    told = audited(SERVER, files)
    assert short(told) == expected, seen(told)


def test_the_rule_that_lets_him_through_is_named():
    told = audited(SERVER, cf(after="R$*\t\t$: $>canonify $&f\nR$+ < @ $=w >\t\t$@ RELAY"))
    finding = told.findings[0]
    assert told.files[0] == CF
    assert (finding.file, RULES.splitlines()[finding.line - 3]) != ("", "")
    assert finding.causes[0].text == "R$+ < @ $=w >\t$@ RELAY"


@pytest.mark.parametrize(
    ("head", "rule", "verdict"),
    [
        ("Kask program /bin/ask\n", "R$*\t\t$: $(ask $1 $)", "unknown"),
        ("", "R$*\t\t$: $(gone $1 $)", "unknown"),
        ("Kask regex -a@YES ^some\n", "R$* < @ $+ >\t\t$: $(ask $1 $: no $)\nR@YES\t\t$@ OK", "open"),
        ("Kask regex -n -a@YES ^some\n", "R$* < @ $+ >\t\t$: $(ask $1 $: no $)\nR@YES\t\t$@ OK", "closed"),
        ("Kask regex -s1 ^(some)\n", "R$* < @ $+ >\t\t$: $(ask $1 $: no $)", "unknown"),
        ("Kask regex ((\n", "R$* < @ $+ >\t\t$: $(ask $1 $: no $)", "unknown"),
        ("Ksum arith\n", "R$*\t\t$: $(sum + $@ 1 $@ 2 $)\nR3\t\t$@ OK", "open"),
        ("Ksum arith\n", "R$*\t\t$: $(sum l $@ 1 $@ 2 $)\nRTRUE\t\t$@ OK", "open"),
        ("Ksum arith\n", "R$*\t\t$: $(sum l $@ x $@ 2 $: no $)\nRTRUE\t\t$@ OK", "closed"),
        ("Ksum arith\n", "R$*\t\t$: $(sum ? $@ 1 $@ 2 $)", "unknown"),
        ("Kset macro\n", "R$*\t\t$: $(set {mine} $@ yes $)\nR$*\t\t$: $&{mine}\nRyes\t\t$@ OK", "open"),
        ("Knone null\n", "R$*\t\t$: $(none $1 $: nothing $)\nRnothing\t\t$@ OK", "open"),
        ("Kseq sequence gone dequote access\n", "R$*\t\t$: $(seq com $: no $)\nRno\t\t$@ OK", "open"),
        ("", "R$+ < @ $+ >\t\t$: $[ $2 $]\nRelsewhere . example .\t$@ OK", "open"),
        ("", "R$+ < @ $+ >\t\t$: $[ 1.2.3.4.list.test $: none $]\nRnone\t$@ OK", "open"),
        ("", 'R$*\t\t$: $(dequote "OK" $)\nROK\t$@ OK', "open"),
        ("", "R$- < @ $~w . $- >\t$@ OK", "open"),
        ("", "R$*\t\t$: x $1\nR$*\t\t$>three x $1 $1 $1\nSthree\nScheck_rcpt", "unknown"),
        ("", "R$*\t\t$: $>loop $1\nSloop\nR$*\t\t$: $>loop $1\nScheck_rcpt", "unknown"),
        ("", "R$+ < @ $+ >\t\t$1", "closed"),
    ],
)  # fmt: skip
def test_maps_and_rewriting(head, rule, verdict):
    assert audited(SERVER, cf(before=rule, head=head)).verdict.value == verdict


def test_listed_addresses_pass_by_both_families():
    told = audited(SERVER, cf(access="", domains="IPv6:2001\n"))
    assert short(told) == [("open-if", "sm-relay-domains")]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Rnothing\n", GapKind.SYNTAX),
        ("Kx\n", GapKind.SYNTAX),
        ("%what is this\n", GapKind.SYNTAX),
        ("Fw|/bin/names\n", GapKind.EXTERNAL),
        ("Fw/etc/mail/local-host-names\n", GapKind.MISSING),
    ],
)
def test_lines_that_cannot_be_told(line, kind):
    told = audited(SERVER, cf(head=line))
    assert told.verdict is AuditVerdict.UNKNOWN
    assert kind in {gap.kind for gap in told.gaps}


def test_a_file_without_check_rcpt_is_unknown():
    told = audited(SERVER, {CF: "V10/Berkeley\nOd background\nO LogLevel 9\nO =\nC\nD\n"})
    assert "unknown" in {one.verdict.value for one in told.findings}


@given(
    st.lists(
        st.sampled_from(
            [
                "R",
                "S",
                "$*",
                "$+",
                "$=w",
                "$>",
                "x",
                "\t",
                "$1",
                "$(",
                "$)",
                "$:",
                "$@",
                "\n",
                "K",
                "C",
                "F",
                "O ",
            ]
        ),
        max_size=40,
    )
)
def test_any_rules_come_to_an_end(parts):
    audited(SERVER, {CF: "Scheck_rcpt\n" + "".join(parts) + "\n"})


# --- tables and mending -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        ("192", ["192.0.0.0/8"]),
        ("10.1.", ["10.1.0.0/16"]),
        ("[192.0.2.7]", ["192.0.2.7/32"]),
        ("IPv6:2001:db8", ["2001:db8::/32"]),
        ("IPv6:2001:db8::1", ["2001:db8::1/128"]),
        ("IPv6:2001:db8:0:0:0:0:0:1", ["2001:db8::1/128"]),
        ("example.org", []),
        ("1.2.3.4.5", []),
        ("IPv6:zz", []),
    ],
)
def test_keys_of_addresses(name, networks):
    assert addresses_of(name) == AddressSet.of(networks)


def test_the_smallest_edits():
    files = mc("FEATURE(`promiscuous_relay')dnl\n")
    assert "dnl FEATURE(`promiscuous_relay')dnl\nMAILER" in mended_texts(SERVER, files)[MC]
    files = mc("", "Connect:203\tRELAY\nConnect:192.0.2\tRELAY\n")
    outcome = mending(
        SERVER, files, allowed=["203.0.113.0/24", "192.0.2.0/24", "2001:db8::/32", "10.0.0.0/22"]
    )
    assert outcome.report.verdict is AuditVerdict.CLOSED
    (text,) = (source.text for source in outcome.after.values())
    assert "Connect:203.0.113\tRELAY\n" in text
    assert "Connect:IPv6:2001:db8\tRELAY\n" in text
    assert "Connect:10.0.3\tRELAY\n" in text
    assert text.count("Connect:192.0.2\t") == 1


def test_relay_domains_and_macros_are_mended():
    outcome = mending(SERVER, mc(relay_domains="net\npartner.test\n"), allowed=["192.0.2.0/24"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    (text,) = (source.text for source in outcome.after.values())
    assert text == "192.0.2\npartner.test\n"
    outcome = mending(SERVER, mc("RELAY_DOMAIN(`com')dnl\n"))
    assert outcome.report.verdict is AuditVerdict.CLOSED
    for feature in ("relay_local_from", "relay_based_on_MX"):
        assert mending(SERVER, mc(f"FEATURE(`{feature}')dnl\n")).report.verdict is AuditVerdict.CLOSED


def test_the_rules_of_a_cf_are_left_alone():
    outcome = mending(SERVER, cf(after="R$*\t\t$@ OK"))
    assert outcome.after == {}
    outcome = mending(SERVER, cf(access="Connect:203\tRELAY\n"))
    assert outcome.report.verdict is AuditVerdict.CLOSED


@given(
    st.sampled_from(
        ["Connect:203 REJECT", "From:anywhere.example REJECT", "To:elsewhere.example 550 no", "com REJECT"]
    )
)
def test_a_refusal_more_never_opens(line):
    before = audited(SERVER, mc("FEATURE(`blocklist_recipients')\n", "Connect:198 RELAY\n"))
    after = audited(SERVER, mc("FEATURE(`blocklist_recipients')\n", f"Connect:198 RELAY\n{line}\n"))
    earlier = [{*one.claims} for one in before.findings]
    assert all(any(claims <= {*one.claims} for claims in earlier) for one in after.findings)


def test_trust_in_local_senders_is_no_closed_door_where_the_machines_name_isnt_known():
    mail = "FEATURE(`relay_local_from')dnl\n"
    assert audited(SERVER, {MC: mail}).verdict is AuditVerdict.UNKNOWN
    told = audited(SERVER, {MC: mail, "/etc/hostname": "mail.example.org\n"})
    assert set(short(told)) == {("open-if", "sm-local-from")}
