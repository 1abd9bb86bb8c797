"""No packet leaves for what nobody permitted, or somebody excluded."""

import time
from datetime import date
from io import BytesIO
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from tests.runs.checking import Counting, asyncio_run, at, check, check_world, hurried, needs_ipv6, world
from tests.runs.naming import serving

from relaywatch.engine.resolve import Resolver
from relaywatch.model.places import Family
from relaywatch.model.verdicts import Verdict
from relaywatch.runs.feeding import Bounds
from relaywatch.runs.gate import Gate
from relaywatch.runs.hosts import Host, HostRange
from relaywatch.runs.naming import find_hosts
from relaywatch.runs.reporting import EventKind
from relaywatch.targets.exclusions import Exclusion, Exclusions
from relaywatch.targets.lists import read_list
from relaywatch.targets.parse import Origin, parse_span, parse_target
from relaywatch.targets.permissions import Permission
from relaywatch.targets.scope import Scope

FAR = date(2999, 12, 31)


def excluding(*texts):
    return Exclusions(
        Exclusion(parse_span(text), text, Origin("opt-outs", number)) for number, text in enumerate(texts, 1)
    )


def permission(network, until=FAR, **more):
    return Permission(
        networks=(ip_network(network),), owner="Example", contact="abuse@owner.example", until=until, **more
    )


class TestScope:
    @pytest.mark.parametrize("target", ["192.0.2.7", "192.0.2.8:2525", "2001:db8::7", "198.51.100.0/30"])
    def test_whom_nobody_permitted_is_told_and_left_alone(self, target):
        told = asyncio_run(check([at(target, "list.txt", 7)], hurried()))

        assert [] == told.reports
        assert {EventKind.SKIPPED} == {event.kind for event in told.events}
        assert all(detail.startswith("list.txt:7: ") for detail in told.details(EventKind.SKIPPED))
        assert all("not covered by any permission" in detail for detail in told.details(EventKind.SKIPPED))
        (event,) = told.events
        assert (4 if "/" in target else 1) == event.count

    def test_a_permission_that_ran_out_permits_nothing(self):
        scope = Scope((permission("192.0.2.0/24", date(2020, 1, 31)),), "scope.toml")
        told = asyncio_run(check(["192.0.2.7"], hurried(scope=scope)))

        (detail,) = told.details(EventKind.SKIPPED)
        assert "ran out on 2020-01-31" in detail
        assert [] == told.attempts

    def test_the_rest_of_the_list_goes_on(self):
        settings = hurried()

        async def scene():
            async with world(settings, "closed") as places:
                port = places["closed"].port
                text = f"192.0.2.7\nwhat is this?\n127.0.0.1:{port}\n# a comment\n\xff\n".encode("latin-1")
                return await check(read_list(BytesIO(text), "list.txt"), settings)

        told = asyncio_run(scene())

        assert Verdict.CLOSED is told.line.verdict
        assert ["list.txt:1", "list.txt:2", "list.txt:5"] == [
            ":".join(detail.split(":")[:2]) for detail in told.details(EventKind.SKIPPED)
        ]
        assert "list.txt:5: not UTF-8" == told.details(EventKind.SKIPPED)[-1]

    @needs_ipv6
    def test_an_address_of_a_name_that_nothing_covers_is_told_and_the_other_is_checked(self):
        zone = {("mail.example", "A"): ["127.0.0.1"], ("mail.example", "AAAA"): ["2001:db8::7"]}
        with serving(zone) as nameserver:
            told = check_world(hurried(nameservers=(nameserver,)), "closed", as_target="mail.example:{port}")

        assert (Verdict.CLOSED, {Family.IPV4}) == (
            told.line.verdict,
            {door.family for door in told.line.doors},
        )
        (detail,) = told.details(EventKind.SKIPPED)
        assert detail.startswith("command line: 2001:db8::7 (mail.example) is not covered")

    def test_what_is_allowed_at_one_address_is_not_at_another(self):
        four = permission("192.0.2.0/24", domains=("four.example",))
        six = permission("2001:db8::/32", local_mailboxes=True)
        addresses = (ip_address("192.0.2.7"), ip_address("2001:db8::7"))

        covered = covered_by(
            Scope((four, six)), Host(target=parse_target("mail.example"), addresses=addresses)
        )

        assert [(addresses[:1], four, ("four.example",)), (addresses[1:], six, ())] == [
            (host.addresses, by, host.local_domains) for host, by in covered
        ]

    def test_one_permission_for_both_addresses_is_one_host(self):
        both = Permission(
            networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
            owner="Example",
            contact="x",
            until=FAR,
        )
        addresses = (ip_address("192.0.2.7"), ip_address("2001:db8::7"))

        ((host, _),) = covered_by(Scope((both,)), Host(target=parse_target("m.example"), addresses=addresses))

        assert addresses == host.addresses


def covered_by(scope, *named, skipped=None):
    """What passes the gate; nothing is sent here."""
    told = [] if skipped is None else skipped
    gate = Gate(scope, Exclusions(), lambda *skip: told.append(skip))
    return passed_by(gate, named)


def passed_by(gate, together):
    return list(gate.mixed([part for named in together for part in gate.permitted(named)]))


def by_domain(*domains):
    return Permission(domains=domains, owner="Example", contact="x", until=FAR)


class TestNames:
    """A permission by name is opened by the DNS, and by nothing that a list says."""

    def test_a_name_that_only_stands_beside_an_address_opens_nothing(self):
        scope = Scope((by_domain("mine.example"),))
        octets = b'{"ip":"203.0.113.99","domain":"mail.mine.example"}\n'
        skipped = []

        async def scene():
            found = find_hosts(read_list(BytesIO(octets), "zgrab.jsonl"), Resolver(hosts={}))
            return [named async for batch in found for named in batch]

        (host,) = asyncio_run(scene())

        assert ("mail.mine.example", ()) == (host.name, host.leads)
        assert [] == covered_by(scope, host, skipped=skipped)
        assert "zgrab.jsonl:1: 203.0.113.99 is not covered" in skipped[0][0]

    def test_a_name_that_leads_there_does(self):
        address, other = ip_address("203.0.113.99"), ip_address("203.0.113.98")
        host = Host(
            target=parse_target("203.0.113.99"),
            addresses=(address, other),
            leads=(("elsewhere.example", address), ("mail.mine.example", address), ("no.example", other)),
        )
        skipped = []

        ((passed, by),) = covered_by(Scope((by_domain("mine.example"),)), host, skipped=skipped)

        assert ((address,), ("mine.example",)) == (passed.addresses, by.domains)
        assert "203.0.113.98 (no.example) is not covered" in skipped[0][0]


class TestOnce:
    def passed(self, *targets):
        scope = Scope((permission("192.0.2.0/24"),))

        async def scene():
            """Batch by batch, as a list comes that is too long to be looked at together."""
            gate = Gate(scope, Exclusions(), lambda *_: None)
            found = find_hosts(map(parse_target, targets), Resolver(hosts={}), Bounds(most=1))
            return [host async for batch in found for host, _ in passed_by(gate, batch)]

        return [(str(host.address), host.ports) for host in asyncio_run(scene())]

    def test_what_was_passed_before_is_not_passed_again(self):
        assert [("192.0.2.7", (25,))] == self.passed("192.0.2.7:25", "192.0.2.7:25")

    def test_but_with_a_port_that_is_new(self):
        assert [("192.0.2.7", (25,)), ("192.0.2.7", (587,)), ("192.0.2.6", (25,))] == self.passed(
            "192.0.2.7:25", "192.0.2.7:587", "192.0.2.6/31:25"
        )


class TestOrder:
    def order(self, seed, *targets):
        gate = Gate(Scope((permission("10.0.0.0/8"),)), Exclusions(), lambda *_: None, seed=seed)
        named = [HostRange(target=one, span=one.span) for one in map(parse_target, targets)]
        return [str(host.address) for host, _ in passed_by(gate, named)]

    def test_networks_are_mixed_in_an_order_that_the_seed_decides(self):
        found = self.order(3, "10.0.0.0/20", "10.9.0.0/21")

        assert len(set(found)) == 24 * 256
        assert sum(a.rpartition(".")[0] == b.rpartition(".")[0] for a, b in pairwise(found)) < 2 * 256
        assert found == self.order(3, "10.0.0.0/20", "10.9.0.0/21")
        assert found != self.order(4, "10.0.0.0/20", "10.9.0.0/21")

    def test_nothing_comes_of_nothing(self):
        assert [] == self.order(0, "192.0.2.0/24")


class TestNetworks:
    def test_a_network_of_which_little_is_permitted_takes_no_time(self):
        skipped = []
        target = parse_target("10.0.0.0/8")
        named = HostRange(target=target, span=target.span)
        began = time.monotonic()

        hosts = covered_by(Scope((permission("10.9.8.4/30"),)), named, skipped=skipped)

        assert time.monotonic() - began < 1
        assert [f"10.9.8.{number}" for number in range(4, 8)] == [str(host.address) for host, _ in hosts]
        assert [16_777_216 - 4, 2] == [sum(count for *_, count in skipped), len(skipped)]

    def test_one_that_nobody_permitted_is_one_event(self):
        told = asyncio_run(check([at("10.0.0.0/8", "list.txt", 1)], hurried()))

        (event,) = told.events
        assert (16_777_216, "10.0.0.0/8") == (event.count, event.target)


class TestExclusions:
    @pytest.mark.parametrize(
        "excluded", [(), ("127.0.0.2",), ("127.0.0.0/29",), ("127.0.0.1-127.0.0.3", "::1")]
    )
    def test_they_win_over_loopback(self, excluded):
        async def scene():
            async with Counting("127.0.0.2") as listener:
                target = f"127.0.0.2:{listener.port}"
                told = await check([target], hurried(exclusions=excluding(*excluded)))
                return told, listener.count

        told, count = asyncio_run(scene())

        assert bool(excluded) == (count == 0)
        assert bool(excluded) == (told.reports == [])
        if excluded:
            (detail,) = told.details(EventKind.SKIPPED)
            assert f"command line: 127.0.0.2 is excluded by {excluded[0]} (opt-outs:1)" == detail

    def test_out_of_a_network_only_the_rest_is_checked(self):
        async def scene():
            async with Counting("127.0.0.8") as spared, Counting("127.0.0.9", port=spared.port) as other:
                settings = hurried(exclusions=excluding("127.0.0.8", "127.0.0.10/31"))
                told = await check([f"127.0.0.8/30:{spared.port}"], settings)
                return told, spared.count, other.count

        told, spared, other = asyncio_run(scene())

        assert ["127.0.0.9"] == [line.target for line in told.lines]
        assert [1, 2] == [event.count for event in told.of(EventKind.SKIPPED)]
        assert 0 == spared < other

    @needs_ipv6
    @pytest.mark.parametrize(
        ("excluded", "family"), [("::1", Family.IPV4), ("127.0.0.1", Family.IPV6)], ids=["IPv6", "IPv4"]
    )
    def test_one_family_of_a_name_may_be_excluded(self, excluded, family):
        told = check_world(hurried(exclusions=excluding(excluded)), "ipv6-only")

        assert {family} == {door.family for door in told.line.doors}
        assert ("::1" if family is Family.IPV6 else "127.0.0.1") == told.line.target
        assert (Verdict.OPEN if family is Family.IPV6 else Verdict.CLOSED) is told.line.verdict
        assert 1 == len(told.of(EventKind.SKIPPED))
