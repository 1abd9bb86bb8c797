"""What holds of every evidence whatever, however odd."""

from dataclasses import replace

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tests.rules.evidence import (
    RELAY,
    accepted,
    arrival,
    arrivals,
    attempts,
    bounce,
    evidence,
    plausible_attempts,
    queued,
)

from relaywatch.model.evidence import AttemptStatus, Fact, Observation
from relaywatch.model.places import SUBMISSION_PORTS
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.rules.explain import explain
from relaywatch.rules.judge import judge

thorough = settings(max_examples=3 * settings.default.max_examples, deadline=None)
UNANSWERED = {AttemptStatus.NO_ANSWER, AttemptStatus.UNREACHABLE, AttemptStatus.NO_LISTENER}


def observations_at(made, door):
    return [seen for attempt in made if attempt.door == door for seen in attempt.observations]


@thorough
@given(evidence, st.randoms(use_true_random=False))
def test_the_order_of_evidence_is_moot(given_evidence, chance):
    made, came = given_evidence
    shuffled = [
        replace(attempt, observations=tuple(chance.sample(attempt.observations, len(attempt.observations))))
        for attempt in chance.sample(made, len(made))
    ]

    assert judge(RELAY, made, came) == judge(RELAY, shuffled, chance.sample(came, len(came)))


@thorough
@given(evidence)
def test_evidence_that_is_told_twice_says_no_more(given_evidence):
    made, came = given_evidence
    once, twice = judge(RELAY, made, came), judge(RELAY, made, came * 2)

    assert once == twice


@thorough
@given(st.sampled_from(Fact), attempts, evidence)
def test_more_evidence_never_turns_open_into_anything_else(fact, first, more):
    assume(fact is not Fact.NOTE)
    proof = Observation(fact=fact, case="plain", token="ours")
    proven = replace(first, weakness=RELAY, observations=(*first.observations, proof))
    made, came = more

    assert Verdict.OPEN is judge(RELAY, [proven], [arrival("ours")]).verdict
    assert Verdict.OPEN is judge(RELAY, [proven, *made], [arrival("ours"), *came]).verdict


@thorough
@given(st.sampled_from([accepted("bang", token="ours"), queued("bang", "ours", "home")]), attempts, evidence)
def test_only_a_bounce_or_a_catch_all_takes_a_yes_back(yes, first, more):
    made, came = more
    saying_yes = [replace(first, weakness=RELAY, observations=(*first.observations, yes)), *made]
    assume(not any(seen.fact is Fact.ACCEPTS_ANYTHING for a in saying_yes for seen in a.observations))
    returns = {seen.return_token for attempt in saying_yes for seen in attempt.observations}
    without_bounces = [arrival for arrival in came if arrival.token not in returns]

    assert judge(RELAY, saying_yes, without_bounces).verdict in {Verdict.ACCEPTING, Verdict.OPEN}


@thorough
@given(st.sampled_from(list(Fact)), attempts, evidence)
def test_more_than_a_yes_of_the_same_case_takes_it_back_neither(fact, first, more):
    """Unless it is the catch-all's control, or a bounce."""
    assume(fact is not Fact.ACCEPTS_ANYTHING)
    made, _ = more
    other = Observation(fact=fact, case="bang", token="other")
    both = replace(first, observations=(accepted("bang", token="ours"), other), weakness=RELAY)
    others = [replace(attempt, probe="another") for attempt in made]

    assert judge(RELAY, [both, *others], []).verdict in {Verdict.ACCEPTING, Verdict.OPEN}


@thorough
@given(st.lists(plausible_attempts | attempts, min_size=1, max_size=4), st.lists(arrivals, max_size=3))
def test_closed_needs_every_planned_case_asked_and_refused_in_attempts_that_completed(made, came):
    for door in judge(RELAY, made, came).doors:
        if door.verdict is not Verdict.CLOSED:
            continue
        event("closed")
        mine = [attempt for attempt in made if attempt.door == door.door and attempt.weakness is RELAY]
        facts = {seen.fact for seen in observations_at(mine, door.door)}
        demand = door.reasons == (Reason.AUTH_REQUIRED,) and door.door.port in SUBMISSION_PORTS
        assert door.asked >= door.planned
        assert demand or (door.planned and facts & {Fact.REFUSED, Fact.QUEUED})
        heard = [attempt for attempt in mine if attempt.observations]
        assert {AttemptStatus.COMPLETED} == {
            attempt.status for attempt in heard if attempt.status not in UNANSWERED
        }


@thorough
@given(
    st.lists(attempts | plausible_attempts, min_size=1, max_size=4),
    st.lists(arrivals, max_size=3),
    st.lists(st.sampled_from(sorted(set(AttemptStatus) - {AttemptStatus.COMPLETED})), min_size=4, max_size=4),
)
def test_silence_is_never_closed(made, came, statuses):
    cut = [replace(attempt, status=status) for attempt, status in zip(made, statuses, strict=False)]

    judgement = judge(RELAY, cut, came)

    assert Verdict.CLOSED is not judgement.verdict
    assert Verdict.CLOSED not in {door.verdict for door in judgement.doors}


@thorough
@given(st.lists(attempts, max_size=4))
def test_no_answer_at_any_door_is_never_closed(made):
    quiet = [replace(attempt, observations=()) for attempt in made]

    assert judge(RELAY, quiet, []).verdict in {Verdict.ABSENT, Verdict.INCONCLUSIVE}


@thorough
@given(evidence)
def test_open_only_if_something_of_ours_arrived(given_evidence):
    made, came = given_evidence
    judgement = judge(RELAY, made, came)
    for door in judgement.doors:
        if door.verdict is Verdict.OPEN:
            event("open")
            mine = [attempt for attempt in made if attempt.weakness is RELAY]
            seen = observations_at(mine, door.door)
            tokens = {one.token for one in seen if one.case}
            assert {arrival.token for arrival in came} & tokens or Fact.CANARY_REACHED in {
                one.fact for one in seen
            }


@thorough
@given(st.lists(plausible_attempts, min_size=1, max_size=4))
def test_a_bounce_alone_never_proves(made):
    returns = {seen.return_token for attempt in made for seen in attempt.observations} - {None}
    forward = {seen.token for attempt in made for seen in attempt.observations}
    came = [bounce(token) for token in sorted(returns - forward)]

    assert Verdict.OPEN is not judge(RELAY, made, came).verdict


@thorough
@given(st.lists(plausible_attempts, min_size=1, max_size=4))
def test_void_cases_alone_never_close(made):
    void = [
        replace(
            attempt,
            observations=tuple(
                replace(seen, fact=Fact.VOID) if seen.case else seen for seen in attempt.observations
            ),
        )
        for attempt in made
    ]

    assert Verdict.CLOSED is not judge(RELAY, void, []).verdict


@thorough
@given(evidence)
def test_reasons_stand_where_they_belong(given_evidence):
    judgement = judge(RELAY, *given_evidence)
    everything = [(None, judgement.verdict, judgement.reasons)]
    everything += [(door.door, door.verdict, door.reasons) for door in judgement.doors]
    for door, verdict, reasons in everything:
        if verdict is Verdict.INCONCLUSIVE or verdict is Verdict.ACCEPTING:
            assert reasons
        elif verdict is Verdict.CLOSED:
            beside = {Reason.BACKSCATTER, Reason.AUTH_REQUIRED}
            assert set(reasons) <= beside
            assert Reason.AUTH_REQUIRED not in reasons or door is None or door.port in SUBMISSION_PORTS
        else:
            assert () == reasons
        assert sorted(set(reasons)) == list(reasons)


@thorough
@given(evidence)
def test_findings_go_with_the_verdict(given_evidence):
    judgement = judge(RELAY, *given_evidence)

    assert bool(judgement.findings) == (judgement.verdict in {Verdict.OPEN, Verdict.ACCEPTING})
    told = [explanation.code for explanation in explain(judgement)]
    assert [finding.advisory for finding in judgement.findings] == told[: len(judgement.findings)]
