"""What counts as an open proxy while a run goes on, and whose loopback is behind it."""

import asyncio
from datetime import UTC, date, datetime
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.model.evidence import (
    Arrival,
    ArrivalKind,
    Attempt,
    AttemptStatus,
    Fact,
    Observation,
    Weakness,
)
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.runs.chains import check_chains
from relaywatch.runs.proxies import is_reached
from relaywatch.script.probe import load_probes
from relaywatch.targets.permissions import Permission

TARGET = ip_address("192.0.2.7")
DOOR = Door(3128, Transport.PLAIN, Family.IPV4)
TOKEN = "t" * 32


class Target:
    """One target of a run whose chains only say where they lead."""

    def __init__(self, *observations, source="203.0.113.5", **leave):
        self.board = ArrivalBoard()
        self.host = SimpleNamespace(addresses=(TARGET,))
        self.settings = SimpleNamespace(chain_ports=(25,), exhaustive=False)
        self.own_places = frozenset()
        self.share = SimpleNamespace(ended=lambda in_good_order: None)
        self.is_interrupted = False
        self.permission = Permission(
            networks=(ip_network("192.0.2.0/28"),), owner="Example", contact="x", until=date.max, **leave
        )
        found = Attempt(
            probe="http-connect",
            weakness=Weakness.OPEN_PROXY,
            endpoint=Endpoint(TARGET, 3128),
            door=DOOR,
            status=AttemptStatus.COMPLETED,
            observations=observations,
            source=source,
        )
        self.attempts = [found]
        self.briefs = {id(found): SimpleNamespace(endpoint=found.endpoint)}

    def permits(self, address):
        return self.permission.prefix_length(address) is not None

    async def attempt(self, probe, door, endpoint, _depth, *, link):
        assert link is not None
        return Attempt(
            probe=probe.name,
            weakness=probe.weakness,
            endpoint=endpoint,
            door=door,
            status=AttemptStatus.COMPLETED,
        )


def seen(fact, **more):
    return Observation(fact=fact, case="address-443", token=TOKEN, destination="203.0.113.25:443", **more)


def arrival(kind, came_from):
    return Arrival(
        token=TOKEN,
        kind=kind,
        at=datetime(2026, 11, 24, tzinfo=UTC),
        came_from=Endpoint(ip_address(came_from), 50000),
    )


@pytest.mark.parametrize(
    ("kind", "came_from", "is_open"),
    [
        pytest.param(ArrivalKind.TCP, "192.0.2.7", True, id="through the target"),
        pytest.param(ArrivalKind.DNS, "192.0.2.7", False, id="a look-up of our name alone"),
        pytest.param(ArrivalKind.TCP, "203.0.113.5", False, id="from our own address"),
    ],
)
def test_what_proves_nothing_ends_no_asking(kind, came_from, is_open):
    target = Target(seen(Fact.REFUSED))
    target.board.note(arrival(kind, came_from))

    assert is_open is is_reached(target, target.attempts[0])


@pytest.mark.parametrize(
    ("exit_address", "leads_to"),
    [
        pytest.param("192.0.2.7", ["127.0.0.1", "192.0.2.7"], id="its own address"),
        pytest.param("192.0.2.9", ["127.0.0.1", "192.0.2.7"], id="another of the same permission"),
        pytest.param("198.51.100.9", ["192.0.2.7"], id="a stranger's"),
    ],
)
def test_a_chain_leads_to_no_strangers_loopback(exit_address, leads_to):
    probes = load_probes()
    target = Target(seen(Fact.CANARY_REACHED, exit_address=exit_address), loopback_chains=True)

    asyncio.run(check_chains(target, [probes["smtp-relay"]], [probes["http-connect"]], None))

    assert leads_to == [attempt.door.through.rpartition(" ")[2] for attempt in target.attempts[1:]]
