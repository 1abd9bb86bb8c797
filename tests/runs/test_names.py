"""Names, mail exchangers, and what the DNS tells of a host."""

from ipaddress import ip_address

import pytest
from tests.runs.checking import asyncio_run, check, check_world, hurried, needs_ipv6, world
from tests.runs.naming import serving

from relaywatch.engine.resolve import Resolver
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint, Family
from relaywatch.model.verdicts import Reason, Vantage, Verdict
from relaywatch.runs.hosts import Host
from relaywatch.runs.lines import decode_line, encode_line
from relaywatch.runs.lore import Lore, gather_lore
from relaywatch.runs.naming import pair_families
from relaywatch.runs.reporting import EventKind
from relaywatch.runs.settings import LocalSink
from relaywatch.targets.parse import parse_target

ZONE = {
    ("mail.example", "A"): ["127.0.0.1"],
    ("mail.example", "AAAA"): ["::1"],
    ("backup.example", "A"): ["127.0.0.1"],
    ("larch.example", "MX"): ["10 backup.example."],
    ("one.example", "MX"): ["10 backup.example."],
    ("two.example", "MX"): ["20 backup.example."],
    ("lost.example", "MX"): ["10 nowhere.example."],
    ("none.example", "MX"): ["0 ."],
}


@pytest.fixture(scope="module")
def nameserver():
    with serving(ZONE) as where:
        yield where


class TestNames:
    @needs_ipv6
    def test_one_name_with_two_families_is_one_line(self, nameserver):
        told = check_world(hurried(nameservers=(nameserver,)), "ipv6-only", as_target="mail.example:{port}")

        line = told.line
        assert (Verdict.OPEN, "127.0.0.1", "mail.example") == (line.verdict, line.target, line.name)
        assert [Family.IPV4, Family.IPV6] == [door.family for door in line.doors]
        assert ["RW-1022"] == [finding.advisory for finding in line.findings]

    @pytest.mark.parametrize(
        ("target", "error"),
        [
            ("nowhere.example", "nowhere.example: no such name"),
            ("mx:nowhere.example", "nowhere.example: no such name"),
            ("mx:lost.example", "nowhere.example: no such name"),
            ("mx:none.example", "its MX says that it takes no mail (RFC 7505)"),
        ],
    )
    def test_a_name_that_leads_nowhere_is_inconclusive(self, nameserver, target, error):
        """Nothing but the name is there: no sink is needed, nor opened."""
        told = asyncio_run(check([target], hurried(nameservers=(nameserver,), sink=LocalSink())))

        line = told.line
        assert (Verdict.INCONCLUSIVE, (Reason.UNRESOLVED,), error) == (line.verdict, line.reasons, line.error)
        assert (target, 0, (), Vantage.UNKNOWN) == (line.target, line.attempts, line.doors, line.vantage)
        assert line.reasons == told.reports[0].judgement.reasons
        assert line == decode_line(encode_line(line))
        assert [] == told.events

    def test_the_rest_of_the_list_goes_on(self, nameserver):
        settings = hurried(nameservers=(nameserver,), sink=LocalSink(port=hurried().sink.port))

        async def scene():
            async with world(settings, "open") as places:
                names = ["nowhere.example", f"backup.example:{places['open'].port}", "mx:lost.example"]
                return await check(names, settings)

        verdicts = {line.name: line.verdict for line in asyncio_run(scene()).lines}

        assert {
            "nowhere.example": Verdict.INCONCLUSIVE,
            "backup.example": Verdict.OPEN,
            "lost.example": Verdict.INCONCLUSIVE,
        } == verdicts

    def test_an_unresolved_name_behind_tested_ones_comes_as_well(self, nameserver):
        settings = hurried(nameservers=(nameserver,))

        async def scene():
            async with world(settings, "closed") as places:
                return await check(["nowhere.example", f"127.0.0.1:{places['closed'].port}"], settings)

        assert {Verdict.CLOSED, Verdict.INCONCLUSIVE} == {line.verdict for line in asyncio_run(scene()).lines}


class TestExchangers:
    def test_a_backup_is_asked_about_the_domain_that_led_to_it(self, nameserver):
        settings = hurried(nameservers=(nameserver,))
        told = check_world(settings, "backup-mx", as_target="mx:larch.example:{port}")

        assert (Verdict.OPEN, "backup.example") == (told.line.verdict, told.line.name)
        assert ["RW-1014"] == [finding.advisory for finding in told.line.findings]
        assert "@larch.example>" in told.line.findings[0].command

    def test_one_that_serves_two_listed_domains_is_checked_once_about_both(self, nameserver):
        settings = hurried(nameservers=(nameserver,))

        async def scene():
            async with world(settings, "closed") as places:
                port = places["closed"].port
                names = [f"mx:one.example:{port}", f"mx:two.example:{port}", f"backup.example:{port}"]
                return await check(names, settings)

        told = asyncio_run(scene())

        assert Verdict.CLOSED is told.line.verdict
        assert 1 == len(told.of(EventKind.TARGET_BEGAN))
        assert b"@one.example>" in told.said()
        assert b"@two.example>" in told.said()

    def test_an_address_in_the_list_is_the_host_that_a_domain_leads_to(self, nameserver):
        """What the domain's line says of it, it is asked about there too, whichever comes first."""
        settings = hurried(nameservers=(nameserver,))

        async def scene():
            async with world(settings, "closed") as places:
                port = places["closed"].port
                return await check([f"127.0.0.1:{port}", f"mx:one.example:{port}"], settings)

        told = asyncio_run(scene())

        assert 1 == len(told.of(EventKind.TARGET_BEGAN))
        assert b"@one.example>" in told.said()

    def test_the_same_host_at_another_port_is_another_target(self, nameserver):
        settings = hurried(nameservers=(nameserver,))

        async def scene():
            async with world(settings, "closed", "dead-port") as places:
                names = [f"mx:one.example:{place.port}" for place in places.places.values()]
                return await check(names, settings)

        assert {Verdict.CLOSED, Verdict.ABSENT} == {line.verdict for line in asyncio_run(scene()).lines}


class TestNameServers:
    @pytest.mark.parametrize("text", ["dns.example", "127.0.0.1:99999", "", "127.0.0.0/8", "one two"])
    def test_what_is_none_is_wrong_usage(self, text):
        with pytest.raises(UsageError, match="name server"):
            asyncio_run(check(["127.0.0.1:9"], hurried(nameservers=(text,))))

    def test_one_may_be_named_by_its_address_alone(self):
        told = asyncio_run(check(["192.0.2.1"], hurried(nameservers=("127.0.0.53", "::1", "[::1]:5353"))))

        assert [EventKind.SKIPPED] == [event.kind for event in told.events]


FOUR = [ip_address(f"192.0.2.{number}") for number in range(3)]
SIX = [ip_address(f"2001:db8::{number}") for number in range(3)]


@pytest.mark.parametrize(
    ("addresses", "pairs"),
    [
        ([], []),
        (FOUR[:1], [(FOUR[0],)]),
        (SIX[:1], [(SIX[0],)]),
        ([SIX[0], FOUR[0]], [(FOUR[0], SIX[0])]),
        (FOUR[:2] + SIX[:1], [(FOUR[0], SIX[0]), (FOUR[1],)]),
        (FOUR[:1] + SIX[:2], [(FOUR[0], SIX[0]), (SIX[1],)]),
    ],
)
def test_families_are_paired_in_order(addresses, pairs):
    assert pairs == pair_families(addresses)


LORE = {
    ("mx1.corp.example", "A"): ["192.0.2.7"],
    ("mail.other.example", "A"): ["192.0.2.9"],
    ("7.2.0.192.in-addr.arpa", "PTR"): ["mx1.corp.example.", "a.b.third.example."],
    ("corp.example", "MX"): ["10 mail.other.example.", "20 mx1.corp.example."],
    ("b.third.example", "MX"): ["10 mail.other.example."],
    ("a.b.third.example", "A"): ["192.0.2.7"],
    ("first.example", "A"): ["192.0.2.7"],
    ("first.example", "MX"): ["10 gone.example."],
}


class TestLore:
    """What the DNS alone tells; nothing is sent to the host."""

    def ask(self, zone, **host):
        async def scene(where):
            address, _, port = where.partition(":")
            resolver = Resolver([Endpoint(ip_address(address), int(port))], hosts={}, timeout=0.5, lifetime=1)
            return await gather_lore(Host(target=parse_target("192.0.2.7"), **host), resolver)

        with serving(zone) as where:
            return asyncio_run(scene(where))

    def test_names_from_pointers_and_domains_whose_mail_comes_here(self):
        lore = self.ask(LORE, addresses=(ip_address("192.0.2.7"),), name="first.example")

        assert ("first.example", "a.b.third.example", "mx1.corp.example") == lore.names
        assert ("corp.example",) == lore.domains

    def test_a_host_of_which_nothing_is_known(self):
        assert Lore() == self.ask({}, addresses=(ip_address("192.0.2.7"), ip_address("2001:db8::7")))

    def test_a_name_server_that_is_dead_costs_nothing_but_time(self):
        async def scene():
            resolver = Resolver([Endpoint(ip_address("127.0.0.1"), 9)], hosts={}, timeout=0.1, lifetime=0.2)
            host = Host(
                target=parse_target("192.0.2.7"), addresses=(ip_address("192.0.2.7"),), name="m.example"
            )
            return await gather_lore(host, resolver)

        assert Lore(names=("m.example",)) == asyncio_run(scene())
