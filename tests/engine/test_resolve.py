import asyncio
import threading
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from socket import AF_INET, SOCK_DGRAM, socket

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from relaywatch.engine import resolve
from relaywatch.engine.resolve import (
    NameNotFoundError,
    NoRecordError,
    Resolver,
    ResolverFailedError,
    ResolveTimeoutError,
    read_host_table,
)
from relaywatch.model.places import Endpoint

ZONE = {
    ("mail.example.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mail.example.test.", "AAAA"): ["2001:db8::1"],
    ("four.example.test.", "A"): ["192.0.2.4"],
    ("six.example.test.", "AAAA"): ["2001:db8::6"],
    ("mapped.example.test.", "AAAA"): ["::ffff:192.0.2.9"],
    ("alias.example.test.", "A"): ["192.0.2.1"],
    ("example.test.", "MX"): ["20 backup.example.test.", "10 MX2.example.test.", "10 mx1.example.test."],
    ("null.example.test.", "MX"): ["0 ."],
    ("odd.example.test.", "MX"): ["5 a\\032b.example.test.", "6 mail.example.test."],
    ("many.example.test.", "A"): [f"192.0.2.{number}" for number in range(200)],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["Mail.example.test.", "\\027[2J.example.test."],
    ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "PTR"): [
        "six.example.test."
    ],
    ("lame.example.test.", "A"): dns.rcode.SERVFAIL,
    ("lame.example.test.", "AAAA"): dns.rcode.SERVFAIL,
    ("no-aaaa.example.test.", "A"): ["192.0.2.7"],
    ("no-aaaa.example.test.", "AAAA"): dns.rcode.SERVFAIL,
    ("no-a.example.test.", "A"): dns.rcode.REFUSED,
    ("no-a.example.test.", "AAAA"): ["2001:db8::7"],
    ("silent.example.test.", "A"): None,
    ("silent.example.test.", "AAAA"): None,
    ("half.example.test.", "A"): [],
    ("half.example.test.", "AAAA"): None,
}


def answer_to(query):
    name, kind = query.question[0].name.to_text().lower(), query.question[0].rdtype.name
    response = dns.message.make_response(query)
    records = ZONE.get((name, kind), [])
    if records is None:
        return None
    if isinstance(records, dns.rcode.Rcode):
        response.set_rcode(records)
    elif records:
        response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", kind, *records))
    elif not any(known == name for known, _ in ZONE):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response


@contextmanager
def serving_dns():
    """A name server for the zone; gives its endpoint and the questions that it was asked."""
    asked = []

    def serve():
        while True:
            data, where = sock.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            asked.append(query.question[0].to_text())
            if (response := answer_to(query)) is not None:
                sock.sendto(response.to_wire(max_size=65535), where)

    with socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint(ip_address("127.0.0.1"), sock.getsockname()[1]), asked
        sock.sendto(b"", sock.getsockname())
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server():
    with serving_dns() as (endpoint, asked):
        yield endpoint, asked


@pytest.fixture
def ask(run, server):
    """Asks a new resolver."""

    def ask(method, *arguments, **options):
        async def main():
            settings = {"timeout": 0.2, "lifetime": 0.3, "hosts": {}} | options
            return await getattr(Resolver([server[0]], **settings), method)(*arguments)

        return run(main())

    return ask


def addresses(*texts):
    return tuple(ip_address(text) for text in texts)


class TestAddresses:
    def test_both_families_ipv4_first(self, ask):
        assert addresses("192.0.2.1", "192.0.2.2", "2001:db8::1") == ask("addresses", "mail.example.test")

    @pytest.mark.parametrize(
        ("name", "address"),
        [
            ("four.example.test", "192.0.2.4"),
            ("FOUR.example.test.", "192.0.2.4"),
            ("six.example.test", "2001:db8::6"),
            ("mapped.example.test", "192.0.2.9"),
            ("no-aaaa.example.test", "192.0.2.7"),
        ],
    )
    def test_one_family(self, ask, name, address):
        assert addresses(address) == ask("addresses", name)

    def test_no_more_than_anybody_honest_has(self, ask):
        assert 50 == len(ask("addresses", "many.example.test"))

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("nowhere.example.test", NameNotFoundError),
            ("example.test", NoRecordError),
            ("lame.example.test", ResolverFailedError),
            ("no-a.example.test", ResolverFailedError),
            ("silent.example.test", ResolveTimeoutError),
            ("half.example.test", ResolveTimeoutError),
            ("a..b", NameNotFoundError),
            ("x" * 64 + ".test", NameNotFoundError),
            ("x." * 200, NameNotFoundError),
            ("\\999", NameNotFoundError),
        ],
    )
    def test_why_there_are_none(self, ask, name, error):
        with pytest.raises(error, match=r".+: .+"):
            ask("addresses", name)

    def test_nobody_to_ask(self, run):
        async def main():
            with socket(AF_INET, SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                port = sock.getsockname()[1]
            nobody = Endpoint(ip_address("127.0.0.1"), port)
            await Resolver([nobody], timeout=0.1, lifetime=0.2, hosts={}).addresses("mail.example.test")

        with pytest.raises((ResolverFailedError, ResolveTimeoutError)):
            run(main())

    def test_a_machine_without_name_servers_still_knows_its_hosts(self, run, monkeypatch):
        def unconfigured(*, configure=True):
            if configure:
                raise dns.resolver.NoResolverConfiguration
            return real(configure=False)

        real = resolve.dns.asyncresolver.Resolver
        monkeypatch.setattr(resolve.dns.asyncresolver, "Resolver", unconfigured)

        async def main():
            resolver = Resolver(hosts={})
            with pytest.raises(ResolverFailedError):
                await resolver.addresses("mail.example.test")
            return await resolver.addresses("localhost")

        assert addresses("127.0.0.1", "::1") == run(main())


class TestHostTable:
    def test_it_comes_before_the_dns(self, ask):
        hosts = {"mail.example.test": addresses("192.0.2.77")}

        assert addresses("192.0.2.77") == ask("addresses", "MAIL.example.test.", hosts=hosts)

    def test_localhost_needs_nobody(self, ask, server):
        before = len(server[1])

        assert addresses("127.0.0.1", "::1") == ask("addresses", "localhost")
        assert addresses("127.0.0.1", "::1") == ask("addresses", "a.localhost")
        assert before == len(server[1])

    def test_it_is_read_as_it_is_written(self, tmp_path):
        path = tmp_path / "hosts"
        path.write_bytes(
            b"127.0.0.1 localhost loop # a comment\n\n# 192.0.2.1 no\n::1 LocalHost\nnonsense x\nfe80::1%lo zone\n"
            b"192.0.2.5\n\xff\xfe y\n"
        )

        assert {
            "localhost": addresses("127.0.0.1", "::1"),
            "loop": addresses("127.0.0.1"),
        } == read_host_table(path)

    def test_none_is_empty(self, tmp_path):
        assert {} == read_host_table(tmp_path / "hosts")


class TestPointer:
    @pytest.mark.parametrize(
        ("address", "names"),
        [
            ("192.0.2.1", ("mail.example.test",)),
            ("2001:db8::1", ("six.example.test",)),
            ("192.0.2.200", ()),
        ],
    )
    def test_names(self, ask, address, names):
        assert names == ask("pointer", ip_address(address))


class TestExchanges:
    @pytest.mark.parametrize(
        ("domain", "names"),
        [
            ("example.test", ("mx1.example.test", "mx2.example.test", "backup.example.test")),
            ("null.example.test", ()),
            ("Four.example.test.", ("four.example.test",)),
            ("odd.example.test", ("mail.example.test",)),
        ],
    )
    def test_in_the_order_to_try(self, ask, domain, names):
        assert names == ask("exchanges", domain)

    def test_a_domain_that_is_not_there(self, ask):
        with pytest.raises(NameNotFoundError):
            ask("exchanges", "nowhere.example.test")


def test_an_answer_is_cached(run, server):
    endpoint, asked = server

    async def main():
        resolver = Resolver([endpoint], hosts={})
        first = await resolver.addresses("alias.example.test")
        asked_once = len(asked)
        second = await resolver.addresses("alias.example.test")
        return first == second, asked_once == len(asked)

    assert (True, True) == run(main())


def test_no_more_are_asked_at_once_than_there_is_room_for(run):
    async def main():
        resolver = Resolver([Endpoint(ip_address("127.0.0.1"), 9)], concurrency=3, hosts={})
        running, most = 0, 0

        async def slow(*arguments, **options):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            raise dns.resolver.NXDOMAIN

        resolver._resolver.resolve = slow

        async def one(number):
            with suppress(NameNotFoundError):
                await resolver.exchanges(f"n{number}.test")

        await asyncio.gather(*(one(number) for number in range(20)))
        return most

    assert 3 == run(main())
