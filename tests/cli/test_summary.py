"""The counts of a run, and the line that closes it."""

import pytest
from tests.cli.samples import chain_line, line, open_line, proxy_line

from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import words_in
from relaywatch.cli.reports.summary import summary_details, summary_line
from relaywatch.model.evidence import Weakness
from relaywatch.model.verdicts import Verdict


def tally_of(*lines, **more):
    tally = Tally()
    for one in lines:
        tally.add(one)
    for name, value in more.items():
        setattr(tally, name, value)
    return tally


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "Finished. 0 of 0 hosts relay."),
        ([open_line(), line()], "Finished. 1 of 2 hosts relay."),
        ([proxy_line()], "Finished. 1 of 1 hosts are open proxies."),
        ([proxy_line(Verdict.ACCEPTING)], "Finished. 0 of 1 hosts are open proxies."),
        (
            [line(), proxy_line(), line(target="192.0.2.8"), proxy_line(Verdict.CLOSED)],
            "Finished. 0 of 2 hosts relay. 1 of 2 hosts are open proxies.",
        ),
        (
            [chain_line(), proxy_line(), proxy_line(Verdict.ABSENT)],
            "Finished. 1 of 1 hosts relay. 1 of 2 hosts are open proxies.",
        ),
    ],
)
def test_each_weakness_that_was_looked_for_is_counted(lines, said):
    assert said == summary_line(tally_of(*lines), words_in("en"))


def test_an_interrupted_run_says_so_in_both_languages():
    tally = tally_of(line(), proxy_line(), is_interrupted=True)

    assert "Interrupted. 0 of 1 hosts relay. 1 of 1 hosts are open proxies." == summary_line(
        tally, words_in("en")
    )
    assert "점검이 중단되었습니다. 1대 가운데 0대가 중계합니다. 1대 가운데 1대가 열린 프록시입니다." == (
        summary_line(tally, words_in("ko"))
    )


def test_hosts_are_counted_once_though_they_have_two_lines():
    tally = tally_of(line(), proxy_line(), line(target="192.0.2.8"), proxy_line(target="192.0.2.8"))

    assert (4, 2) == (tally.lines, tally.hosts)
    assert {Weakness.OPEN_RELAY: (0, 2), Weakness.OPEN_PROXY: (2, 2)} == tally.by_weakness


def test_of_those_who_have_one_line_only_the_more_are_the_hosts():
    assert 0 == Tally().hosts
    assert 2 == tally_of(proxy_line(), proxy_line(Verdict.CLOSED), line()).hosts


def test_details_count_lines_by_verdict():
    tally = tally_of(
        line(), proxy_line(Verdict.ABSENT), proxy_line(Verdict.INCONCLUSIVE), proxy_line(), skipped=3
    )

    assert "closed: 1, absent: 1, inconclusive: 1, not tested: 3" == summary_details(tally, words_in("en"))
    assert "" == summary_details(tally_of(proxy_line()), words_in("en"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line(), proxy_line()], 1),
        ([line(), proxy_line(Verdict.ACCEPTING)], 1),
        ([line(), proxy_line(Verdict.ABSENT)], 0),
        ([line(Verdict.ABSENT), proxy_line(Verdict.CLOSED)], 0),
        ([line(), proxy_line(Verdict.INCONCLUSIVE)], 4),
        ([line(Verdict.ABSENT), proxy_line(Verdict.ABSENT)], 3),
    ],
)
def test_the_exit_code_heeds_both_weaknesses(lines, expected):
    assert expected == tally_of(*lines).exit_code
