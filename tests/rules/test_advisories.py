import pytest
from tests.rules.evidence import (
    OTHER_PORT,
    PLAIN,
    PLAIN_6,
    STARTTLS,
    STARTTLS_6,
    SUBMISSION,
    SUBMISSIONS,
    TALKS,
    accepted,
    arrival,
    attempt,
    bounce,
    closed,
    judged,
    planned,
    queued,
    seen,
)

from relaywatch.model.evidence import Fact

PARTICULAR = "RW-1005"


def found_at(door, *elsewhere, advisory="RW-1001", case="plain", received=(), source="203.0.113.5"):
    """The advisory of a case that is open at the door, beside what was seen elsewhere."""
    made = attempt(TALKS, planned(2), queued(case, advisory=advisory), door=door, source=source)
    (finding,) = judged(made, *elsewhere, arrivals=[arrival(received=received)]).findings
    return finding.advisory


class TestDoors:
    @pytest.mark.parametrize(
        ("door", "elsewhere", "advisory"),
        [
            (PLAIN, [], "RW-1001"),
            (PLAIN, [closed(STARTTLS)], "RW-1001"),
            (PLAIN, [closed(PLAIN_6)], "RW-1001"),
            (STARTTLS, [], "RW-1001"),
            (STARTTLS, [closed(PLAIN)], "RW-1020"),
            (STARTTLS, [closed(PLAIN_6)], "RW-1001"),
            (STARTTLS, [attempt(seen(Fact.TLS_REQUIRED), door=PLAIN)], "RW-1020"),
            (STARTTLS, [closed(PLAIN, "percent")], "RW-1001"),
            (STARTTLS_6, [closed(PLAIN_6), closed(STARTTLS)], "RW-1020"),
            (PLAIN_6, [closed(PLAIN)], "RW-1022"),
            (STARTTLS_6, [closed(STARTTLS)], "RW-1022"),
            (PLAIN_6, [closed(OTHER_PORT)], "RW-1001"),
            (SUBMISSION, [closed(PLAIN)], "RW-1021"),
            (SUBMISSIONS, [closed(OTHER_PORT)], "RW-1021"),
            (SUBMISSIONS, [closed(SUBMISSION)], "RW-1001"),
            (SUBMISSION, [], "RW-1001"),
            (OTHER_PORT, [closed(PLAIN)], "RW-1001"),
        ],
    )
    def test_what_others_refuse_explains_a_door(self, door, elsewhere, advisory):
        assert advisory == found_at(door, *elsewhere)

    def test_a_report_for_the_forward_path_proves_nothing(self):
        made = attempt(TALKS, planned(1), queued("plain", "to"))
        (finding,) = judged(made, arrivals=[bounce("to")]).findings

        assert "queued" == finding.proof

    def test_an_autoresponder_refutes_nothing(self):
        made = attempt(TALKS, planned(1), queued("plain", "to", "back"))
        answer = arrival("back", reverse_path="somebody@mail.example")
        (finding,) = judged(made, arrivals=[answer]).findings

        assert "queued" == finding.proof

    def test_what_others_bounced_is_refused_as_well(self):
        elsewhere = attempt(TALKS, planned(1), queued("plain", "x", "y"))
        made = attempt(TALKS, planned(1), queued("plain", "to", None), door=STARTTLS)
        (finding,) = judged(made, elsewhere, arrivals=[arrival(), bounce("y")]).findings

        assert "RW-1020" == finding.advisory

    @pytest.mark.parametrize("door", [STARTTLS, PLAIN_6, SUBMISSION])
    def test_a_more_particular_form_keeps_its_advisory(self, door):
        received = ["from gate (gate [10.0.0.1]) by mail.example with SMTP id 1"]

        assert PARTICULAR == found_at(
            door, closed(PLAIN, "percent"), advisory=PARTICULAR, case="percent", received=received
        )

    def test_a_yes_that_is_not_proven_is_explained_alike(self):
        made = attempt(TALKS, planned(1), accepted("plain"), door=STARTTLS)
        (finding,) = judged(made, closed(PLAIN, "plain")).findings

        assert "RW-1020" == finding.advisory


POSTFIX = "from relaywatch.invalid ({0}) by mail.example (Postfix) with ESMTP id 4XyZ for <t@sink.test>; Tue"
EXIM = "from {0} (helo=relaywatch.invalid) by mail.example with esmtp (Exim 4.96) (envelope-from <b@x>) id 1"
EXIM_NAMED = "from checker.example ({0} helo=relaywatch.invalid) by mail.example with esmtps (TLS1.3) id 1tF"
SENDMAIL = "from relaywatch.invalid ({0} (may be forged)) by mail.example (8.17.1/8.17.1) with ESMTP id 4AO"
OPENSMTPD = "from relaywatch.invalid (unknown {0}) by mail.example (OpenSMTPD) with ESMTP id 3f2a for <t@x>"
COURIER = "from relaywatch.invalid ({0}) by mail.example with ESMTP id 0000"
QMAIL = "from unknown (HELO relaywatch.invalid) ({0}) by mail.example with SMTP; 24 Nov 2026 02:10:00 -0000"
EXCHANGE = "from relaywatch.invalid ({0}) by EX1.example (10.9.9.9) with Microsoft SMTP Server id 15.2"
AMAVIS = "from localhost ([127.0.0.1]) by localhost (mail.example [127.0.0.1]) (amavisd-new, port 10024) with ESMTP"
REINJECTED = "from localhost (localhost [127.0.0.1]) by mail.example (Postfix) with ESMTP id 4XyY"


class TestHiddenClient:
    @pytest.mark.parametrize(
        ("form", "us", "gateway"),
        [
            (POSTFIX, "unknown [203.0.113.5]", "localhost [127.0.0.1]"),
            (POSTFIX, "unknown [203.0.113.5]", "gate.example [192.168.7.1]"),
            (EXIM, "[203.0.113.5]", "[10.0.0.1]"),
            (EXIM, "[203.0.113.5]:40312", "[10.0.0.1]:40312"),
            (EXIM_NAMED, "[203.0.113.5]", "[172.17.0.1]"),
            (SENDMAIL, "[203.0.113.5]", "[127.0.0.1]"),
            (OPENSMTPD, "[203.0.113.5]", "[169.254.1.1]"),
            (COURIER, "[::ffff:203.0.113.5]", "[::ffff:10.0.0.1]"),
            (QMAIL, "203.0.113.5", "100.64.0.1"),
            (EXCHANGE, "203.0.113.5", "10.0.0.2"),
        ],
    )
    def test_the_server_names_its_client_in_its_own_way(self, form, us, gateway):
        assert "RW-1001" == found_at(PLAIN, received=[form.format(us)])
        assert "RW-1023" == found_at(PLAIN, received=[form.format(gateway)])

    @pytest.mark.parametrize(
        ("form", "us", "gateway"),
        [
            (POSTFIX, "unknown [IPv6:2001:db8::5]", "localhost [IPv6:::1]"),
            (EXIM, "[2001:db8::5]", "[fd00:1::1]"),
            (SENDMAIL, "[IPv6:2001:db8:0:0:0:0:0:5]", "[IPv6:0:0:0:0:0:0:0:1]"),
            (OPENSMTPD, "[IPv6:2001:DB8::5]", "[fe80::1]"),
        ],
    )
    def test_over_ipv6_too(self, form, us, gateway):
        source = "2001:db8::5"

        assert "RW-1001" == found_at(PLAIN_6, source=source, received=[form.format(us)])
        assert "RW-1023" == found_at(PLAIN_6, source=source, received=[form.format(gateway)])

    @pytest.mark.parametrize("source", ["127.0.0.1", "::1", "10.0.0.8"])
    def test_a_checker_that_is_inside_itself_is_not_hidden(self, source):
        long_form = {"::1": "IPv6:0:0:0:0:0:0:0:1"}.get(source, source)

        assert "RW-1001" == found_at(PLAIN, source=source, received=[POSTFIX.format(f"x [{long_form}]")])

    def test_a_filter_behind_the_server_hides_nobody(self):
        chain = [REINJECTED, AMAVIS, POSTFIX.format("unknown [203.0.113.5]")]

        assert "RW-1001" == found_at(PLAIN, received=chain)

    def test_not_even_if_our_own_address_is_translated_on_the_way(self):
        chain = [REINJECTED, AMAVIS, POSTFIX.format("unknown [198.51.100.1]")]

        assert "RW-1001" == found_at(PLAIN, source="192.168.1.5", received=chain)

    def test_a_front_end_that_hands_mail_on_from_outside_is_none_that_hides(self):
        assert "RW-1001" == found_at(PLAIN, received=[POSTFIX.format("gate.example [198.51.100.1]")])

    @pytest.mark.parametrize(
        "received",
        [
            [],
            ["by mail.example (Postfix, from userid 33) id 4XyZ; Tue, 24 Nov 2026"],
            ["from relaywatch.invalid (unknown [999.1.1.1]) by mail.example"],
            ["from relaywatch.invalid by mail.example ([127.0.0.1]) with SMTP"],
            ["rubbish \udcff [..:] (1.2.3.4.5)"],
        ],
        ids=["none", "no client", "no address", "another's address", "rubbish"],
    )
    def test_where_no_client_is_named_nothing_is_said(self, received):
        assert "RW-1001" == found_at(PLAIN, received=received)

    def test_a_name_that_holds_the_word_by_is_a_name(self):
        received = ["from mail.stand.by (unknown [127.0.0.1]) by mail.example (Postfix) with ESMTP"]

        assert "RW-1023" == found_at(PLAIN, received=received)

    @pytest.mark.parametrize("source", ["", "nonsense"])
    def test_our_own_address_is_needed_or_must_at_least_not_mislead(self, source):
        chain = [POSTFIX.format("x [203.0.113.5]")]

        assert "RW-1001" == found_at(PLAIN, source=source, received=chain)

    def test_the_door_explains_more_than_the_route(self):
        assert "RW-1020" == found_at(STARTTLS, closed(PLAIN), received=[EXIM.format("[10.0.0.1]")])


class TestBeside:
    @pytest.mark.parametrize(
        ("observations", "arrivals", "advisories"),
        [
            ([], [], ()),
            ([seen(Fact.NOTE, advisory="RW-1024", detail="XCLIENT")], [], ("RW-1024",)),
            ([seen(Fact.NOTE, detail="old TLS")], [], ()),
            ([queued("plain")], [], ("RW-1031",)),
            ([queued("plain", detail="sink-unproved: can't be asked")], [], ()),
            ([queued("plain")], [arrival()], ()),
            ([queued("plain")], [bounce()], ("RW-1030",)),
            ([queued("plain"), queued("bang", "x", "y")], [bounce()], ("RW-1030", "RW-1031")),
            ([queued("plain"), queued("bang", "x", "y")], [bounce(), arrival("x")], ("RW-1030",)),
            ([queued("plain"), queued("bang", "x")], [arrival("x")], ()),
            ([accepted("plain")], [], ()),
            ([accepted("plain"), seen(Fact.ACCEPTS_ANYTHING, "plain")], [], ("RW-1032",)),
            ([seen(Fact.ACCEPTS_ANYTHING, "plain")], [], ("RW-1032",)),
            ([seen(Fact.ACCEPTS_ANYTHING)], [], ()),
            ([seen(Fact.VOID, "plain")], [], ()),
        ],
    )
    def test_what_concerns_the_target_and_is_no_hole(self, observations, arrivals, advisories):
        assert advisories == judged(attempt(*observations), arrivals=arrivals).advisories
