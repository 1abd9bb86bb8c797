from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relaywatch.targets.numbers import number_of
from relaywatch.targets.repeats import Repeats

TARGETS = st.sampled_from(["192.0.2.1", "192.0.2.2", "0.0.0.0", "::1", "2001:db8::7", "a.example"])


@given(st.lists(TARGETS, max_size=60))
def test_exactly_the_last_coming_of_each_is_the_last(texts):
    repeats = Repeats()
    targets = [number_of(text) for text in texts]

    seen = [repeats.add(target) for target in targets]
    last = [repeats.is_last(target) for target in targets]

    assert [target in targets[:place] for place, target in enumerate(targets)] == seen
    assert [target not in targets[place + 1 :] for place, target in enumerate(targets)] == last


def test_many_comings_of_one():
    repeats = Repeats()
    for _ in range(1000):
        repeats.add(5)

    assert Counter({False: 999, True: 1}) == Counter(repeats.is_last(5) for _ in range(1000))


def test_what_never_came_is_never_last():
    assert not Repeats().is_last(5)
    assert not Repeats().is_last("a.example")
