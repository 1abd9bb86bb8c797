"""What is stored, sent and searched for: its words are public and stay."""

import dataclasses
import re
from datetime import UTC, datetime
from enum import StrEnum

import pytest

from relaywatch.model import errors, evidence, places, results, verdicts
from relaywatch.model.evidence import (
    Arrival,
    ArrivalKind,
    Attempt,
    AttemptStatus,
    Fact,
    Observation,
    Weakness,
)
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.model.tokens import Mint
from relaywatch.model.verdicts import Verdict

MODULES = (evidence, places, results, verdicts)
ENUMERATIONS = {
    item
    for module in MODULES
    for item in vars(module).values()
    if isinstance(item, type) and issubclass(item, StrEnum) and item is not StrEnum
}
CLASSES = {
    item
    for module in MODULES
    for item in vars(module).values()
    if isinstance(item, type) and dataclasses.is_dataclass(item)
}
ENDPOINT = Endpoint(parse_address("192.0.2.7"), 25)
DOOR = Door(25, Transport.PLAIN, Family.IPV4)


def test_the_contract_of_verdicts():
    assert ["open", "accepting", "closed", "absent", "inconclusive"] == [str(verdict) for verdict in Verdict]


def test_the_contract_of_weaknesses():
    assert ["open-relay", "open-proxy"] == [str(weakness) for weakness in Weakness]


def test_the_contract_of_proofs():
    assert ["accepted", "queued", "delivered", "canary-reached"] == [str(proof) for proof in verdicts.Proof]


def test_the_contract_of_vantages():
    assert ["inside", "outside", "unknown"] == [str(vantage) for vantage in verdicts.Vantage]


def test_the_contract_of_the_result_line():
    """Fields may be added, never renamed."""
    names = {field.name for field in dataclasses.fields(results.ResultLine)}

    assert {
        "schema", "target", "name", "weakness", "verdict", "reasons", "software", "findings", "doors",
        "attempts", "began", "seconds", "vantage",
    } <= names  # fmt: skip
    assert {"advisory", "probe", "case", "port", "transport", "via", "proof", "exit_address", "reply"} <= {
        field.name for field in dataclasses.fields(results.FindingLine)
    }
    assert {"port", "transport", "family", "verdict", "reasons"} <= {
        field.name for field in dataclasses.fields(results.DoorLine)
    }
    assert {"name", "version"} == {field.name for field in dataclasses.fields(results.SoftwareLine)}


def test_the_name_of_the_schema_stands_in_each_line():
    line = results.ResultLine(
        target="192.0.2.7", name=None, weakness=Weakness.OPEN_RELAY, verdict=Verdict.CLOSED, reasons=(),
        software=None, findings=(), doors=(), attempts=0, began=datetime(2026, 11, 24, tzinfo=UTC),
        seconds=0.0, vantage=verdicts.Vantage.OUTSIDE,
    )  # fmt: skip

    assert "relaywatch.result/1" == line.schema == results.RESULT_SCHEMA


@pytest.mark.parametrize("enumeration", sorted(ENUMERATIONS - {evidence.Direction}, key=str))
def test_what_is_stored_is_kebab_case_and_named_alike(enumeration):
    for member in enumeration:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", member.value)
        assert member.name == member.value.replace("-", "_").upper()


@pytest.mark.parametrize("kind", sorted(CLASSES, key=str))
def test_values_are_frozen_and_slotted(kind):
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)


def test_directions_are_the_letters_of_the_notation():
    """RFC 5321 appendix D, and the engine's notes."""
    assert ["C", "S", "*"] == [str(direction) for direction in evidence.Direction]


def test_an_attempt_without_its_transcript_is_short_to_read():
    entry = evidence.TranscriptEntry(0.0, evidence.Direction.SERVER, b"x" * 10_000)
    attempt = Attempt(
        probe="smtp-relay", weakness=Weakness.OPEN_RELAY, endpoint=ENDPOINT, door=DOOR,
        status=AttemptStatus.COMPLETED, transcript=(entry,),
    )  # fmt: skip

    assert len(repr(attempt)) < 1000


def test_an_observation_needs_a_fact_only():
    seen = Observation(fact=Fact.TALKS)

    assert ("", "", "", "", 0, None, None, "") == (
        seen.case, seen.advisory, seen.reply, seen.detail, seen.count, seen.token, seen.return_token, seen.command,
    )  # fmt: skip


def test_an_arrival_needs_token_kind_and_time_only():
    arrival = Arrival(
        token=Mint(b"k", b"s").token("x"), kind=ArrivalKind.MAIL, at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    assert (None, "", "", "", (), "") == (
        arrival.came_from, arrival.reverse_path, arrival.forward_path, arrival.helo, arrival.received,
        arrival.subject,
    )  # fmt: skip


class TestErrors:
    """The tree tells whose fault it was."""

    ALL = tuple(
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)
    )

    def test_all_are_ours(self):
        assert all(issubclass(error, errors.RelaywatchError) for error in self.ALL)

    @pytest.mark.parametrize(
        ("parent", "children"),
        [
            (
                errors.NetworkError,
                {
                    "ConnectRefusedError", "ConnectTimeoutError", "UnreachableError", "ReadTimeoutError",
                    "AttemptTimeoutError", "PeerClosedError", "TLSFailedError", "TLSRefusedError",
                },
            ),
            (errors.ProtocolError, {"LocalProtocolError", "RemoteProtocolError"}),
        ],
    )  # fmt: skip
    def test_families(self, parent, children):
        assert children == {error.__name__ for error in self.ALL if issubclass(error, parent)} - {
            parent.__name__
        }

    def test_a_remote_fault_keeps_200_octets(self):
        error = errors.RemoteProtocolError("garbage", b"x" * 300)

        assert ("garbage", b"x" * 200) == (str(error), error.data)
        assert b"" == errors.RemoteProtocolError("garbage").data
