"""What came late is proof all the same."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import door, finding, line

from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.places import Endpoint, Transport
from relaywatch.model.tokens import Token
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.runs.settling import awaited_tokens, is_proof, settle

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ONE, TWO = Token("a" * 32), Token("b" * 32)


def arrival(token, kind=ArrivalKind.MAIL):
    return Arrival(token=token, kind=kind, at=NOW, came_from=Endpoint(ip_address("192.0.2.9"), 4711))


def accepting(**more):
    given = {
        "reasons": (Reason.NOT_DELIVERED, Reason.NOT_SENT),
        "findings": (
            finding(token=ONE, proof=Proof.QUEUED, exit_address=None),
            finding(
                token=TWO,
                case="percent-hack",
                proof=Proof.ACCEPTED,
                transport=Transport.STARTTLS,
                exit_address=None,
            ),
        ),
        "doors": (
            door(Verdict.ACCEPTING, reasons=(Reason.NOT_DELIVERED,)),
            door(Verdict.ACCEPTING, transport=Transport.STARTTLS, reasons=(Reason.NOT_SENT,)),
        ),
        "advisories": ("RW-1024", "RW-1031"),
    }
    return line(Verdict.ACCEPTING, **given | more)


def test_what_arrived_is_delivered_and_its_door_is_open():
    settled = settle(accepting(), {ONE: arrival(ONE)})

    (proven,) = settled.findings
    assert (Verdict.OPEN, ()) == (settled.verdict, settled.reasons)
    assert (ONE, Proof.DELIVERED, "192.0.2.9") == (proven.token, proven.proof, proven.exit_address)
    assert [Verdict.OPEN, Verdict.ACCEPTING] == [one.verdict for one in settled.doors]
    assert ("RW-1024",) == settled.advisories


@pytest.mark.parametrize(
    "other",
    [
        line(Verdict.CLOSED),
        line(Verdict.OPEN, findings=(finding(token=ONE),)),
        accepting(findings=(finding(token=None, proof=Proof.ACCEPTED),)),
    ],
    ids=["closed", "open", "accepting without a canary"],
)
def test_other_lines_stay_as_they_are(other):
    assert other == settle(other, {ONE: arrival(ONE), TWO: arrival(TWO)})
    assert frozenset() == awaited_tokens(other)


def test_no_arrival_changes_nothing():
    assert accepting() == settle(accepting(), {})
    assert {ONE, TWO} == awaited_tokens(accepting())


def test_a_bounce_is_no_proof():
    assert [True, False] == [is_proof(arrival(ONE, kind)) for kind in (ArrivalKind.MAIL, ArrivalKind.BOUNCE)]


@given(st.sets(st.sampled_from([ONE, TWO])))
def test_settling_twice_is_settling_once(tokens):
    came = {token: arrival(token) for token in tokens}

    once = settle(accepting(), came)

    assert once == settle(once, came)
    assert (once.verdict is Verdict.OPEN) == bool(tokens)
