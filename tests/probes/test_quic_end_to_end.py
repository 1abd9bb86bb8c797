"""QUIC probes by the real engine, through a real proxy, to the real sink's canaries; all on loopback."""

import asyncio
import logging
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.engine.conftest import Run
from tests.http3_proxy import GIVEN, ProxyConnection, http3_proxy
from tests.sink.loopback import IPV4, IPV6, KEY, make_sink

from relaywatch.engine.driver import Engine, Limits
from relaywatch.model.evidence import ArrivalKind, AttemptStatus, Fact
from relaywatch.model.places import Door, Endpoint, Transport
from relaywatch.model.tokens import Mint
from relaywatch.probes import connect_ip, connect_udp, http3_connect
from relaywatch.script.brief import Brief, Patience, SinkNames

PROBES = [http3_connect.PROBE, connect_udp.PROBE, connect_ip.PROBE]
LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture(autouse=True)
def quiet_server():
    """The server's own log is no concern of ours."""
    logging.getLogger("quic").setLevel(logging.CRITICAL)


def brief_for(sink, door, **patience):
    return Brief(
        endpoint=door,
        door=Door(door.port, Transport.QUIC, door.family),
        mint=Mint(KEY, b"seed"),
        sink=SinkNames(domain="sink.test"),
        canaries=sink.canary_places(LOOPBACK),
        patience=Patience(**({"canary": 2.0, "datagram": 0.5} | patience)),
    )


def check(probe, connection=ProxyConnection, *, arrivals=None, change=None, **options):
    """Run the probe against a proxy with such connections, with a sink of our own behind it."""

    async def scene():
        sink = make_sink(arrivals, canary_listen=(IPV4,), canary_udp=(IPV4,))
        async with sink, http3_proxy(connection, **options) as door:
            brief = brief_for(sink, door)
            running = Engine(Limits()).attempt(probe, change(brief) if change else brief, Run())
            return await running

    return asyncio.run(scene())


def facts(attempt):
    assert AttemptStatus.COMPLETED is attempt.status, attempt.error
    return [seen.fact for seen in attempt.observations]


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_an_open_proxy_reaches_our_canary(probe, retry):
    arrivals = []

    attempt = check(probe, arrivals=arrivals, retry=retry)

    ports = 2 if probe is http3_connect.PROBE else 1  # our mail port is one of them
    assert [Fact.PLANNED, Fact.TALKS, *[Fact.CANARY_REACHED] * ports] == facts(attempt)
    reached = attempt.observations[2:]
    assert {"127.0.0.1"} == {seen.exit_address for seen in reached}
    kind = ArrivalKind.TCP if probe is http3_connect.PROBE else ArrivalKind.UDP
    assert {(seen.token, kind) for seen in reached} == {(arrival.token, arrival.kind) for arrival in arrivals}


def test_an_open_proxy_of_ipv6():
    attempt = check(http3_connect.PROBE, host="::1")

    assert Fact.CANARY_REACHED is facts(attempt)[-1]


class Refusing(ProxyConnection):
    """Refuses everything."""

    async def request(self, stream, fields):
        self.answer(stream, 403)


class Mute(ProxyConnection):
    """Takes everything and leads nowhere."""

    async def request(self, stream, fields):
        self.answer(stream, 200)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_closed_proxy(probe):
    attempt = check(probe, Refusing)

    assert {Fact.PLANNED, Fact.TALKS, Fact.REFUSED} == set(facts(attempt))


def test_a_proxy_that_leads_nowhere_proves_nothing():
    attempt = check(connect_udp.PROBE, Mute)

    assert [Fact.PLANNED, Fact.TALKS, Fact.ACCEPTED] == facts(attempt)


def test_an_address_that_leads_nowhere_proves_nothing():
    attempt = check(connect_ip.PROBE, Mute)

    assert [Fact.PLANNED, Fact.TALKS, Fact.FAILED, Fact.FAILED] == facts(attempt)
    assert str(GIVEN) not in {seen.exit_address for seen in attempt.observations}


def at_port(probe, *, listens):
    """The attempt at a port of UDP at which somebody listens and says nothing, or nobody does."""

    async def scene():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        door = Endpoint(LOOPBACK, transport.get_extra_info("sockname")[1])
        if not listens:
            transport.close()
            await asyncio.sleep(0)
        async with make_sink(canary_listen=(IPV4,), canary_udp=(IPV4, IPV6)) as sink:
            running = Engine(Limits()).attempt(probe, brief_for(sink, door, canary=1.0), Run())
            try:
                return await running
            finally:
                transport.close()

    return asyncio.run(scene())


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_nobody_listens(probe):
    assert AttemptStatus.NO_LISTENER is at_port(probe, listens=False).status


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_silence_is_no_answer(probe):
    attempt = at_port(probe, listens=True)

    assert AttemptStatus.NO_ANSWER is attempt.status
    assert [Fact.PLANNED] == [seen.fact for seen in attempt.observations]


def test_a_name_is_asked_for():
    def named(brief):
        return replace(brief, canaries=replace(brief.canaries, name="localhost"))

    attempt = check(http3_connect.PROBE, Refusing, change=named)

    destinations = {seen.destination for seen in attempt.observations}
    assert any(destination.startswith("localhost:") for destination in destinations)
