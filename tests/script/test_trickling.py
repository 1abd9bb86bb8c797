"""Whoever lets something come again and again, and never what is awaited, is given up soon."""

import pytest
from tests.http3_server import capsule
from tests.playbook import PROXY_BRIEF
from tests.scripted import Partner, play

from relaywatch.model.errors import ReadTimeoutError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.script import masque, ops, telnet, turn
from relaywatch.script.tunnels import CanaryKind, Destination
from relaywatch.wire.stun import MessageClass, Method, encode_message

CANARY = Endpoint(parse_address("203.0.113.25"), 40026)


class Trickling:
    """Something that is of no use comes just before each wait ends, and a wait of its own makes that time pass."""

    tries = 1

    def __init__(self, piece):
        self.piece, self.waited = piece, 0.0

    async def send(self, _data):
        pass

    async def send_datagram(self, _datagram):
        return True

    async def pass_time(self, within):
        await ops.Pause(within)
        self.waited += within

    async def read_more(self, *, within):
        await self.pass_time(within)
        return self.piece, []

    async def read(self, *, within):
        await self.pass_time(within)
        return self.piece

    async def read_some(self, *, within):
        await self.pass_time(within)
        return self.piece


class Patient(Partner):
    def pause(self, seconds):
        pass


def waited(read, piece):
    """How long it reads what is of no use, before it gives up."""
    source = Trickling(piece)

    async def script(_link, brief):
        await read(source, brief)

    _, error = play(script, PROXY_BRIEF, Patient())
    assert isinstance(error, ReadTimeoutError), repr(error)
    return source.waited


async def read_turn_data(source, brief):
    await turn.TurnClient(source, brief, brief.token("case")).read_data(CANARY, within=8)


async def ask_turn(source, brief):
    await turn.TurnClient(source, brief, brief.token("case")).request(Method.REFRESH)


OTHER_MESSAGE = encode_message(Method.DATA, MessageClass.REQUEST, bytes(12), ())


@pytest.mark.parametrize(
    ("read", "piece"),
    [
        (lambda source, _brief: masque.HTTPDatagrams(source).read_some(within=8), capsule(9, b"other")),
        (
            lambda source, _brief: masque.HTTPDatagrams(source).request_address(4, within=8),
            capsule(9, b"other"),
        ),
        (
            lambda source, _brief: masque._Packets(masque.HTTPDatagrams(source), CANARY, CANARY).read_some(
                within=8
            ),
            capsule(0, b"\0" + b"no packet"),
        ),
        (lambda source, _brief: telnet.TelnetStream(source).read_some(within=8), b"\xff\xf1"),
        (read_turn_data, OTHER_MESSAGE),
        (ask_turn, OTHER_MESSAGE),
    ],
)
def test_whoever_trickles_is_given_up_soon(read, piece):
    assert 8 <= waited(read, piece) <= 24


class Lines(Partner):
    """Shows a prompt, and then says a line whenever it is heard, which means nothing."""

    is_heard_out = False

    def __init__(self):
        self.said = [b"> "]

    def connect(self, op):
        pass

    def send(self, data, channel):
        self.said = [b"-\n"] * 2000

    def receive(self, channel):
        if not self.said:
            raise ReadTimeoutError("silence")
        return self.said.pop()


def test_lines_without_an_end_are_not_read_anew_each_time(monkeypatch):
    looks = []
    read_answer = telnet.read_answer
    monkeypatch.setattr(telnet, "read_answer", lambda *asked: looks.append(asked) or read_answer(*asked))
    home = Destination(address=CANARY.address, port=25, kind=CanaryKind.SMTP)

    async def script(link, brief):
        await link.connect()
        opening = await telnet.ask_by_line(link, brief, home, brief.token("case"), "203.0.113.25:25")
        assert "-\n" * 100 in opening.reply

    assert ([], None) == play(script, PROXY_BRIEF, Lines())
    assert 1 < len(looks) < 100
