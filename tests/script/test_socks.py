"""SOCKS dialogues: what the conversations of the probes don't show."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.playbook import KEY, PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import ConnectRefusedError, NotPermittedError, RemoteProtocolError
from relaywatch.model.places import Endpoint
from relaywatch.script import socks4, socks5
from relaywatch.script.chains import ChainedLink
from relaywatch.script.tunnels import Answer, CanaryKind, Destination, ask_canary
from relaywatch.wire.socks5 import BoundAddress, Command, ReplyField

TARGET = PROXY_BRIEF.endpoint.address
CANARY = Destination(address=ip_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
NAMED = replace(CANARY, name="canary.sink.example")
TOKEN = PROXY_BRIEF.token("case")


def talk(dialogue, answer=lambda _data: b"", brief=PROXY_BRIEF, refuse=()):
    """Hold the dialogue with a server that answers each write by the function; gives also where it connected to."""
    returned, connects = [], []

    async def script(link, brief):
        await link.connect()
        returned.append(await dialogue(link, brief))

    def open_channel(op):
        connects.append((op.at, op.source))
        if op.at in refuse:
            raise NotPermittedError("not permitted")
        return answer

    _, error = play(script, brief, OctetServer(open_channel))
    if error is not None:
        raise error
    return returned[0], connects[1:]


def saying(*pieces):
    said = iter(pieces)
    return lambda data: next(said, b"") if data else b""


class TestSocks4:
    def test_an_ipv6_destination_is_not_asked_for(self):
        destination = replace(CANARY, address=ip_address("2001:db8:113::25"))
        writes = []

        opening, _ = talk(lambda link, brief: socks4.connect(link, brief, destination, TOKEN), writes.append)

        assert (opening.answer, opening.detail) == (Answer.NO, "SOCKS4 has no IPv6 addresses")
        assert not any(writes)

    def test_ipv4_alone(self):
        brief = socks4.with_ipv4_alone(PROXY_BRIEF)

        assert brief.canaries.addresses == (ip_address("203.0.113.25"),)
        assert brief.canaries.ports == PROXY_BRIEF.canaries.ports


class TestNames:
    """Where our sink answers for a zone, a look-up shows whose it is; other names are nobody's to change."""

    @pytest.mark.parametrize("name", ["canary.sink.example", "c.sink.example"])
    def test_of_our_canary_the_tokens_own(self, name):
        assert f"{TOKEN}.c.sink.example" == socks5.noted_host(PROXY_BRIEF, replace(CANARY, name=name), TOKEN)

    def test_without_a_zone(self):
        brief = replace(PROXY_BRIEF, canaries=replace(PROXY_BRIEF.canaries, zone=None))

        assert socks5.noted_host(brief, NAMED, TOKEN) == "canary.sink.example"

    def test_of_a_chain_as_it_is(self):
        assert socks5.noted_host(PROXY_BRIEF, replace(CANARY, name="localhost"), TOKEN) == "localhost"

    def test_no_name(self):
        assert CANARY.address == socks5.noted_host(PROXY_BRIEF, CANARY, TOKEN)


class TestReplies:
    @pytest.mark.parametrize("field", [*ReplyField, 9, 0xF0, 0xFF])
    def test_reply_fields(self, field):
        failed = {ReplyField.GENERAL_FAILURE, 3, 4, 5, 6}
        expected = Answer.YES if field == 0 else Answer.FAILED if field in failed else Answer.NO
        reply = bytes((5, field, 0, 1)) + bytes(6)

        (read, _) = talk(
            lambda link, brief: socks5.request(link, brief, Command.CONNECT, CANARY.address, 443),
            saying(b"\x05\x00", reply),
        )

        assert expected is read.answer
        assert (read.bound is not None) is (field == 0)

    @pytest.mark.parametrize("reply", [b"\x04\x00", b"\x00\x5a", b"HT"])
    def test_what_is_none(self, reply):
        with pytest.raises(RemoteProtocolError, match="no SOCKS5 reply"):
            talk(
                lambda link, brief: socks5.request(link, brief, Command.CONNECT, CANARY.address, 443),
                saying(b"\x05\x00", reply),
            )

    def test_octets_behind_the_reply_are_the_tunnels(self):
        async def ask(link, brief):
            opening = await socks5.connect(link, brief, CANARY, TOKEN)
            return await opening.stream.read_some(within=1)

        heard, _ = talk(ask, saying(b"\x05\x00", b"\x05\x00\x00\x03\x01x\x00\x50220 ready\r\n"))

        assert heard == b"220 ready\r\n"


class TestDialling:
    """Where a server says that it is, is dialled only if it can be the target itself."""

    OWN = Endpoint(TARGET, 5000)

    def dial(self, host, *, brief=PROXY_BRIEF, refuse=(), port=5000):
        return talk(
            lambda link, brief: socks5.dial(link.beside(1), BoundAddress(host, port), brief),
            brief=brief,
            refuse=refuse,
        )

    @pytest.mark.parametrize("host", [TARGET, ip_address("0.0.0.0"), ip_address("::"), "proxy.example", ip_address("127.0.0.1"), ip_address("::1")])  # fmt: skip
    def test_the_targets_own_address(self, host):
        assert (self.OWN, [(self.OWN, None)]) == self.dial(host)

    def test_another_that_a_permission_covers(self):
        other = Endpoint(ip_address("198.51.100.77"), 5000)

        assert (other, [(other, None)]) == self.dial(other.address)

    def test_another_that_none_covers(self):
        other = Endpoint(ip_address("198.51.100.77"), 5000)

        assert (self.OWN, [(other, None), (self.OWN, None)]) == self.dial(other.address, refuse={other})

    def test_loopback_of_a_loopback_target(self):
        own = Endpoint(ip_address("127.0.0.5"), 1080)
        named = Endpoint(ip_address("127.0.0.1"), 5000)

        assert (named, [(named, None)]) == self.dial(named.address, brief=replace(PROXY_BRIEF, endpoint=own))

    def test_no_port(self):
        with pytest.raises(ConnectRefusedError, match="names no port"):
            self.dial(TARGET, port=0)


@pytest.mark.parametrize(
    ("tunnel", "replies"),
    [
        (socks4.connect, [b"\x00\x5a" + bytes(6)]),
        (socks5.connect, [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6)]),
    ],
)
def test_a_chain_leads_through(tunnel, replies):
    """What a probe opens for our canary, a chain opens for a mail server behind it."""
    destination = Destination(address=ip_address("127.0.0.1"), port=25, kind=CanaryKind.SMTP)
    lines, answers = [], iter(replies)

    async def script(_link, brief):
        chained = ChainedLink(tunnel, brief, destination)
        await chained.connect()
        lines.append(await chained.read_line(limit=100, within=1))

    def answer(data):
        reply = next(answers) if data else b""
        return reply if len(reply) < 8 else reply + b"220 mail.example\r\n"

    server = OctetServer(lambda _op: answer)
    _, error = play(script, PROXY_BRIEF, server)

    assert error is None
    assert [b"220 mail.example"] == lines
    assert b"\x7f\x00\x00\x01" in server.writes[-1]


def test_a_canarys_answer_to_another_token_is_no_proof():
    """The words that a survey looks for are this case's alone, whatever protocol carried them."""
    other = canary_answer(KEY, PROXY_BRIEF.token("another"), TARGET).encode()

    async def ask(link, brief):
        opening = await socks5.connect(link, brief, CANARY, TOKEN)
        return await ask_canary(opening.stream, brief, CANARY, TOKEN)

    answered, _ = talk(ask, saying(b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6), other))

    assert (None, other) == answered
