import pytest
from tests.rules.evidence import accepted, arrival, attempt, bounce, queued, refused, seen

from relaywatch.model.evidence import Fact
from relaywatch.model.verdicts import Proof, Reason
from relaywatch.rules.cases import CaseState, judge_cases

VOID, REFUSED = seen(Fact.VOID, "plain"), refused("plain")
DEFERRED, ANYTHING = seen(Fact.DEFERRED, "plain"), seen(Fact.ACCEPTS_ANYTHING, "plain")


def only(*observations, arrivals=()):
    (judgement,) = judge_cases([attempt(*observations)], arrivals)
    return judgement


class TestState:
    @pytest.mark.parametrize(
        ("observations", "arrivals", "state", "reason"),
        [
            ([REFUSED], [], CaseState.REFUSED, None),
            ([DEFERRED], [], CaseState.UNDECIDED, Reason.DEFERRED),
            ([seen(Fact.DEFERRED, "plain", detail="greylisted")], [], CaseState.UNDECIDED, Reason.GREYLISTED),
            ([DEFERRED, REFUSED], [], CaseState.REFUSED, None),
            ([VOID], [], CaseState.VOID, None),
            ([ANYTHING], [], CaseState.VOID, Reason.ACCEPTS_ANYTHING),
            ([VOID, ANYTHING], [], CaseState.VOID, Reason.ACCEPTS_ANYTHING),
            ([REFUSED, VOID], [], CaseState.VOID, None),
            ([accepted("plain")], [], CaseState.ACCEPTING, Reason.NOT_SENT),
            ([accepted("plain", detail="not-sent: broken")], [], CaseState.ACCEPTING, Reason.NOT_SENT),
            ([accepted("plain", detail="sink-unproved")], [], CaseState.ACCEPTING, Reason.SINK_UNPROVED),
            ([accepted("plain"), REFUSED], [], CaseState.ACCEPTING, Reason.NOT_SENT),
            ([accepted("plain"), ANYTHING], [], CaseState.VOID, Reason.ACCEPTS_ANYTHING),
            ([queued("plain")], [], CaseState.ACCEPTING, Reason.NOT_DELIVERED),
            ([queued("plain"), accepted("plain")], [], CaseState.ACCEPTING, Reason.NOT_DELIVERED),
            ([queued("plain"), ANYTHING], [], CaseState.VOID, Reason.ACCEPTS_ANYTHING),
            ([queued("plain")], [bounce()], CaseState.REFUTED, Reason.BACKSCATTER),
            ([queued("plain"), ANYTHING], [bounce()], CaseState.REFUTED, Reason.BACKSCATTER),
            ([queued("plain"), accepted("plain", token="x")], [bounce()], CaseState.REFUTED, Reason.BACKSCATTER),
            ([queued("plain")], [arrival()], CaseState.OPEN, None),
            ([queued("plain"), ANYTHING], [arrival()], CaseState.OPEN, None),
            ([queued("plain")], [arrival(), bounce()], CaseState.OPEN, None),
            ([seen(Fact.CANARY_REACHED, "plain")], [], CaseState.OPEN, None),
        ],
    )  # fmt: skip
    def test_of_one_case(self, observations, arrivals, state, reason):
        judgement = only(*observations, arrivals=arrivals)

        assert (state, reason) == (judgement.state, judgement.reason)

    @pytest.mark.parametrize("fact", [fact for fact in Fact if fact is not Fact.NOTE])
    def test_what_arrived_is_proven_whatever_the_target_said(self, fact):
        proof = seen(fact, "plain", token="to")

        for other in (refused("plain"), VOID, queued("plain", "other"), accepted("plain", token="other")):
            assert CaseState.OPEN is only(other, proof, arrivals=[arrival()]).state

    def test_an_accepted_recipient_is_not_refuted_by_a_bounce(self):
        observation = accepted("plain", return_token="back")

        assert CaseState.ACCEPTING is only(observation, arrivals=[bounce()]).state

    def test_a_bounce_alone_arrives_at_the_reverse_path_and_proves_nothing(self):
        observation = refused("plain", token="to", return_token="back")

        assert CaseState.REFUSED is only(observation, arrivals=[bounce()]).state

    @pytest.mark.parametrize("fact", [Fact.SOFTWARE, Fact.TALKS, Fact.RATE_LIMITED, Fact.NOTE])
    def test_what_answers_no_case_is_none(self, fact):
        assert () == judge_cases([attempt(seen(fact, "plain"), seen(Fact.REFUSED))], [])


class TestBounces:
    """Messages from one reverse-path share its canary."""

    TWO = (queued("plain", "a"), queued("percent", "b"))

    @pytest.mark.parametrize(
        ("bounces", "states"),
        [
            ([], [CaseState.ACCEPTING] * 2),
            ([bounce()], [CaseState.ACCEPTING] * 2),
            ([bounce(), bounce()], [CaseState.ACCEPTING] * 2),
            ([bounce(), bounce(after=1)], [CaseState.REFUTED] * 2),
            ([bounce("back"), bounce("other")], [CaseState.ACCEPTING] * 2),
        ],
        ids=["none", "one", "the same one told twice", "two", "one of another"],
    )
    def test_it_takes_as_many_as_messages_to_refute_them(self, bounces, states):
        assert states == [case.state for case in judge_cases([attempt(*self.TWO)], bounces)]

    def test_one_message_to_several_has_one_bounce(self):
        together = (queued("plain", "a"), queued("percent", "b", count=0))

        states = {case.state for case in judge_cases([attempt(*together)], [bounce()])}

        assert {CaseState.REFUTED} == states

    def test_a_message_that_was_not_counted_is_one(self):
        assert CaseState.REFUTED is only(queued("plain", count=0), arrivals=[bounce()]).state
        assert CaseState.ACCEPTING is only(queued("plain", count=0)).state

    def test_a_yes_that_stands_outweighs_one_that_bounced(self):
        case = only(queued("plain", "a", "b"), queued("plain", "c", "d"), arrivals=[bounce("b")])

        assert (CaseState.ACCEPTING, "c") == (case.state, case.shown_by.token)

    def test_a_message_from_the_null_reverse_path_has_none(self):
        assert CaseState.ACCEPTING is only(queued("plain", return_token=None), arrivals=[bounce()]).state

    def test_silence_of_a_sink_that_cannot_be_asked_is_no_sign(self):
        case = only(queued("plain", detail="sink-unproved: can't be asked"))

        assert (CaseState.ACCEPTING, Reason.SINK_UNPROVED) == (case.state, case.reason)


class TestProof:
    @pytest.mark.parametrize(
        ("observation", "arrivals", "proof"),
        [
            (accepted("plain"), [], Proof.ACCEPTED),
            (queued("plain"), [], Proof.QUEUED),
            (queued("plain"), [arrival()], Proof.DELIVERED),
            (refused("plain", token="to"), [arrival()], Proof.DELIVERED),
            (seen(Fact.CANARY_REACHED, "plain", token="to"), [arrival()], Proof.CANARY_REACHED),
        ],
    )
    def test_how_far_the_yes_went(self, observation, arrivals, proof):
        assert proof is only(observation, arrivals=arrivals).proof

    def test_the_earliest_arrival_counts(self):
        late, early = arrival(after=10, helo="late"), arrival(after=9, helo="early")

        assert early == only(queued("plain"), arrivals=[late, early]).arrival


def test_cases_come_in_the_order_of_door_probe_and_name():
    made = [
        attempt(refused("z"), refused("a"), probe="b"),
        attempt(refused("m"), probe="a"),
    ]

    assert ["m", "a", "z"] == [case.case for case in judge_cases(made, [])]
    assert judge_cases(made, []) == judge_cases(made[::-1], [])


def test_the_same_case_of_two_probes_is_two():
    made = [attempt(refused("plain")), attempt(seen(Fact.VOID, "plain"), probe="other")]

    states = {case.probe: case.state for case in judge_cases(made, [])}

    assert {"smtp-relay": CaseState.REFUSED, "other": CaseState.VOID} == states


def test_the_source_is_that_of_the_attempt_which_shows_the_case():
    made = [attempt(refused("plain"), source="192.0.2.9"), attempt(queued("plain"), source="192.0.2.8")]

    assert ["192.0.2.8"] == [case.source for case in judge_cases(made, [])]


def test_of_two_attempts_that_saw_the_same_it_is_always_the_same_one():
    made = [attempt(refused("plain"), source=source) for source in ("192.0.2.9", "192.0.2.8")]

    assert judge_cases(made, []) == judge_cases(made[::-1], [])
