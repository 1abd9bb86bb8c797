"""A mail server behind an open proxy: the relay probe's own script, with both legs in one conversation."""

from dataclasses import replace

import pytest
from tests.notation import PROXY_BRIEF, RELAY
from tests.playbook import MismatchError, play_conversation, read_conversation
from tests.scripted import OctetServer, play

from relaywatch.model.errors import (
    ConnectRefusedError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
)
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.probes.http_connect import connect
from relaywatch.probes.smtp_relay import PROBE
from relaywatch.script.asking import CanaryKind, Destination
from relaywatch.script.chains import ChainedLink
from relaywatch.script.tunnels import Answer, Opening

LOOPBACK = parse_address("127.0.0.1")
BEHIND = Destination(address=LOOPBACK, port=25, kind=CanaryKind.SMTP)
MAIL_BRIEF = replace(
    RELAY.brief,
    endpoint=Endpoint(LOOPBACK, 25),
    door=Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1"),
)
TUNNEL = """\
* connect
C: CONNECT 127.0.0.1:25 HTTP/1.1
C: Host: 127.0.0.1:25
C: User-Agent: relaywatch (lab@probe.test)
C:
S: HTTP/1.1 200 Connection established
S:
S: 220 mail.example.test ESMTP Postfix (Debian/GNU)
C: EHLO probe.test
S: 250-mail.example.test
S: 250-PIPELINING
S: 250 8BITMIME
"""
RELAYS = f"""\
# The proxy leads to the mail server beside it, which trusts whoever comes from its own host.
{TUNNEL}\
C: MAIL FROM:<{{return:ours}}@sink.test>
C: RCPT TO:<{{token:plain}}@sink.test>
C: RCPT TO:<Postmaster>
S: 250 2.1.0 Ok
S: 250 2.1.5 Ok
S: 250 2.1.5 Ok
{TUNNEL}\
C: MAIL FROM:<{{return:ours}}@sink.test>
S: 250 2.1.0 Ok
C: RCPT TO:<{{token:plain}}@sink.test>
S: 250 2.1.5 Ok
C: DATA
S: 354 End data with <CR><LF>.<CR><LF>
C: X-Relaywatch-Token: {{token:plain}}
C: .
S: 250 2.0.0 Ok: queued as 4XyZ1
* arrival plain mail from 192.0.2.7
= offers
= software detail=postfix
= talks
= planned
= queued plain advisory=RW-1001 token={{token:plain}} reply~4XyZ1
"""


def chained(tunnel=connect, proxy=PROXY_BRIEF):
    async def script(_link, brief):
        await PROBE.script(ChainedLink(tunnel, proxy, BEHIND), brief)

    return script


def read(text):
    return read_conversation(text, "chain.txt", replace(RELAY, brief=MAIL_BRIEF))


class TestTheClassicOfTheTalk:
    def test_mail_through_an_open_proxy(self):
        play_conversation(read(RELAYS), chained())

    @pytest.mark.parametrize("size", [1, 2, 50])
    def test_in_whatever_pieces_the_words_come(self, size):
        play_conversation(read(RELAYS), chained(), chop=iter([size] * 9999))

    def test_within_tls(self):
        proxy = replace(PROXY_BRIEF, door=replace(PROXY_BRIEF.door, transport=Transport.TLS))
        text = RELAYS.replace("* connect\n", "* connect\n* tls\n")

        play_conversation(read(text), chained(proxy=proxy))

    def test_every_connection_asks_for_a_tunnel_anew(self):
        second = RELAYS.index("* connect", RELAYS.index("Postmaster"))
        without = RELAYS[:second] + RELAYS[second:].replace("C: CONNECT 127.0.0.1:25 HTTP/1.1\n", "")

        with pytest.raises(MismatchError, match="the script sends"):
            play_conversation(read(without), chained())


class TestTunnelsThatLeadNowhere:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", ConnectRefusedError),
            (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", ConnectRefusedError),
            (b"220 what", RemoteProtocolError),
            (b"", ReadTimeoutError),
            (None, PeerClosedError),
        ],
    )
    def test_they_end_the_script_as_if_it_had_no_connection(self, answer, error):
        server = OctetServer(lambda _op: lambda said: answer if said else b"")
        observations, failure = play(chained(), MAIL_BRIEF, server)

        assert [] == observations
        assert isinstance(failure, error)

    def test_who_refused_is_told(self):
        server = OctetServer(lambda _op: lambda said: b"HTTP/1.1 403 Forbidden\r\n\r\n" if said else b"")
        _, failure = play(chained(), MAIL_BRIEF, server)

        assert "the proxy doesn't lead to 127.0.0.1:25: HTTP/1.1 403 Forbidden" == str(failure)

    def test_a_tunnel_that_is_not_the_connection_itself_carries_no_operations_of_ours(self):
        async def elsewhere(link, _brief, _destination, _token):
            return Opening(answer=Answer.YES, stream=link.beside(1))

        server = OctetServer(lambda _op: lambda _said: b"")
        _, failure = play(chained(elsewhere), MAIL_BRIEF, server)

        assert isinstance(failure, ConnectRefusedError)

    def test_what_lay_unread_of_an_earlier_tunnel_is_gone(self):
        tunnels = [b"HTTP/1.1 200 OK\r\n\r\n220 old words\r\n", b"HTTP/1.1 403 No\r\n\r\n"]

        async def script(_link, _brief):
            link = ChainedLink(connect, PROXY_BRIEF, BEHIND)
            await link.connect()
            with pytest.raises(ConnectRefusedError):
                await link.connect()
            assert link.taken() == b""

        server = OctetServer(lambda _op: lambda said: tunnels.pop(0) if said else b"")

        assert ([], None) == play(script, MAIL_BRIEF, server)
