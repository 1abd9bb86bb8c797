"""The comparison, and the real run over a few servers of the world."""

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.demo.expectations import EXPECTATIONS, Expectation
from relaywatch.demo.population import POPULATION
from relaywatch.demo.server import bind
from relaywatch.demo.show import disagreeing, run_demo
from relaywatch.demo.world import Place, World
from relaywatch.engine.pace import Rates
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Endpoint, Family, Transport
from relaywatch.model.results import FindingLine, ResultLine
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict
from relaywatch.runs.run import Run
from relaywatch.runs.settings import LocalSink, RunSettings
from relaywatch.targets.parse import parse_target

LOOPBACK = ip_address("127.0.0.1")
UNPACED = Rates(overall=1000, per_address=1000, per_network=1000, burst=100, overall_burst=1000)


def line_of(verdict, *findings, advisories=(), reasons=(), proof=Proof.DELIVERED):
    return ResultLine(
        target="127.0.0.1",
        name=None,
        weakness=Weakness.OPEN_RELAY,
        verdict=verdict,
        reasons=reasons,
        software=None,
        findings=tuple(_finding(advisory, proof) for advisory in findings),
        doors=(),
        attempts=1,
        began=datetime(2026, 11, 24, tzinfo=UTC),
        seconds=1.5,
        vantage=Vantage.INSIDE,
        advisories=advisories,
    )


def _finding(advisory, proof):
    return FindingLine(
        advisory=advisory,
        probe="smtp-relay",
        case="plain",
        port=25,
        transport=Transport.PLAIN,
        family=Family.IPV4,
        via=None,
        proof=proof,
        exit_address=None,
        reply="",
    )


def place_of(name, port=25):
    return Place(name=name, host="127.0.0.1", port=port, addresses=("127.0.0.1",))


def test_everybody_is_expected_to_be_something_and_nobody_else_is():
    assert {one.name for one in POPULATION} == set(EXPECTATIONS)
    assert len(POPULATION) == len(EXPECTATIONS)


def test_expected_advisories_stand_in_the_catalogue():
    known = set(load_catalogue().advisories)

    assert {one.advisory for one in EXPECTATIONS.values() if one.advisory} <= known


OPEN = Expectation(Verdict.OPEN, "RW-1001")
DROPS = Expectation(Verdict.ACCEPTING, "RW-1031", Reason.NOT_DELIVERED)


@pytest.mark.parametrize(
    ("expected", "line", "is_met"),
    [
        (OPEN, line_of(Verdict.OPEN, "RW-1001"), True),
        (OPEN, line_of(Verdict.OPEN, "RW-1001", "RW-1005"), False),
        (OPEN, line_of(Verdict.OPEN, "RW-1005"), False),
        (OPEN, line_of(Verdict.OPEN), False),
        (OPEN, line_of(Verdict.OPEN, "RW-1001", proof=Proof.QUEUED), False),
        (OPEN, line_of(Verdict.ACCEPTING, "RW-1001"), False),
        (DROPS, line_of(Verdict.ACCEPTING, advisories=("RW-1031",), reasons=(Reason.NOT_DELIVERED,)), True),
        (DROPS, line_of(Verdict.ACCEPTING, advisories=("RW-1031",)), False),
        (DROPS, line_of(Verdict.ACCEPTING, reasons=(Reason.NOT_DELIVERED,)), False),
        (DROPS, line_of(Verdict.CLOSED, advisories=("RW-1031",), reasons=(Reason.NOT_DELIVERED,)), False),
        (Expectation(Verdict.CLOSED), line_of(Verdict.CLOSED), True),
        (Expectation(Verdict.CLOSED), line_of(Verdict.INCONCLUSIVE), False),
    ],
)
def test_expectation_is_met_only_by_what_it_says(expected, line, is_met):
    assert is_met is expected.is_met_by(line)


def test_expectation_reads_as_it_is():
    assert "accepting RW-1031 not-delivered" == str(DROPS)
    assert "closed" == str(Expectation(Verdict.CLOSED))


def test_rows_come_in_the_order_of_the_places_and_are_told_as_they_end():
    told = []
    ends = {"open": 0.05, "closed": 0.0}

    async def check(place):
        await asyncio.sleep(ends[place.name])
        return line_of(Verdict.OPEN, "RW-1001")

    rows = asyncio.run(run_demo(check, [place_of("open"), place_of("closed")], watch=told.append))

    assert ["open", "closed"] == [row.place.name for row in rows]
    assert ["closed", "open"] == [row.place.name for row in told]
    assert [True, False] == [row.agrees for row in rows]
    assert (rows[1],) == disagreeing(rows)
    assert 1.5 == rows[0].seconds


def test_check_that_is_not_done_in_time_agrees_with_nothing():
    async def check(_place):
        await asyncio.sleep(60)

    (row,) = asyncio.run(run_demo(check, [place_of("closed")], seconds=0.05))

    assert row.line is None
    assert not row.agrees
    assert 0.05 <= row.seconds < 5


def test_so_many_checks_at_a_time_and_no_more():
    running, most = 0, 0

    async def check(_place):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return line_of(Verdict.CLOSED)

    asyncio.run(run_demo(check, [place_of("closed", port) for port in range(10)], concurrency=3))

    assert 3 == most


def test_error_of_the_check_is_not_swallowed():
    async def check(_place):
        raise LookupError("a fault")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run_demo(check, [place_of("closed")]))
    assert caught.group_contains(LookupError)


def test_real_run_finds_open_closed_deceiving_and_dead_for_what_they_are():
    names = ["open", "closed", "percent-hack", "accept-then-drop", "blocks-client", "dead-port"]

    rows = asyncio.run(_demonstrate(names))

    assert [] == [(row.place.name, row.line) for row in disagreeing(rows)]
    assert names == [row.place.name for row in rows]


async def _demonstrate(names):
    (held,) = bind(("127.0.0.1",), 0)
    sink_port = held.getsockname()[1]
    held.close()
    async with World(Endpoint(LOOPBACK, sink_port), only=names) as world:
        sink = LocalSink(address=LOOPBACK, domain="sink.localhost", port=sink_port)
        lines = await _run(RunSettings(sink=sink, wait=4.0, messages=1, rates=UNPACED), world.places.values())

        async def check(place):
            return lines[place.port]

        return await run_demo(check, world.places.values())


async def _run(settings, places):
    """One run, as the command makes one, since runs share no sink; lines by port."""
    entries = [parse_target(f"{place.host}:{place.port}") for place in places]
    return {report.line.doors[0].port: report.line async for report in Run(settings).check(entries)}
