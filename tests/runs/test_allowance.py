"""The messages that one place may be handed, whatever became of the attempts."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.model.evidence import Fact, Observation
from relaywatch.runs.allowance import Allowance

HERE, THERE = ((ip_address(text), None) for text in ("192.0.2.7", "192.0.2.8"))


def seen(fact, count=1):
    return Observation(fact=fact, case="plain", count=count)


@pytest.fixture
def share():
    return Allowance(3).share([HERE])


def left(share):
    """How many more may be reserved, each being handed over."""
    count = 0
    while share.reserve():
        share.observed(seen(Fact.QUEUED))
        count += 1
    return count


@pytest.mark.parametrize("fact", [Fact.QUEUED, Fact.HANDED_OVER])
def test_what_is_handed_over_is_spent(share, fact):
    share.reserve()
    share.observed(seen(fact))
    share.ended(in_good_order=True)

    assert 2 == left(share)


def test_a_message_in_several_observations_is_one(share):
    share.reserve()
    for count in (1, 0, 0):
        share.observed(seen(Fact.QUEUED, count))

    assert 2 == left(share)


def test_what_was_refused_before_it_was_sent_is_given_back(share):
    for _ in range(5):
        share.reserve()
        share.observed(seen(Fact.REFUSED, 0))
    share.ended(in_good_order=True)

    assert 3 == left(share)


def test_an_attempt_that_broke_off_may_have_handed_it_over(share):
    share.reserve()
    share.ended(in_good_order=False)

    assert 2 == left(share)


def test_one_that_ended_badly_without_a_message_on_its_way_spends_nothing(share):
    share.ended(in_good_order=False)

    assert 3 == left(share)


def test_another_target_at_the_same_place_has_what_is_left(share):
    allowance = Allowance(3)
    one, other, elsewhere = (allowance.share(places) for places in ([HERE], [HERE, THERE], [THERE]))
    one.reserve()
    other.reserve()
    other.observed(seen(Fact.QUEUED))

    assert 1 == left(other)
    assert 1 == left(elsewhere)


def test_bodies_that_are_refused_after_all_have_a_bound_too():
    share = Allowance(3, bodies_in_vain=2).share([HERE])
    for _ in range(2):
        assert share.reserve()
        share.observed(seen(Fact.REFUSED))

    assert not share.reserve()


@given(st.lists(st.sampled_from(["reserve", "queued", "refused", "good", "bad"]), max_size=40))
def test_no_course_of_events_spends_more(events):
    share = Allowance(3).share([HERE])
    on_its_way = False
    handed_over = 0
    for event in events:
        if event == "reserve":
            on_its_way = share.reserve()
        elif event == "queued" and on_its_way:
            share.observed(seen(Fact.QUEUED))
            handed_over += 1
            on_its_way = False
        elif event == "refused":
            share.observed(seen(Fact.REFUSED, 0))
        elif event in {"good", "bad"}:
            share.ended(in_good_order=event == "good")
            on_its_way = False

    assert handed_over <= 3
