"""Conditions against brute force: every assignment of the claims, and every way in which a gap may turn out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Way,
    all_of,
    any_of,
    claimed,
    shortest,
    unknown,
)
from relaywatch.audit.deciding import Rule, first_match, last_match, verdict_of
from relaywatch.audit.findings import AuditVerdict, Cause, Gap, GapKind

ATOMS = tuple(Claim(ClaimKind.REVERSE_PATH, f"{name}@own.example") for name in "abc")
GAPS = tuple(Gap(GapKind.EXTERNAL, f"table {number}") for number in (1, 2))
Said = dict[Claim, bool]


@dataclass(frozen=True)
class Expression:
    """A condition, and what it comes to for what is claimed and how each gap in it turns out."""

    condition: Condition
    value: Callable[[Said, tuple[bool, ...]], bool]
    gaps: int = 0
    """How many times a gap stands in it; each time it may turn out otherwise."""


def expressions(*, with_gaps: bool = False) -> st.SearchStrategy[Expression]:
    atoms = st.one_of(
        st.sampled_from(ATOMS).map(lambda atom: Expression(claimed(atom), lambda said, _: said[atom])),
        st.sampled_from(ATOMS).flatmap(
            lambda one: st.sampled_from(ATOMS).map(
                lambda other: Expression(claimed(one, other), lambda said, _: said[one] and said[other])
            )
        ),
        st.just(Expression(ALWAYS, lambda *_: True)),
        st.just(Expression(NEVER, lambda *_: False)),
    )
    if with_gaps:
        gaps = st.sampled_from(GAPS).map(lambda gap: Expression(unknown(gap), lambda _, turned: turned[0], 1))
        atoms = st.one_of(atoms, gaps)
    return st.recursive(atoms, lambda inner: st.one_of(_negated(inner), _paired(inner)), max_leaves=6)


def _negated(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return inner.map(lambda one: Expression(~one.condition, lambda s, t: not one.value(s, t), one.gaps))


def _paired(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.tuples(inner, inner, st.booleans()).map(lambda args: _pair(*args))


def _pair(one: Expression, other: Expression, both: bool) -> Expression:
    def value(said: Said, turned: tuple[bool, ...]) -> bool:
        left, right = one.value(said, turned[: one.gaps]), other.value(said, turned[one.gaps :])
        return (left and right) if both else (left or right)

    joined = one.condition & other.condition if both else one.condition | other.condition
    return Expression(joined, value, one.gaps + other.gaps)


def assignments() -> list[Said]:
    return [dict(zip(ATOMS, values, strict=True)) for values in product([False, True], repeat=len(ATOMS))]


def goes(way: Way, said: Said) -> bool:
    return all(said[Claim(claim.kind, claim.value)] is not claim.negated for claim in way.claims)


@given(expressions())
def test_a_condition_is_true_and_false_exactly_where_its_ways_go(expression: Expression):
    for said in assignments():
        value = expression.value(said, ())
        assert any(goes(way, said) for way in expression.condition.true) is value
        assert any(goes(way, said) for way in expression.condition.false) is not value


@given(expressions(with_gaps=True))
def test_whatever_a_gap_turns_out_to_be_there_is_a_way_and_a_way_without_gaps_always_leads_there(expression):
    turns = list(product([False, True], repeat=expression.gaps))
    for said in assignments():
        values = {expression.value(said, turned) for turned in turns}
        for value, ways in ((True, expression.condition.true), (False, expression.condition.false)):
            here = [way for way in ways if goes(way, said)]
            if value in values:
                assert here
            if any(not way.gaps for way in here):
                assert values == {value}


RULES = st.lists(st.tuples(expressions(with_gaps=True), st.booleans()), max_size=6)


@given(RULES, st.booleans(), st.booleans())
def test_the_first_or_last_rule_that_applies_decides(drawn, default, is_last):
    match = last_match if is_last else first_match
    decided = match([Rule(one.condition, answer) for one, answer in drawn], default)
    ordered = list(reversed(drawn)) if is_last else drawn
    for said in assignments():
        for turned in product([False, True], repeat=sum(one.gaps for one, _ in drawn)):
            answer = _answer(ordered, default, said, turned)
            assert any(goes(way, said) for way in decided.get(answer, ()))
            sure = [way for way in decided.get(not answer, ()) if goes(way, said) and not way.gaps]
            assert not sure, "what is sure must hold however the gaps turn out"


def _answer(rules, default, said, turned):
    begin = 0
    for one, answer in rules:
        if one.value(said, turned[begin : begin + one.gaps]):
            return answer
        begin += one.gaps
    return default


@given(RULES, expressions(with_gaps=True))
def test_one_more_refusal_before_the_rest_never_opens(drawn, refusing):
    rules = [Rule(one.condition, answer) for one, answer in drawn]
    before = first_match(rules, default=False).get(True, ())
    after = first_match([Rule(refusing.condition, False), *rules], default=False).get(True, ())
    assert not after or before


ways = st.builds(
    Way,
    claims=st.frozensets(st.builds(Claim, st.just(ClaimKind.HELO), st.sampled_from("abcd"), st.booleans())),
    gaps=st.frozensets(st.sampled_from(GAPS)),
)


@given(st.lists(ways, max_size=12))
def test_the_shortest_ways_ask_for_no_more_than_those_left_out(drawn):
    kept = shortest(drawn)
    for way in drawn:
        if way.is_consistent:
            assert any(one.claims <= way.claims and one.gaps <= way.gaps for one in kept)
    assert set(kept) <= set(drawn)
    assert all(way.is_consistent for way in kept)
    if any(way.is_consistent for way in drawn):
        assert kept


def names(count: int) -> list[Claim]:
    return [Claim(ClaimKind.HELO, f"host{number}.example") for number in range(count)]


def test_too_many_ways_are_a_gap_and_never_closed():
    condition = any_of(claimed(name) for name in names(500))
    assert len(condition.true) <= 64
    assert condition.true[-1].gaps == {Gap(GapKind.TOO_MANY, "ways through the rules")}
    assert verdict_of(condition.true[-1]) is AuditVerdict.UNKNOWN
    assert verdict_of(condition.true[0]) is AuditVerdict.OPEN_IF


def test_an_open_way_is_kept_among_too_many():
    condition = any_of([*(claimed(name) for name in names(500)), ALWAYS])
    assert condition.true == (Way(),)


def test_what_contradicts_all_ways_that_were_left_out_stays_false():
    some = any_of(claimed(name) for name in names(500))
    assert (some & NEVER).true == ()
    assert all(way.gaps for way in (some & all_of(~claimed(name) for name in names(500))).true)


@given(st.lists(st.sampled_from(names(90)), min_size=65, max_size=90, unique=True), st.data())
@settings(max_examples=20)
def test_whoever_is_let_in_by_a_long_list_has_a_way(allowed, data):
    condition = any_of(claimed(name) for name in allowed)
    one = data.draw(st.sampled_from(allowed))
    assert any(way.claims <= {one} for way in condition.true)


def test_a_list_of_many_rules_stays_small():
    causes = (Cause("a rule"),)
    rules = [Rule(claimed(name), index % 2 == 0, causes) for index, name in enumerate(names(5000))]
    decided = first_match(rules, default=False)
    assert len(decided[True]) <= 64
    assert verdict_of(decided[True][0]) is AuditVerdict.OPEN_IF
    assert max(len(way.claims) for way in decided[False]) <= 110


def test_who_is_let_in_far_down_a_long_list_is_let_in():
    *refused, last = names(2000)
    rules = [Rule(claimed(name), False) for name in refused]
    decided = first_match([*rules, Rule(claimed(last), True)], default=False)
    assert [verdict_of(way) for way in decided[True]] == [AuditVerdict.OPEN_IF]
    assert last in decided[True][0].claims
    gap = Rule(unknown(GAPS[0]), True)
    assert verdict_of(first_match([*rules, gap], default=False)[True][0]) is AuditVerdict.UNKNOWN
    assert True not in first_match([*rules, Rule(ALWAYS, False), Rule(claimed(last), True)], default=False)


def test_what_contradicts_itself_is_never_claimed():
    assert claimed(ATOMS[0], ATOMS[0].opposite()).true == ()


def test_rules_that_never_apply_cost_nothing():
    rules = (Rule(NEVER, True) for _ in range(1_000_000))
    assert first_match(rules, default=False) == {False: (Way(),)}


def test_causes_go_with_a_way_and_stand_in_it_once():
    first, second = Cause("one", rule="tp-no-allow"), Cause("two")
    condition = claimed(ATOMS[0]).because(first) & ALWAYS.because(second, first)
    assert [way.causes for way in condition.true] == [(first, second)]
    assert condition.false == (Way(frozenset({ATOMS[0].opposite()})),)


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ((), AuditVerdict.OPEN),
        ((Claim(ClaimKind.DESTINATION, "elsewhere.example:25"),), AuditVerdict.OPEN),
        ((Claim(ClaimKind.HELO, "x", negated=True),), AuditVerdict.OPEN),
        ((Claim(ClaimKind.HELO, "x"),), AuditVerdict.OPEN_IF),
    ],
)
def test_what_costs_nothing_takes_nothing_from_open(claims, verdict):
    assert verdict_of(Way(frozenset(claims))) is verdict
    assert verdict_of(Way(frozenset(claims), frozenset(GAPS[:1]))) is AuditVerdict.UNKNOWN


def address(value: str, *, negated: bool = False) -> Claim:
    return Claim(ClaimKind.CLIENT_ADDRESS, value, negated)


@pytest.mark.parametrize(
    ("claims", "is_consistent"),
    [
        ((address("8.0.0.0/8"), address("8.8.0.0/16")), True),
        ((address("8.0.0.0/8"), address("9.0.0.0/8")), False),
        ((address("8.0.0.0/8", negated=True), address("8.8.0.0/16")), False),
        ((address("8.0.0.0/8"), address("8.8.0.0/16", negated=True)), True),
        ((address("0.0.0.0/1", negated=True), address("128.0.0.0/1", negated=True)), False),
        ((address("0.0.0.0/2", negated=True), address("128.0.0.0/1", negated=True)), True),
        ((address("8.0.0.0/8"), address("2000::/3")), False),
        ((address("8.0.0.0/8", negated=True), address("2000::/3")), True),
        ((address("10.0.0.0/8"),), False),
        ((address("8.0.0.0/8, 9.0.0.0/8"), address("9.0.0.0/8")), True),
        ((address("somewhere"), address("9.0.0.0/8")), True),
        ((Claim(ClaimKind.FRONT_END, "one"), Claim(ClaimKind.FRONT_END, "another")), False),
        ((Claim(ClaimKind.FRONT_END, "one"), Claim(ClaimKind.FRONT_END, "another", negated=True)), True),
    ],
)
def test_claims_of_where_he_comes_from_must_be_possible_together(claims, is_consistent):
    assert Way(frozenset(claims)).is_consistent is is_consistent
