import pytest
from tests.rules.evidence import (
    OTHER_PORT,
    OTHER_PORT_TLS,
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
    closed,
    judged,
    planned,
    queued,
    refused,
    seen,
)

from relaywatch.model.evidence import AttemptStatus, Fact, Weakness
from relaywatch.model.places import Door, Family, Transport
from relaywatch.model.verdicts import DoorJudgement, Reason, Verdict
from relaywatch.rules.doors import judge_target
from relaywatch.rules.judge import judge

OPEN, ACCEPTING, CLOSED = Verdict.OPEN, Verdict.ACCEPTING, Verdict.CLOSED
ABSENT, INCONCLUSIVE = Verdict.ABSENT, Verdict.INCONCLUSIVE


def door(where, verdict, *reasons, asked=0):
    return DoorJudgement(door=where, verdict=verdict, reasons=reasons, asked=asked)


def silent(where):
    return door(where, INCONCLUSIVE, Reason.NO_ANSWER)


def wants_tls(where):
    return door(where, INCONCLUSIVE, Reason.TLS_REQUIRED)


class TestDoorsTogether:
    @pytest.mark.parametrize(
        ("doors", "verdict", "reasons"),
        [
            ([], INCONCLUSIVE, {Reason.INCOMPLETE}),
            ([door(PLAIN, ABSENT), door(SUBMISSION, ABSENT)], ABSENT, set()),
            ([door(PLAIN, CLOSED), door(SUBMISSION, ABSENT)], CLOSED, set()),
            ([door(PLAIN, OPEN), door(STARTTLS, CLOSED)], OPEN, set()),
            ([door(PLAIN, OPEN), door(STARTTLS, ACCEPTING, Reason.NOT_SENT)], OPEN, set()),
            (
                [door(PLAIN, ACCEPTING, Reason.NOT_SENT), door(STARTTLS, INCONCLUSIVE, Reason.TIMEOUT)],
                ACCEPTING,
                {Reason.NOT_SENT},
            ),
            (
                [door(PLAIN, CLOSED, Reason.BACKSCATTER), door(SUBMISSION, CLOSED, Reason.AUTH_REQUIRED)],
                CLOSED,
                {Reason.BACKSCATTER, Reason.AUTH_REQUIRED},
            ),
            (
                [door(PLAIN, CLOSED), door(PLAIN_6, INCONCLUSIVE, Reason.TIMEOUT)],
                INCONCLUSIVE,
                {Reason.TIMEOUT},
            ),
            (
                [door(PLAIN, CLOSED), door(PLAIN_6, INCONCLUSIVE, Reason.NO_ANSWER, Reason.INCOMPLETE)],
                INCONCLUSIVE,
                {Reason.NO_ANSWER, Reason.INCOMPLETE},
            ),
        ],
    )
    def test_what_they_come_to(self, doors, verdict, reasons):
        assert (verdict, reasons) == judge_target(doors)
        assert (verdict, reasons) == judge_target(doors[::-1])


class TestSilence:
    """docs/adr/0006"""

    @pytest.mark.parametrize(
        ("mute", "tested"),
        [
            (SUBMISSION, PLAIN),
            (SUBMISSIONS, SUBMISSION),
            (OTHER_PORT, PLAIN),
            (PLAIN_6, PLAIN),
        ],
    )
    def test_beside_a_tested_door_it_is_overlooked(self, mute, tested):
        assert (CLOSED, set()) == judge_target([silent(mute), door(tested, CLOSED)])
        unreachable = door(mute, INCONCLUSIVE, Reason.UNREACHABLE)
        assert (CLOSED, set()) == judge_target([unreachable, door(tested, CLOSED)])

    @pytest.mark.parametrize("reasons", [(), (Reason.AUTH_REQUIRED,)])
    @pytest.mark.parametrize("tested", [SUBMISSION, SUBMISSIONS, OTHER_PORT])
    def test_another_door_does_not_speak_for_the_door_of_strangers(self, tested, reasons):
        """Many networks let nobody out to port 25, and nearly every server refuses strangers at 587."""
        doors = [silent(PLAIN), door(tested, CLOSED, *reasons)]

        assert (INCONCLUSIVE, {Reason.NO_ANSWER}) == judge_target(doors)

    @pytest.mark.parametrize(
        "other",
        [door(PLAIN, ABSENT), silent(PLAIN), door(PLAIN, INCONCLUSIVE, Reason.NO_ANSWER, Reason.TIMEOUT)],
    )
    def test_beside_one_that_was_not_tested_it_counts(self, other):
        verdict, reasons = judge_target([silent(SUBMISSION), other])

        assert INCONCLUSIVE is verdict
        assert Reason.NO_ANSWER in reasons

    def test_beside_doubt_only_the_doubt_is_told_if_another_was_tested(self):
        doors = [silent(SUBMISSION), door(PLAIN, CLOSED), door(PLAIN_6, INCONCLUSIVE, Reason.TARPIT)]

        assert (INCONCLUSIVE, {Reason.TARPIT}) == judge_target(doors)


class TestTwins:
    def test_a_plain_door_that_wants_tls_is_its_tested_twin(self):
        assert (CLOSED, set()) == judge_target([wants_tls(PLAIN), door(STARTTLS, CLOSED)])

    @pytest.mark.parametrize(
        "twin",
        [
            door(STARTTLS_6, CLOSED),
            door(Door(587, Transport.STARTTLS, Family.IPV4), CLOSED),
            door(STARTTLS, ABSENT),
            door(STARTTLS, INCONCLUSIVE, Reason.TLS_FAILED),
        ],
        ids=["of another family", "of another port", "that isn't there", "that wasn't tested"],
    )
    def test_no_other(self, twin):
        verdict, reasons = judge_target([wants_tls(PLAIN), twin])

        assert INCONCLUSIVE is verdict
        assert Reason.TLS_REQUIRED in reasons

    @pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.PROTOCOL_ERROR, Reason.CUT_SHORT])
    def test_a_plain_attempt_that_got_no_word_out_of_a_tls_door_adds_nothing(self, reason):
        mute = door(OTHER_PORT, INCONCLUSIVE, reason)

        assert (CLOSED, set()) == judge_target([mute, door(OTHER_PORT_TLS, CLOSED)])
        assert (INCONCLUSIVE, {reason}) == judge_target([mute, door(PLAIN, CLOSED)])

    def test_one_that_got_some_does(self):
        spoke = door(OTHER_PORT, INCONCLUSIVE, Reason.CUT_SHORT, asked=1)

        assert (INCONCLUSIVE, {Reason.CUT_SHORT}) == judge_target([spoke, door(OTHER_PORT_TLS, CLOSED)])


class TestFromEvidence:
    def test_nothing_at_all(self):
        judgement = judged()

        assert (INCONCLUSIVE, (Reason.INCOMPLETE,), ()) == (
            judgement.verdict,
            judgement.reasons,
            judgement.doors,
        )

    def test_closed_on_ipv4_and_in_doubt_on_ipv6_is_in_doubt(self):
        made = judged(closed(PLAIN), closed(PLAIN_6, status=AttemptStatus.TARPIT))

        assert (INCONCLUSIVE, (Reason.TARPIT,)) == (made.verdict, made.reasons)
        assert [CLOSED, INCONCLUSIVE] == [judgement.verdict for judgement in made.doors]

    def test_doors_come_in_order_of_port_transport_and_family(self):
        made = judged(closed(SUBMISSION), closed(STARTTLS), closed(PLAIN_6), closed(PLAIN))

        assert [PLAIN, PLAIN_6, STARTTLS, SUBMISSION] == [judgement.door for judgement in made.doors]

    def test_each_weakness_by_its_own_evidence(self):
        relay = closed()
        proxy = attempt(
            planned(1), queued("connect", "x"), weakness=Weakness.OPEN_PROXY, probe="http-connect", door=PLAIN
        )

        assert CLOSED is judge(Weakness.OPEN_RELAY, [relay, proxy], [arrival("x")]).verdict
        assert OPEN is judge(Weakness.OPEN_PROXY, [relay, proxy], [arrival("x")]).verdict

    def test_findings_are_the_proven_ones_if_any_is(self):
        made = [
            attempt(planned(3), accepted("bang", token="x"), queued("percent", "y"), queued("plain", "z")),
            attempt(planned(1), queued("percent", "v"), door=STARTTLS),
        ]

        unproven, proven = judged(*made), judged(*made, arrivals=[arrival("v"), arrival("y")])

        assert ["z", "x", "y", "v"] == [finding.token for finding in unproven.findings]
        assert ["y", "v"] == [finding.token for finding in proven.findings]

    def test_a_finding_says_how_it_was_shown(self):
        evidence = queued(
            "plain", reply="250 2.0.0 queued as 4X", command="EHLO x / MAIL FROM:<> / RCPT TO:<>"
        )
        (finding,) = judged(attempt(TALKS, planned(1), evidence), arrivals=[arrival()]).findings
        (unknown,) = judged(attempt(evidence), arrivals=[arrival(came_from=None)]).findings

        assert ("smtp-relay", "plain", PLAIN, "delivered", "192.0.2.7", evidence.reply, evidence.command) == (
            finding.probe,
            finding.case,
            finding.door,
            finding.proof,
            finding.exit_address,
            finding.reply,
            finding.command,
        )
        assert unknown.exit_address is None

    @pytest.mark.parametrize(
        ("said", "software"),
        [
            ([], None),
            (["postfix"], "postfix"),
            (["postfix", "exim 4.96", "postfix"], "postfix"),
            (["sendmail", "exim"], "exim"),
            (["squid", "squid 5.7", "nginx 1.22.1", "nginx 1.22.1", "squid"], "squid 5.7"),
        ],
    )
    def test_the_software_is_what_most_doors_say(self, said, software):
        made = [attempt(seen(Fact.SOFTWARE, detail=name)) for name in said]

        assert software == judged(*made).software

    def test_everything_refused_everywhere(self):
        made = judged(*(closed(where) for where in (PLAIN, PLAIN_6, STARTTLS, SUBMISSION)))

        assert (CLOSED, (), (), ()) == (made.verdict, made.reasons, made.findings, made.advisories)
        assert refused("plain").advisory == ""
