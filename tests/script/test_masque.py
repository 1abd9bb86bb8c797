"""MASQUE over HTTP/3 against a server of aioquic's, both without I/O; over HTTP/1.1 see the transcripts."""

import re
from dataclasses import replace
from types import MappingProxyType

import pytest
from aioquic.h3.connection import Setting
from tests.http3_server import MASQUE, App, QuicServer, capsule
from tests.playbook import KEY
from tests.script.test_http3 import BRIEF, EXIT, facts

from relaywatch.model.canary import canary_answer
from relaywatch.model.evidence import Fact
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.probes import connect_ip, connect_udp
from relaywatch.wire.ip import UDPPacket, encode_packet, read_packet

CAPSULES_ALONE = MappingProxyType({Setting.ENABLE_CONNECT_PROTOCOL: 1})
CANARY = Endpoint(parse_address("203.0.113.25"), 40026)
GIVEN = parse_address("192.0.2.200")


def answer_to(words):
    token = re.search(rb"[a-z2-7]{32}", words)[0].decode()
    return canary_answer(KEY, token, EXIT).encode()


class UDPProxy(App):
    """Carries datagrams to our canary, which answers at once; says how they came."""

    def __init__(self, settings=MASQUE, *, takes_datagrams=True):
        self.settings, self.takes_datagrams = settings, takes_datagrams
        self.requests, self.came_by, self.buffer = [], [], b""

    def request(self, session, stream, fields):
        self.requests.append(fields)
        session.answer(stream, 200, ("capsule-protocol", "?1"))

    def datagram(self, session, stream, data):
        self.came_by.append("datagram")
        if self.takes_datagrams:
            session.send_datagram(stream, data[:1] + self.answer(data[1:]))

    def octets(self, session, stream, data):
        self.came_by.append("capsule")
        self.buffer += data
        if b"relaywatch" in self.buffer:
            assert self.buffer.startswith(b"\x00\x2c\x00relaywatch ")
            session.send(stream, capsule(0, b"\0" + self.answer(self.buffer)))

    def answer(self, data):
        return answer_to(data)


class IPProxy(UDPProxy):
    """Gives one address, and carries UDP packets."""

    def octets(self, session, stream, data):
        assert bytes.fromhex("0207010400000000 20") == data
        session.send(stream, capsule(1, b"\x01\x04" + GIVEN.packed + b"\x20"))

    def answer(self, data):
        packet = read_packet(data)
        assert (GIVEN, CANARY) == (packet.source.address, packet.destination)
        return encode_packet(UDPPacket(packet.destination, packet.source, answer_to(packet.data)))


def test_udp_in_quic_datagrams():
    app = UDPProxy()

    seen, observations = facts(QuicServer(app), script=connect_udp.script)

    assert [(Fact.PLANNED, ""), (Fact.TALKS, ""), (Fact.CANARY_REACHED, "address-40026")] == seen
    assert "RW-2018" == observations[-1].advisory
    expected = {
        ":method": "CONNECT",
        ":protocol": "connect-udp",
        ":scheme": "https",
        ":authority": "192.0.2.7",
        ":path": "/.well-known/masque/udp/203.0.113.25/40026/",
        "capsule-protocol": "?1",
        "user-agent": "relaywatch (lab@probe.test)",
    }
    assert [expected] == app.requests
    assert ["datagram"] == app.came_by


def test_udp_in_capsules_where_the_server_takes_no_datagrams():
    app = UDPProxy(CAPSULES_ALONE)

    seen, _ = facts(QuicServer(app), script=connect_udp.script)

    assert (Fact.CANARY_REACHED, "address-40026") == seen[-1]
    assert ["capsule"] == app.came_by


def test_udp_in_a_capsule_where_datagrams_lead_nowhere():
    app = UDPProxy(takes_datagrams=False)

    seen, _ = facts(QuicServer(app), script=connect_udp.script)

    assert (Fact.CANARY_REACHED, "address-40026") == seen[-1]
    assert ["datagram", "datagram", "capsule"] == app.came_by


@pytest.mark.parametrize("probe", [connect_udp, connect_ip])
def test_a_server_without_extended_connect_is_no_masque_proxy(probe):
    """RFC 8441 section 3: a client must not say ``:protocol`` to whoever doesn't take it."""
    app = UDPProxy({})
    server = QuicServer(app)

    seen, _ = facts(server, script=probe.script)

    assert [(Fact.PLANNED, ""), (Fact.NOT_THIS_PROTOCOL, "")] == seen
    assert [] == app.requests
    assert 1 == len(server.sessions)


def test_a_server_that_refuses():
    seen, _ = facts(QuicServer(App()), script=connect_udp.script)

    assert (Fact.REFUSED, "address-40026") == seen[-1]


def test_a_yes_and_nothing_more_is_no_proof_and_no_deceit():
    class Mute(UDPProxy):
        def datagram(self, session, stream, data):
            pass

        octets = datagram

    seen, _ = facts(QuicServer(Mute()), script=connect_udp.script)

    assert (Fact.ACCEPTED, "address-40026") == seen[-1]


def test_a_stream_that_ends():
    class Ending(UDPProxy):
        def datagram(self, session, stream, data):
            if self.came_by:
                return
            self.came_by.append("datagram")
            session.send(stream, b"", end=True)

    seen, _ = facts(QuicServer(Ending()), script=connect_udp.script)

    assert (Fact.ACCEPTED, "address-40026") == seen[-1]


def test_ip_packets():
    app = IPProxy()

    seen, observations = facts(QuicServer(app), script=connect_ip.script)

    assert (Fact.CANARY_REACHED, "flow-40026") == seen[-1]
    assert "RW-2019" == observations[-1].advisory
    assert ["/.well-known/masque/ip/203.0.113.25/17/"] == [fields[":path"] for fields in app.requests]


def test_ip_packets_to_anywhere():
    class NoFlows(IPProxy):
        def request(self, session, stream, fields):
            if fields[":path"].endswith("/17/"):
                session.answer(stream, 400)
            else:
                super().request(session, stream, fields)

    app = NoFlows()
    brief = replace(BRIEF, door=replace(BRIEF.door, port=8443), target_names=("proxy.example.test",))

    seen, _ = facts(QuicServer(app), brief, script=connect_ip.script)

    assert [(Fact.REFUSED, "flow-40026"), (Fact.CANARY_REACHED, "tunnel-40026")] == seen[-2:]
    assert "/.well-known/masque/ip/%2A/%2A/" == app.requests[0][":path"]
    assert "proxy.example.test:8443" == app.requests[0][":authority"]
