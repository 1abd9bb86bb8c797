"""What came late is proof all the same."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import door, finding, line

from relaywatch.model.evidence import Arrival, ArrivalKind, Weakness
from relaywatch.model.places import Endpoint, Transport
from relaywatch.model.tokens import Token
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.runs.settling import awaited, settle

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
    assert {} == awaited(other)


def test_no_arrival_changes_nothing():
    assert accepting() == settle(accepting(), {})
    assert {ONE, TWO} == set(awaited(accepting()))


@pytest.mark.parametrize("kind", sorted({*ArrivalKind} - {ArrivalKind.MAIL}))
def test_only_mail_proves_a_relay(kind):
    assert not awaited(accepting())[ONE](arrival(ONE, kind))
    assert accepting() == settle(accepting(), {ONE: arrival(ONE, kind)})


class TestProxies:
    """Words that anybody may have read by now prove a proxy only where they come from the proxy itself."""

    LINE = accepting(
        weakness=Weakness.OPEN_PROXY,
        target="192.0.2.9",
        findings=(finding(token=ONE, proof=Proof.ACCEPTED, port=3128, exit_address=None),),
        doors=(door(Verdict.ACCEPTING, port=3128, reasons=(Reason.NOT_REACHED,)),),
    )

    def test_the_canary_was_reached_by_the_target_itself(self):
        settled = settle(self.LINE, {ONE: arrival(ONE, ArrivalKind.HTTP)})

        assert (Verdict.OPEN, Proof.CANARY_REACHED) == (settled.verdict, settled.findings[0].proof)
        assert Verdict.OPEN is settled.doors[0].verdict

    @pytest.mark.parametrize(
        "other",
        [
            arrival(ONE, ArrivalKind.DNS),
            arrival(ONE, ArrivalKind.MAIL),
            replace(arrival(ONE, ArrivalKind.HTTP), came_from=Endpoint(ip_address("198.51.100.200"), 4711)),
            replace(arrival(ONE, ArrivalKind.HTTP), came_from=None),
        ],
        ids=["a look-up", "mail", "a stranger", "nobody knows"],
    )
    def test_nothing_else_proves_it(self, other):
        assert self.LINE == settle(self.LINE, {ONE: other})


def test_a_chain_is_another_door_than_the_same_port_in_front():
    chained = {"via": "http-connect", "through": "3128 to 127.0.0.1"}
    both = accepting(
        findings=(finding(token=ONE, proof=Proof.QUEUED, exit_address=None, **chained),),
        doors=(door(Verdict.ACCEPTING), door(Verdict.ACCEPTING, **chained)),
    )

    settled = settle(both, {ONE: arrival(ONE)})

    assert [Verdict.ACCEPTING, Verdict.OPEN] == [one.verdict for one in settled.doors]


@given(st.sets(st.sampled_from([ONE, TWO])))
def test_settling_twice_is_settling_once(tokens):
    came = {token: arrival(token) for token in tokens}

    once = settle(accepting(), came)

    assert once == settle(once, came)
    assert (once.verdict is Verdict.OPEN) == bool(tokens)
