import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.notation import BRIEF, SINK

from relaywatch.probes.smtp_relay.cases import Case, expand, gather_names, write
from relaywatch.probes.smtp_relay.forms import FORWARD_PATHS, HELO_FORMS, PLAIN, REVERSE_PATHS
from relaywatch.probes.smtp_relay.planning import (
    ALTERNATES,
    CORE_FORWARDS,
    MAX_CASES,
    STANDARD_CROSSINGS,
    SYNTAX_REFUSALS,
    by_transaction,
    plan_cases,
    take_batch,
)
from relaywatch.script.brief import Depth, SinkNames
from relaywatch.script.software import all_software

ALL = frozenset({"DSN", "CHUNKING", "PIPELINING", "XCLIENT"})
KNOWING = replace(
    BRIEF,
    sink=replace(SINK, second_domain="second.test", mx_pointing_domain="pointing.test"),
    target_names=("mail.example.test",),
    local_domains=("example.test",),
)
NAMES = gather_names(KNOWING)
DEPTHS = st.sampled_from(list(Depth))
SOFTWARE = st.sampled_from([None, *all_software().values()])
LABELS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
HOSTS = st.builds("{}.{}.test".format, LABELS, LABELS)


@st.composite
def briefs(draw):
    hosts = draw(st.lists(HOSTS, max_size=4, unique=True))
    return replace(
        BRIEF,
        depth=draw(DEPTHS),
        target_names=tuple(hosts),
        local_domains=tuple(draw(st.lists(HOSTS, max_size=4))),
        sink=draw(
            st.sampled_from(
                [SINK, KNOWING.sink, SinkNames(domain="[198.51.100.9]", addresses=SINK.addresses)]
            )
        ),
    )


def plan(brief=KNOWING, software=None, offered=ALL):
    names = gather_names(brief)
    return [(case, write(case, names, brief)) for case in plan_cases(brief, names, offered, software)]


def as_asked(case, envelope):
    return (
        envelope.helo,
        envelope.mail.replace(envelope.return_token or "\0", "*"),
        envelope.rcpt.replace(envelope.token, "*"),
        case.forward.name if case.forward.after_local or case.forward.needs else "",
    )


@given(brief=briefs(), software=SOFTWARE, offered=st.sets(st.sampled_from(sorted(ALL))))
def test_a_plan_asks_each_envelope_once(brief, software, offered):
    planned = plan(brief, software, offered)

    assert {1} == set(Counter(as_asked(*one) for one in planned).values())
    assert {1} == set(Counter(case.name for case, _ in planned).values())
    assert {1} == set(Counter(envelope.token for _, envelope in planned).values())


@given(brief=briefs(), software=SOFTWARE)
def test_a_plan_begins_with_the_plain_case_and_each_part_of_it_ends_with_strained_syntax(brief, software):
    """Plain ones, what the software is known for, single forms, crossings and further names."""
    planned = [case for case, _ in plan(brief, software)]
    known = set(software.forms) if software else set()
    crossings = set(software.crossings) if software else set()
    rest = [
        (is_crossed(case) or case.is_alternate, case.strains_syntax)
        for case in planned
        if case.forward.name not in known
        and (case.forward.name, case.reverse.name) not in crossings
        and not is_plainest(case)
    ]

    assert Case() == planned[0]
    assert sorted(rest) == rest
    plainest = [is_plainest(case) for case in planned]
    assert sorted(plainest, reverse=True) == plainest


def is_plainest(case):
    return (
        case.forward is PLAIN
        and case.helo.name == "own"
        and case.reverse.name in {"ours", "null", "target-name", "hosted"}
        and not case.is_alternate
    )


def is_crossed(case):
    return case.forward is not PLAIN and case.reverse.name != "ours"


@given(brief=briefs(), software=SOFTWARE, offered=st.sets(st.sampled_from(sorted(ALL))))
def test_no_case_needs_what_isnt_offered(brief, software, offered):
    planned = plan(brief, software, offered)

    assert all({case.forward.needs, case.helo.needs} <= {"", *offered} for case, _ in planned)


@pytest.mark.parametrize("depth", [Depth.STANDARD, Depth.EXHAUSTIVE])
def test_every_row_is_in_the_plan_when_all_names_are_known(depth):
    planned = [case for case, _ in plan(replace(KNOWING, depth=depth))]

    assert set(FORWARD_PATHS) == {case.forward for case in planned}
    assert set(REVERSE_PATHS) == {case.reverse for case in planned}
    assert set(HELO_FORMS) == {case.helo for case in planned}


def test_a_further_door_is_asked_the_core():
    planned = [case for case, _ in plan(replace(KNOWING, depth=Depth.CORE))]

    assert {"plain", *CORE_FORWARDS} == {case.forward.name for case in planned}
    assert set(REVERSE_PATHS) == {case.reverse for case in planned}


def test_the_standard_plan_crosses_what_no_older_battery_crossed():
    """The Lotus SMTP MTA's hole: percent hack with the null reverse-path."""
    pairs = {(case.forward.name, case.reverse.name) for case, _ in plan()}

    assert ("percent-hack", "null") in pairs
    assert set(STANDARD_CROSSINGS) <= pairs


def test_the_exhaustive_plan_crosses_everything_within_its_maximum():
    planned = plan(replace(KNOWING, depth=Depth.EXHAUSTIVE))
    pairs = {(case.forward.name, case.reverse.name) for case, _ in planned}

    assert len(planned) > len(REVERSE_PATHS) * len(FORWARD_PATHS) // 2
    assert {
        (forward.name, reverse.name) for forward in FORWARD_PATHS for reverse in REVERSE_PATHS
    } - pairs == set()


def test_what_a_software_is_known_for_comes_right_behind_the_plain_ones():
    domino = all_software()["domino"]
    planned = [case for case, _ in plan(software=domino)]
    plain = sum(map(is_plainest, planned))
    known = planned[plain : plain + len(domino.forms)]

    assert {case.forward.name for case in known} <= set(domino.forms)
    assert ("quoted-list", "null") in {(case.forward.name, case.reverse.name) for case in planned}


def test_forms_that_two_rows_write_alike_are_asked_once():
    """A host whose own name is the domain that it hosts."""
    brief = replace(KNOWING, target_names=("example.test",), local_domains=("example.test",))
    names = [case.name for case, _ in plan(brief)]

    assert "percent-hack" in names
    assert "percent-hack-hosted" not in names


class TestBatches:
    @staticmethod
    def envelopes(brief=KNOWING, software=None):
        return [envelope for _, envelope in plan(brief, software)]

    @given(limit=st.integers(1, 12), depth=DEPTHS, software=SOFTWARE)
    def test_all_are_asked_each_once_within_the_limit(self, limit, depth, software):
        planned = pending = self.envelopes(replace(KNOWING, depth=depth), software)
        asked = []
        while pending:
            batch = take_batch(pending, limit).envelopes
            assert pending[0] == batch[0]
            assert len(batch) <= limit
            asked += batch
            pending = [envelope for envelope in pending if envelope not in batch]

        assert sorted(e.token for e in planned) == sorted(e.token for e in asked)

    @given(limit=st.integers(1, 12), depth=DEPTHS)
    def test_a_connection_is_of_one_kind(self, limit, depth):
        pending = self.envelopes(replace(KNOWING, depth=depth))
        while pending:
            batch = take_batch(pending, limit).envelopes
            kinds = {(e.case.strains_syntax, e.helo.verb) for e in batch}
            assert 1 == len(kinds)
            assert len(batch) == 1 or not any(e.case.forward.after_local for e in batch)
            if batch[0].case.strains_syntax:
                assert len(batch) <= SYNTAX_REFUSALS
            pending = [envelope for envelope in pending if envelope not in batch]

    def test_those_that_share_a_reverse_path_are_drawn_forward(self):
        planned = [e for e in self.envelopes() if e.case.forward is not PLAIN and not e.case.strains_syntax]
        batch = take_batch(planned, 8).envelopes

        assert {planned[0].mail} == {envelope.mail for envelope in batch}

    @given(limit=st.integers(1, 12))
    def test_the_plain_ones_arent_overtaken(self, limit):
        batch = take_batch(self.envelopes(), limit).envelopes

        assert all(is_plainest(envelope.case) for envelope in batch[:4])

    @given(limit=st.integers(1, 12), depth=DEPTHS)
    def test_one_way_to_present_ourselves_to_a_connection(self, limit, depth):
        """Not every server bears a second EHLO."""
        pending = self.envelopes(replace(KNOWING, depth=depth))
        while pending:
            batch = take_batch(pending, limit).envelopes
            assert 1 == len({envelope.helo for envelope in batch})
            pending = [envelope for envelope in pending if envelope not in batch]

    @given(limit=st.integers(2, 12), depth=DEPTHS)
    def test_transactions_are_runs_of_one_reverse_path_and_helo(self, limit, depth):
        batch = take_batch(self.envelopes(replace(KNOWING, depth=depth)), limit).envelopes
        runs = list(by_transaction(batch))

        assert list(batch) == [envelope for run in runs for envelope in run]
        assert all(1 == len({(e.helo, e.mail) for e in run}) for run in runs)
        assert all(
            (one[0].helo, one[0].mail) != (other[0].helo, other[0].mail)
            for one, other in itertools.pairwise(runs)
        )

    def test_no_envelopes_are_no_transactions(self):
        assert [] == list(by_transaction([]))


def test_further_names_are_asked_with_the_likeliest_forms_only():
    brief = replace(KNOWING, target_names=("a.test", "b.test"), local_domains=("x.test", "y.test", "z.test"))
    alternates = {case.name.partition("+for-")[0] for case, _ in plan(brief) if case.is_alternate}

    assert alternates == ALTERNATES
    assert not any(case.is_alternate for case, _ in plan(replace(brief, depth=Depth.CORE)))


def test_a_run_without_many_names_is_asked_whole():
    """Beyond the published number nothing is asked, and the coverage says so."""
    assert len(plan()) <= MAX_CASES[Depth.STANDARD]
    assert len(plan(replace(KNOWING, depth=Depth.CORE))) <= MAX_CASES[Depth.CORE]
    assert len(plan(replace(KNOWING, depth=Depth.EXHAUSTIVE))) <= MAX_CASES[Depth.EXHAUSTIVE]


def test_names_of_the_crossings_exist():
    forwards, reverses = {row.name for row in FORWARD_PATHS}, {row.name for row in REVERSE_PATHS}

    assert all(forward in forwards and reverse in reverses for forward, reverse in STANDARD_CROSSINGS)
    assert forwards >= CORE_FORWARDS


def test_every_case_of_the_tables_expands():
    assert all(list(expand(Case(forward=row), NAMES)) for row in FORWARD_PATHS)
