"""One run over servers of every kind, and what it makes of each."""

import json

import jsonschema
import msgspec
import pytest
from tests.runs.checking import check_world, hurried, needs_ipv6

from relaywatch.demo.expectations import EXPECTATIONS
from relaywatch.model.evidence import ArrivalKind, AttemptStatus, Direction, Fact
from relaywatch.model.places import Family, Transport
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict
from relaywatch.runs.lines import decode_line, encode_line
from relaywatch.runs.reporting import EventKind

NAMES = (
    "open",
    "trusts-reverse-path",
    "percent-hack",
    "starttls-only",
    "implicit-tls",
    "ipv6-only",
    "closed",
    "tls-required",
    "catch-all",
    "accept-then-drop",
    "accept-then-bounce",
    "qmail-like",
    "yes-to-everything",
    "auth-required",
    "blocks-client",
    "garbage",
    "silent",
    "resets",
    "dead-port",
)


@pytest.fixture(scope="module")
def told():
    return check_world(hurried(), *NAMES)


@pytest.fixture(scope="module")
def reports(told):
    """By name: reports come as they end, and the port tells whose each is."""
    by_port = {report.attempts[0].endpoint.port: report for report in told.reports}
    assert len(NAMES) == len(told.reports) == len(by_port)
    return {name: by_port[port] for name, port in told.ports.items()}


@pytest.mark.parametrize(
    "name", [*(n for n in NAMES if n != "ipv6-only"), pytest.param("ipv6-only", marks=needs_ipv6)]
)
def test_each_is_found_as_what_it_is(reports, name):
    line = reports[name].line

    assert EXPECTATIONS[name].is_met_by(line), (line.verdict, line.reasons, line.findings, line.advisories)


def test_open_is_said_with_proof(reports):
    report = reports["open"]
    (finding,) = report.line.findings

    assert (Proof.DELIVERED, "127.0.0.1", "RW-1001", "plain") == (
        finding.proof,
        finding.exit_address,
        finding.advisory,
        finding.case,
    )
    assert [(finding.token, ArrivalKind.MAIL)] == [(one.token, one.kind) for one in report.arrivals]
    assert finding.reply.startswith("250")
    assert f"RCPT TO:<{finding.token}@[127.0.0.1]>" in finding.command


def test_once_open_is_proven_nothing_more_is_asked(reports):
    (door,) = reports["open"].line.doors

    assert (1, 1) == (reports["open"].line.attempts, door.asked)
    assert door.planned > 20


def test_closed_states_its_coverage(reports):
    (door,) = reports["closed"].line.doors

    assert door.asked == door.planned > 20
    assert () == reports["closed"].arrivals


def test_a_dead_port_is_absent_after_one_attempt(reports):
    line = reports["dead-port"].line

    assert (Verdict.ABSENT, 1, ()) == (line.verdict, line.attempts, line.reasons)
    assert AttemptStatus.NO_LISTENER is reports["dead-port"].attempts[0].status


def test_accept_then_drop_is_named_and_gets_no_more_than_its_allowance(reports):
    report = reports["accept-then-drop"]
    queued = [
        seen.count for attempt in report.attempts for seen in attempt.observations if seen.fact is Fact.QUEUED
    ]

    assert Reason.NOT_DELIVERED in report.line.reasons
    assert 1 <= sum(queued) <= 3
    assert {Proof.QUEUED, Proof.ACCEPTED} >= {finding.proof for finding in report.line.findings}


def test_starttls_only_shows_both_doors(reports):
    line = reports["starttls-only"].line

    assert [(Transport.PLAIN, Verdict.CLOSED), (Transport.STARTTLS, Verdict.OPEN)] == [
        (door.transport, door.verdict) for door in line.doors
    ]
    assert [("RW-1020", Transport.STARTTLS)] == [(found.advisory, found.transport) for found in line.findings]


@needs_ipv6
def test_ipv6_only_shows_both_families_in_one_line(reports):
    line = reports["ipv6-only"].line

    assert [(Family.IPV4, Verdict.CLOSED), (Family.IPV6, Verdict.OPEN)] == [
        (door.family, door.verdict) for door in line.doors
    ]
    assert ("127.0.0.1", "localhost") == (line.target, line.name)


def test_a_port_that_turns_out_to_speak_tls_is_tried_so(reports):
    transports = [door.transport for door in reports["implicit-tls"].line.doors]

    assert [Transport.PLAIN, Transport.TLS] == transports
    assert [Transport.PLAIN] == [door.transport for door in reports["silent"].line.doors]


def test_from_loopback_we_look_from_inside(reports):
    assert {Vantage.INSIDE} == {report.line.vantage for report in reports.values()}
    assert {"127.0.0.1"} == {
        report.line.source_address for name, report in reports.items() if name != "dead-port"
    }


def test_every_line_is_valid_by_its_schema_and_reads_back_the_same(told):
    validator = jsonschema.Draft202012Validator(msgspec.json.schema(ResultLine))
    for line in told.lines:
        octets = encode_line(line)
        validator.validate(json.loads(octets))
        assert line == decode_line(octets)
        assert b"\n" not in octets


def test_every_attempt_has_its_transcript(reports):
    for name, report in reports.items():
        spoke = {entry.direction for attempt in report.attempts for entry in attempt.transcript}
        assert Direction.NOTE in spoke
        assert (name in {"dead-port", "silent"}) == (Direction.SERVER not in spoke)


def test_the_watcher_hears_of_everything_in_order(told):
    for target in {event.target for event in told.of(EventKind.TARGET_BEGAN)}:
        kinds = [event.kind for event in told.events if event.target == target]
        assert EventKind.TARGET_BEGAN is kinds[0]
        assert EventKind.TARGET_ENDED is kinds[-1]
    assert EventKind.SINK_PROVED is told.events[0].kind
    ended = [event.report for event in told.of(EventKind.TARGET_ENDED)]
    assert {id(report) for report in ended} == {id(report) for report in told.reports}
    assert len(told.of(EventKind.ATTEMPT_BEGAN)) == len(told.attempts)
