import pytest
from tests.rules.evidence import (
    OTHER_PORT,
    PLAIN,
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
    refused,
    seen,
)

from relaywatch.model.evidence import AttemptStatus, Fact
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.rules.doors import judge_door

OPEN, ACCEPTING, CLOSED = Verdict.OPEN, Verdict.ACCEPTING, Verdict.CLOSED
ABSENT, INCONCLUSIVE = Verdict.ABSENT, Verdict.INCONCLUSIVE
NO, PERCENT_NO = refused("plain"), refused("percent")


def door(*observations, arrivals=(), **more):
    (judgement,) = judged(attempt(*observations, **more), arrivals=arrivals).doors
    return judgement


def verdict_and_reasons(judgement):
    return judgement.verdict, set(judgement.reasons)


class TestOneAttempt:
    @pytest.mark.parametrize(
        ("observations", "verdict", "reasons"),
        [
            ([TALKS, planned(2), NO, PERCENT_NO], CLOSED, set()),
            ([TALKS, planned(2), NO, seen(Fact.VOID, "percent")], CLOSED, set()),
            ([TALKS, planned(2), NO], INCONCLUSIVE, {Reason.INCOMPLETE}),
            ([TALKS, planned(0)], INCONCLUSIVE, {Reason.INCOMPLETE}),
            ([TALKS, NO], INCONCLUSIVE, {Reason.INCOMPLETE}),
            ([], INCONCLUSIVE, {Reason.INCOMPLETE}),
            ([TALKS, planned(1), seen(Fact.VOID, "plain")], INCONCLUSIVE, {Reason.VOID}),
            (
                [TALKS, planned(1), seen(Fact.ACCEPTS_ANYTHING, "plain")],
                INCONCLUSIVE,
                {Reason.VOID, Reason.ACCEPTS_ANYTHING},
            ),
            (
                [TALKS, planned(2), NO, seen(Fact.ACCEPTS_ANYTHING, "percent"), accepted("percent")],
                CLOSED,
                {Reason.ACCEPTS_ANYTHING},
            ),
            (
                [
                    TALKS,
                    planned(2),
                    NO,
                    seen(Fact.ACCEPTS_ANYTHING, "percent"),
                    seen(Fact.DEFERRED, "percent"),
                ],
                CLOSED,
                {Reason.ACCEPTS_ANYTHING},
            ),
            ([TALKS, planned(1), seen(Fact.HANDED_OVER, "plain")], ACCEPTING, {Reason.NOT_DELIVERED}),
            ([planned(1), NO], INCONCLUSIVE, {Reason.CLIENT_BLOCKED}),
            ([TALKS, planned(1), seen(Fact.DEFERRED, "plain")], INCONCLUSIVE, {Reason.DEFERRED}),
            (
                [TALKS, planned(1), seen(Fact.DEFERRED, "plain", detail="greylisted")],
                INCONCLUSIVE,
                {Reason.GREYLISTED},
            ),
            ([seen(Fact.TLS_REQUIRED)], INCONCLUSIVE, {Reason.TLS_REQUIRED}),
            ([seen(Fact.AUTH_REQUIRED)], INCONCLUSIVE, {Reason.AUTH_REQUIRED}),
            ([seen(Fact.CLIENT_BLOCKED)], INCONCLUSIVE, {Reason.CLIENT_BLOCKED}),
            ([seen(Fact.RATE_LIMITED)], INCONCLUSIVE, {Reason.RATE_LIMITED}),
            ([seen(Fact.DEFERRED)], INCONCLUSIVE, {Reason.DEFERRED}),
            (
                [TALKS, planned(2), NO, seen(Fact.RATE_LIMITED)],
                INCONCLUSIVE,
                {Reason.RATE_LIMITED, Reason.INCOMPLETE},
            ),
            ([seen(Fact.NOT_THIS_PROTOCOL)], ABSENT, set()),
            ([seen(Fact.NOT_OFFERED)], ABSENT, set()),
            ([TALKS, planned(1), NO, seen(Fact.NOT_OFFERED)], CLOSED, set()),
            ([TALKS, planned(2), NO, accepted("percent")], ACCEPTING, {Reason.NOT_SENT}),
            (
                [TALKS, planned(2), NO, accepted("percent", detail="sink-unproved")],
                ACCEPTING,
                {Reason.SINK_UNPROVED},
            ),
            ([TALKS, planned(2), queued("plain")], ACCEPTING, {Reason.NOT_DELIVERED}),
            (
                [planned(2), queued("plain"), seen(Fact.ACCEPTS_ANYTHING)],
                ACCEPTING,
                {Reason.NOT_DELIVERED, Reason.ACCEPTS_ANYTHING},
            ),
            ([planned(9), seen(Fact.CANARY_REACHED, "plain")], OPEN, set()),
        ],
    )
    def test_what_it_shows(self, observations, verdict, reasons):
        assert (verdict, reasons) == verdict_and_reasons(door(*observations))

    @pytest.mark.parametrize(
        ("status", "verdict", "reason"),
        [
            (AttemptStatus.NO_LISTENER, ABSENT, None),
            (AttemptStatus.NO_ANSWER, INCONCLUSIVE, Reason.NO_ANSWER),
            (AttemptStatus.UNREACHABLE, INCONCLUSIVE, Reason.UNREACHABLE),
            (AttemptStatus.TIMEOUT, INCONCLUSIVE, Reason.TIMEOUT),
            (AttemptStatus.TARPIT, INCONCLUSIVE, Reason.TARPIT),
            (AttemptStatus.CUT_SHORT, INCONCLUSIVE, Reason.CUT_SHORT),
            (AttemptStatus.TLS_FAILED, INCONCLUSIVE, Reason.TLS_FAILED),
            (AttemptStatus.PROTOCOL_ERROR, INCONCLUSIVE, Reason.PROTOCOL_ERROR),
            (AttemptStatus.LIMIT, INCONCLUSIVE, Reason.LIMIT),
            (AttemptStatus.INTERRUPTED, INCONCLUSIVE, Reason.INTERRUPTED),
            (AttemptStatus.BUG, INCONCLUSIVE, Reason.BUG),
        ],
    )
    def test_how_it_ended(self, status, verdict, reason):
        assert (verdict, {reason} - {None}) == verdict_and_reasons(door(status=status))

    @pytest.mark.parametrize("status", sorted(set(AttemptStatus) - {AttemptStatus.COMPLETED}))
    def test_one_that_did_not_complete_never_closes(self, status):
        refusals = [TALKS, planned(2), NO, PERCENT_NO]

        assert INCONCLUSIVE is door(*refusals, status=status).verdict
        assert OPEN is door(*refusals, queued("bang"), status=status, arrivals=[arrival()]).verdict
        assert ACCEPTING is door(*refusals, queued("bang"), status=status).verdict

    def test_a_listener_that_went_away_was_there(self):
        judgement = door(TALKS, status=AttemptStatus.NO_LISTENER)

        assert (INCONCLUSIVE, {Reason.INCOMPLETE}) == verdict_and_reasons(judgement)

    def test_a_bounce_closes_and_is_noted(self):
        judgement = door(TALKS, planned(2), NO, queued("percent"), arrivals=[bounce()])

        assert (CLOSED, {Reason.BACKSCATTER}) == verdict_and_reasons(judgement)

    def test_a_bounce_is_noted_beside_doubts_and_beside_another_yes(self):
        doubtful = door(TALKS, planned(3), NO, queued("percent"), arrivals=[bounce()])
        accepting = door(TALKS, planned(3), accepted("plain"), queued("percent"), arrivals=[bounce()])

        assert (INCONCLUSIVE, {Reason.BACKSCATTER, Reason.INCOMPLETE}) == verdict_and_reasons(doubtful)
        assert (ACCEPTING, {Reason.BACKSCATTER, Reason.NOT_SENT}) == verdict_and_reasons(accepting)

    def test_a_yes_outweighs_every_doubt(self):
        judgement = door(
            seen(Fact.RATE_LIMITED), planned(9), accepted("plain"), status=AttemptStatus.CUT_SHORT
        )

        assert (ACCEPTING, {Reason.NOT_SENT}) == verdict_and_reasons(judgement)

    def test_coverage_and_notes_are_told(self):
        judgement = door(
            TALKS, planned(3), NO, seen(Fact.NOTE, detail="old TLS"), seen(Fact.NOTE, detail="a")
        )

        assert (1, 3, ("a", "old TLS")) == (judgement.asked, judgement.planned, judgement.notes)


class TestSubmission:
    """docs/adr/0005"""

    @pytest.mark.parametrize("where", [SUBMISSION, SUBMISSIONS])
    def test_the_demand_is_the_refusal(self, where):
        judgement = door(seen(Fact.AUTH_REQUIRED), door=where)

        assert (CLOSED, {Reason.AUTH_REQUIRED}) == verdict_and_reasons(judgement)

    @pytest.mark.parametrize("where", [PLAIN, OTHER_PORT])
    def test_nowhere_else(self, where):
        assert INCONCLUSIVE is door(seen(Fact.AUTH_REQUIRED), door=where).verdict

    @pytest.mark.parametrize(
        ("more", "status"),
        [
            (seen(Fact.RATE_LIMITED), AttemptStatus.COMPLETED),
            (seen(Fact.TLS_REQUIRED), AttemptStatus.COMPLETED),
            (planned(1), AttemptStatus.COMPLETED),
            (TALKS, AttemptStatus.CUT_SHORT),
        ],
    )
    def test_not_beside_another_doubt(self, more, status):
        judgement = door(seen(Fact.AUTH_REQUIRED), more, door=SUBMISSION, status=status)

        assert INCONCLUSIVE is judgement.verdict
        assert Reason.AUTH_REQUIRED in judgement.reasons


class TestSeveralAttempts:
    def test_what_one_left_out_another_may_have_asked(self):
        first = attempt(TALKS, planned(2), NO)
        second = attempt(TALKS, planned(2), PERCENT_NO)

        assert CLOSED is judged(first, second).verdict

    def test_a_lesser_plan_adds_nothing_to_a_larger(self):
        (judgement,) = judged(closed(PLAIN, "plain", "percent", "bang"), closed(PLAIN, "plain")).doors

        assert (CLOSED, 3, 3) == (judgement.verdict, judgement.asked, judgement.planned)

    def test_a_larger_plan_must_be_done(self):
        smaller, larger = closed(PLAIN, "plain"), attempt(TALKS, planned(2), NO)

        assert (INCONCLUSIVE, {Reason.INCOMPLETE}) == verdict_and_reasons(judged(smaller, larger).doors[0])

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (AttemptStatus.INTERRUPTED, Reason.INTERRUPTED),
            (AttemptStatus.CUT_SHORT, Reason.CUT_SHORT),
            (AttemptStatus.NO_ANSWER, Reason.NO_ANSWER),
            (AttemptStatus.NO_LISTENER, Reason.INCOMPLETE),
        ],
    )
    def test_every_one_must_have_completed(self, status, reason):
        made = judged(closed(), attempt(status=status))

        assert (INCONCLUSIVE, {reason}) == verdict_and_reasons(made.doors[0])

    @pytest.mark.parametrize("fact", [Fact.NOT_OFFERED, Fact.NOT_THIS_PROTOCOL])
    def test_a_door_that_comes_and_goes_is_neither_closed_nor_absent(self, fact):
        made = judged(closed(), attempt(seen(fact)))

        assert (INCONCLUSIVE, {Reason.INCOMPLETE}) == verdict_and_reasons(made.doors[0])

    def test_a_door_is_absent_if_nobody_was_there_at_any_time(self):
        nobody, other = attempt(status=AttemptStatus.NO_LISTENER), attempt(seen(Fact.NOT_OFFERED))

        assert ABSENT is judged(nobody, other).verdict
        assert INCONCLUSIVE is judged(nobody, attempt(status=AttemptStatus.NO_ANSWER)).verdict

    def test_greylisted_first_and_refused_then_is_refused(self):
        first = attempt(TALKS, planned(1), seen(Fact.DEFERRED, "plain", detail="greylisted"))

        assert CLOSED is judged(first, closed(PLAIN, "plain")).verdict


class TestSeveralProbes:
    """Each probe's share of a door is judged by itself."""

    def test_what_one_asked_is_not_counted_for_another(self):
        much, nothing = closed(PLAIN, "a", "b", "c"), attempt(TALKS, planned(2), probe="other")
        (judgement,) = judged(much, nothing).doors

        assert (INCONCLUSIVE, {Reason.INCOMPLETE}) == verdict_and_reasons(judgement)
        assert (3, 5) == (judgement.asked, judgement.planned)

    def test_one_that_found_another_protocol_adds_nothing(self):
        stranger = attempt(seen(Fact.NOT_THIS_PROTOCOL), probe="other")

        assert CLOSED is judged(closed(), stranger).doors[0].verdict
        assert INCONCLUSIVE is judged(attempt(status=AttemptStatus.TIMEOUT), stranger).doors[0].verdict
        assert ABSENT is judged(stranger).doors[0].verdict

    def test_one_control_is_not_the_other_s(self):
        silent = attempt(planned(1), refused("x"), probe="other")

        assert {Reason.CLIENT_BLOCKED} == set(judged(closed(), silent).doors[0].reasons)

    @pytest.mark.parametrize(
        ("first", "second", "verdict", "reasons"),
        [
            (queued("a"), accepted("b", token="x"), OPEN, set()),
            (queued("a", "x"), accepted("b", token="y"), ACCEPTING, {Reason.NOT_DELIVERED, Reason.NOT_SENT}),
            (refused("a"), accepted("b", token="x"), ACCEPTING, {Reason.NOT_SENT}),
        ],
    )
    def test_the_gravest_decides(self, first, second, verdict, reasons):
        made = [attempt(TALKS, planned(1), first), attempt(TALKS, planned(1), second, probe="other")]

        for order in (made, made[::-1]):
            assert (verdict, reasons) == verdict_and_reasons(judged(*order, arrivals=[arrival()]).doors[0])


def test_a_door_that_nobody_tried():
    judgement = judge_door(PLAIN, [], [])

    assert (INCONCLUSIVE, {Reason.INCOMPLETE}) == verdict_and_reasons(judgement)
