"""What counts as an open proxy while a run goes on, and whose loopback is behind it."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.engine.resolve import NameNotFoundError
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
from relaywatch.model.tokens import Mint
from relaywatch.runs.chains import _Chains, check_chains, heard_behind
from relaywatch.runs.proxies import is_reached
from relaywatch.runs.tunnel_doors import closed_tunnels, open_tunnels
from relaywatch.script.brief import Brief, Identity, SinkNames
from relaywatch.script.chains import CALLS_ITSELF, meet
from relaywatch.script.probe import load_probes
from relaywatch.targets.permissions import Permission

TARGET = ip_address("192.0.2.7")
DOOR = Door(3128, Transport.PLAIN, Family.IPV4)
TOKEN = "t" * 32
MINT = Mint(bytes(32), b"seed")
SINK = SinkNames(domain="sink.test")
TALKS = Observation(fact=Fact.TALKS)


class Target:
    """One target of a run whose chains only say where they lead."""

    def __init__(
        self, *observations, source="203.0.113.5", names=(), behind=(), address=TARGET, direct=(), **leave
    ):
        """``names`` are what a server behind the proxy calls itself, ``direct`` who is met without it."""
        self.board = ArrivalBoard()
        self.host = SimpleNamespace(addresses=(address,))
        self.settings = SimpleNamespace(chain_ports=(25,), exhaustive=False)
        self.own_places = frozenset()
        self.identity = Identity()
        self.share = SimpleNamespace(ended=lambda in_good_order: None)
        self.permission = Permission(
            networks=(ip_network("192.0.2.0/28"), ip_network("192.168.1.0/28")),
            owner="Example",
            contact="x",
            until=date.max,
            **leave,
        )
        found = Attempt(
            probe="http-connect",
            weakness=Weakness.OPEN_PROXY,
            endpoint=Endpoint(address, 3128),
            door=DOOR,
            status=AttemptStatus.COMPLETED,
            observations=observations,
            source=source,
        )
        self.attempts = [found]
        self.briefs = {(found.probe, DOOR): Brief(endpoint=found.endpoint, door=DOOR, mint=MINT, sink=SINK)}
        self.asked = []
        self.names, self.behind, self.direct = names, behind, direct

    def permits(self, address):
        return self.permission.prefix_length(address) is not None

    async def attempt(self, probe, door, endpoint, _depth, *, link):
        """Whoever is met calls itself by the names; ``behind`` is what comes of everything else."""
        where = door.through.rpartition(" ")[2] if link else f"{endpoint.address} ourselves"
        if probe.script is meet:
            self.asked.append(f"meets {where}")
            names = self.names if link else self.direct
            seen = [Observation(fact=Fact.NOTE, detail=CALLS_ITSELF, reply=name) for name in names]
        else:
            self.asked.append(where)
            seen = self.behind
        return Attempt(
            probe=probe.name,
            weakness=probe.weakness,
            endpoint=endpoint,
            door=door,
            status=self.status,
            observations=tuple(seen),
        )

    status = AttemptStatus.COMPLETED

    @property
    def is_interrupted(self):
        return any(attempt.status is AttemptStatus.INTERRUPTED for attempt in self.attempts)


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
    target = Target(seen(Fact.CANARY_REACHED, exit_address=exit_address), loopback_chains=True)

    assert leads_to == chained(target)


@pytest.mark.parametrize(
    ("direct", "is_asked"),
    [
        pytest.param(["mail.example.org"], True, id="the server that we meet there ourselves"),
        pytest.param(["mail.elsewhere.example"], False, id="another's, at the same private address"),
        pytest.param([], False, id="nobody whom we can meet"),
    ],
)
def test_a_private_address_behind_a_proxy_that_may_end_elsewhere_is_met_first(direct, is_asked):
    target = Target(
        seen(Fact.CANARY_REACHED, exit_address="198.51.100.9"),
        address=ip_address("192.168.1.7"),
        names=["mail.example.org"],
        direct=direct,
        loopback_chains=True,
    )
    chained(target)

    assert ["meets 192.168.1.7", "meets 192.168.1.7 ourselves"] == target.asked[:2]
    assert is_asked is ("192.168.1.7" in target.asked)


def test_a_chain_leads_to_mail_servers_of_the_same_permission_alone():
    leads = {"mail.example.org": ["192.0.2.9", "198.51.100.9", "192.0.2.10"]}
    given = {"chain_targets": ("192.0.2.9", "mail.example.org", "nowhere.example.org")}
    target = Target(seen(Fact.CANARY_REACHED, exit_address="192.0.2.7"), **given)

    assert ["192.0.2.9", "192.0.2.10"] == chained(target, leads)


def test_what_is_our_own_is_not_even_asked():
    target = Target(seen(Fact.CANARY_REACHED, exit_address="192.0.2.7"), loopback_chains=True)
    target.own_places = frozenset({Endpoint(TARGET, 25)})

    assert ["127.0.0.1"] == chained(target)


class TestHome:
    """A proxy that leads to no canary of ours: it is led home, and no further."""

    FORBIDDEN = seen(Fact.REFUSED, reply="HTTP/1.1 403 Forbidden")
    LEADS = (
        {"mail.example.org": ["192.0.2.7"], "other.example.org": ["192.0.2.7", "192.0.2.9"]}
        | {"mail.example.net": ["198.51.100.9"], "both.example.net": ["192.0.2.7", "198.51.100.9"]}
        | {"localhost.example": ["127.0.0.1"]}
    )

    def asked(self, *observations, status=AttemptStatus.COMPLETED, **more):
        given = {"loopback_chains": True} | more
        self.target = Target(TALKS, *(observations or (self.FORBIDDEN,)), **given)
        self.target.status = status
        return chained(self.target, self.LEADS)

    @pytest.mark.parametrize("name", ["mail.example.org", "other.example.org"])
    def test_the_loopback_of_whoever_calls_itself_a_permitted_host_is_asked(self, name):
        assert ["192.0.2.7", "meets 127.0.0.1", "127.0.0.1"] == self.asked(names=[name])

    @pytest.mark.parametrize(
        "names",
        [
            pytest.param([], id="says no name"),
            pytest.param(["mail.example.net"], id="a stranger's"),
            pytest.param(["both.example.net"], id="also a stranger's"),
            pytest.param(["nowhere.example.net"], id="no name that leads anywhere"),
            pytest.param(["localhost.example"], id="everybody's own"),
            pytest.param(["a.example", "b.example", "mail.example.org"], id="many names"),
        ],
    )
    def test_whoever_may_be_a_stranger_is_not_asked_of_mail(self, names):
        """A proxy may leave the last step to another host's proxy, whose loopback it is then."""
        assert ["192.0.2.7", "meets 127.0.0.1"] == self.asked(names=names)

    def test_without_leave_nobody_is_asked(self):
        assert [] == self.asked(names=["mail.example.org"], loopback_chains=False)

    def test_no_other_mail_servers_are_asked(self):
        asked = self.asked(names=[], loopback_chains=False, chain_targets=("192.0.2.9",))

        assert [] == asked

    def test_a_door_that_leads_nowhere_is_no_evidence(self):
        self.asked(names=["mail.example.org"], status=AttemptStatus.NO_LISTENER)

        assert 1 == len(self.target.attempts)
        assert not heard_behind(self.target)

    def test_being_told_to_stop_ends_it(self):
        assert ["192.0.2.7"] == self.asked(status=AttemptStatus.INTERRUPTED)

    def test_being_told_to_stop_while_meeting_somebody_asks_nothing_more(self):
        self.target = Target(TALKS, self.FORBIDDEN, loopback_chains=True)
        self.target.host = SimpleNamespace(addresses=())
        self.target.status = AttemptStatus.INTERRUPTED
        probes = load_probes()
        [proxy] = closed_tunnels(self.target, [probes["http-connect"]])
        chains = _Chains(self.target, (probes["smtp-relay"],), proxy, None)

        asyncio.run(chains.ask(Endpoint(ip_address("127.0.0.1"), 25)))

        assert ["meets 127.0.0.1"] == self.target.asked
        assert AttemptStatus.INTERRUPTED is self.target.attempts[-1].status

    @pytest.mark.parametrize(("speaks", "tried"), [("http", True), ("mute", False), (None, False)])
    def test_silence_is_a_proxys_where_the_door_has_spoken(self, speaks, tried):
        target = Target(loopback_chains=True)
        silent = replace(target.attempts[0], status=AttemptStatus.TIMEOUT)
        target.attempts = [silent]
        if speaks:
            spoken = Observation(fact=Fact.SPEAKS, detail=speaks)
            target.attempts.append(replace(silent, probe="recognition", observations=(spoken,)))

        assert tried is bool(chained(target))

    def test_few_doors_are_tried(self):
        target = Target(loopback_chains=True)
        [found] = target.attempts
        for port in range(1000, 1010):
            door = replace(DOOR, port=port)
            one = replace(found, door=door, observations=(TALKS, self.FORBIDDEN))
            made = [one, replace(one, probe="socks4")]
            brief = replace(target.briefs[found.probe, found.door], endpoint=Endpoint(TARGET, port))
            target.attempts += made
            target.briefs |= {(attempt.probe, attempt.door): brief for attempt in made}

        proxies = closed_tunnels(target, load_probes().values())

        assert [1000, 1001, 1002, 1003] == [proxy.brief.endpoint.port for proxy in proxies]

    def test_an_open_door_is_not_tried_twice(self):
        target = Target(TALKS, seen(Fact.CANARY_REACHED, exit_address="192.0.2.7"), loopback_chains=True)
        closed = replace(target.attempts[0], probe="socks4", observations=(TALKS, self.FORBIDDEN))
        target.attempts.append(closed)

        assert () == closed_tunnels(target, load_probes().values())
        assert 1 == len(open_tunnels(target, load_probes().values()))


@pytest.mark.parametrize(
    ("observations", "status", "is_heard"),
    [
        ([Fact.TALKS], AttemptStatus.COMPLETED, True),
        ([Fact.CLIENT_BLOCKED], AttemptStatus.COMPLETED, True),
        ([], AttemptStatus.PROTOCOL_ERROR, True),
        ([], AttemptStatus.BUG, True),
        ([], AttemptStatus.NO_LISTENER, False),
        ([], AttemptStatus.TIMEOUT, False),
        ([], AttemptStatus.CUT_SHORT, False),
        ([Fact.NOTE], AttemptStatus.NO_ANSWER, False),
        ([Fact.NOT_THIS_PROTOCOL], AttemptStatus.COMPLETED, False),
    ],
)
def test_who_is_heard_behind_a_proxy(observations, status, is_heard):
    target = Target()
    target.attempts.append(
        replace(
            target.attempts[0],
            probe="smtp-relay",
            door=replace(DOOR, via="http-connect", through="3128 to 127.0.0.1"),
            observations=tuple(Observation(fact=fact) for fact in observations),
            status=status,
        )
    )

    assert is_heard is heard_behind(target)


class Names:
    """What names lead to."""

    def __init__(self, leads):
        self.leads = leads

    async def addresses(self, name):
        if name not in self.leads:
            raise NameNotFoundError(name)
        return tuple(map(ip_address, self.leads[name]))


def chained(target, leads=None):
    """Where its chains lead, in order."""
    probes = load_probes()
    asyncio.run(check_chains(target, [probes["smtp-relay"]], [probes["http-connect"]], Names(leads or {})))
    return target.asked
