"""Signing in with the owner's credentials, against servers that are functions."""

from base64 import b64decode, b64encode
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.playbook import BRIEF
from tests.scripted import OctetServer, ScriptedServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import RemoteProtocolError
from relaywatch.model.places import Door, Family, Transport
from relaywatch.script.asking import CanaryKind
from relaywatch.script.signing_in import (
    Login,
    SigningIn,
    sign_in_by_http,
    sign_in_by_smtp,
    sign_in_by_socks5,
)
from relaywatch.script.tunnels import Destination

LOGIN = Login(user="alice", password="open sesame")
PLAIN = b64encode(b"\0alice\0open sesame").decode()
BASIC = b64encode(b"alice:open sesame").decode()
CANARY = Destination(address=ip_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
HOME = ip_address("192.0.2.7")


def signed(sign_in, server, *arguments, brief=BRIEF):
    returned = []

    async def script(link, own):
        returned.append(await sign_in(link, own, *arguments))

    _, error = play(script, brief, server)
    if error is not None:
        raise error
    return returned[0]


def test_a_password_is_in_nothing_that_is_shown():
    assert "sesame" not in repr(LOGIN)
    echo = f"no {PLAIN} {BASIC} {b64encode(b'open sesame').decode()} open sesame"
    assert LOGIN.masked(echo) == "no *** *** *** ***"


class TestSMTP:
    def server(self, offers="AUTH PLAIN LOGIN", **answers):
        known = {
            "": "220 mail",
            "EHLO": f"250-mail\n250 {offers}",
            f"AUTH PLAIN {PLAIN}": "235 2.7.0 Welcome",
            "MAIL": "250 Ok",
            "RCPT": "250 Ok",
            "RSET": "250 Ok",
            "QUIT": "221 Bye",
            "STARTTLS": "220 Go",
            **answers,
        }

        def respond(text):
            fitting = [begin for begin in known if begin and text.startswith(begin)] if text else [""]
            return known[max(fitting, key=len)] if fitting else "502 What?"

        return ScriptedServer(lambda: respond)

    def said(self, server):
        return [command for command, *_ in server.connections[0]]

    def test_a_user_gets_mail_to_elsewhere_taken(self):
        server = self.server()
        came = signed(sign_in_by_smtp, server, LOGIN)
        assert came.outcome is SigningIn.THROUGH
        assert any(write.startswith(b"RCPT TO:<") and b"@" in write for write in server.writes)
        assert not server.messages

    def test_tls_comes_first_where_it_is_offered(self):
        server = self.server(EHLO="250-mail\n250-STARTTLS\n250 AUTH PLAIN")
        brief = replace(BRIEF, door=Door(port=587, transport=Transport.STARTTLS, family=Family.IPV4))
        assert signed(sign_in_by_smtp, server, LOGIN, brief=brief).outcome is SigningIn.THROUGH
        writes = [write.split()[0] for write in server.writes]
        assert writes.index(b"STARTTLS") < writes.index(b"AUTH")

    @pytest.mark.parametrize(
        ("answers", "outcome"),
        [
            ({f"AUTH PLAIN {PLAIN}": "535 5.7.8 No"}, SigningIn.REFUSED),
            ({"RCPT": "550 5.7.1 No"}, SigningIn.REFUSED),
            ({"MAIL": "553 5.7.1 No"}, SigningIn.REFUSED),
            ({"MAIL FROM:<alice@": "250 Ok", "MAIL": "553 5.7.1 Not yours"}, SigningIn.THROUGH),
        ],
    )
    def test_what_is_refused(self, answers, outcome):
        assert signed(sign_in_by_smtp, self.server(**answers), LOGIN).outcome is outcome

    def test_a_user_with_a_domain_is_his_own_reverse_path(self):
        login = Login(user="alice@shop.example", password="open sesame")
        server = self.server(
            **{"AUTH": "235 Ok", "MAIL": "553 No", "MAIL FROM:<alice@shop.example>": "250 Ok"}
        )
        assert signed(sign_in_by_smtp, server, login).outcome is SigningIn.THROUGH

    def test_login_is_for_who_offers_nothing_better(self):
        words = {"AUTH LOGIN": "334 VXNlcg==", b64encode(b"alice").decode(): "334 UGFzcw=="}
        good = self.server("AUTH=LOGIN", **words, **{b64encode(b"open sesame").decode(): "235 Ok"})
        assert signed(sign_in_by_smtp, good, LOGIN).outcome is SigningIn.THROUGH
        bad = self.server("AUTH LOGIN", **{"AUTH LOGIN": "504 No"})
        assert signed(sign_in_by_smtp, bad, LOGIN).outcome is SigningIn.REFUSED
        assert not any(b"==" in write for write in bad.writes)

    def test_what_else_is_offered_is_left_alone(self):
        server = self.server("AUTH CRAM-MD5 GSSAPI")
        came = signed(sign_in_by_smtp, server, LOGIN)
        assert (came.outcome, came.said) == (SigningIn.REFUSED, "AUTH CRAM-MD5 GSSAPI")
        assert not any(write.startswith(b"AUTH") for write in server.writes)

    def test_without_a_login_it_is_only_seen(self):
        assert signed(sign_in_by_smtp, self.server(), None).outcome is SigningIn.OFFERED
        assert signed(sign_in_by_smtp, self.server("PIPELINING"), LOGIN).outcome is SigningIn.NOT_OFFERED
        closed = self.server(**{"": "554 Go away"})
        assert signed(sign_in_by_smtp, closed, LOGIN).outcome is SigningIn.NOT_OFFERED

    def test_what_it_echoes_is_masked(self):
        server = self.server(**{f"AUTH PLAIN {PLAIN}": f"500 What is {PLAIN}?"})
        assert signed(sign_in_by_smtp, server, LOGIN).said == "500 What is ***?"


def canary(words):
    token = words.split()[1].removeprefix(b"/c/").decode()
    return canary_answer(BRIEF.mint.key, token, HOME).encode()


class TestHTTP:
    def server(self, wanted=BASIC, refusal=b"HTTP/1.1 407 Sign in\r\n\r\n", through=canary):
        def opened(_):
            def answer(data):
                if not data:
                    return b""
                if data.startswith(b"CONNECT"):
                    is_known = wanted is None or f"Basic {wanted}\r\n".encode() in data
                    return b"HTTP/1.1 200 Ok\r\n\r\n" if is_known else refusal
                return through(data)

            return answer

        return OctetServer(opened)

    def test_a_user_is_led_to_our_canary(self):
        server = self.server()
        assert signed(sign_in_by_http, server, LOGIN, CANARY).outcome is SigningIn.THROUGH
        assert len([write for write in server.writes if write.startswith(b"CONNECT")]) == 1

    def test_a_wrong_password(self):
        assert signed(sign_in_by_http, self.server("other"), LOGIN, CANARY).outcome is SigningIn.REFUSED

    def test_a_yes_that_leads_nowhere(self):
        server = self.server(through=lambda _: b"nothing\n")
        assert signed(sign_in_by_http, server, LOGIN, CANARY).outcome is SigningIn.REFUSED

    def test_who_refuses_everybody_asks_nobody(self):
        server = self.server("other", b"HTTP/1.1 403 No\r\n\r\n")
        assert signed(sign_in_by_http, server, LOGIN, CANARY).outcome is SigningIn.NOT_OFFERED

    def test_without_a_login_it_is_only_seen(self):
        assert signed(sign_in_by_http, self.server(), None, CANARY).outcome is SigningIn.OFFERED
        assert signed(sign_in_by_http, self.server(None), None, CANARY).outcome is SigningIn.NOT_OFFERED


class TestSOCKS5:
    REQUEST = bytes.fromhex("05 01 00 01 cb 00 71 19 01 bb")
    YES = bytes.fromhex("05 00 00 01 c0 00 02 07 04 00")

    def server(self, method=2, status=b"\x01\x00", reply=YES, version=5):
        def opened(_):
            def answer(data):
                if not data:
                    return b""
                if data == b"\x05\x01\x02":
                    return bytes((version, method))
                if data == b"\x01\x05alice\x0bopen sesame":
                    return status
                return reply if data == self.REQUEST else canary(data)

            return answer

        return OctetServer(opened)

    @pytest.mark.parametrize(
        ("options", "outcome"),
        [
            ({}, SigningIn.THROUGH),
            ({"status": b"\x01\x01"}, SigningIn.REFUSED),
            ({"status": None}, SigningIn.REFUSED),
            ({"reply": b"\x05\x02"}, SigningIn.REFUSED),
            ({"method": 255}, SigningIn.NOT_OFFERED),
        ],
    )
    def test_what_comes_of_it(self, options, outcome):
        assert signed(sign_in_by_socks5, self.server(**options), LOGIN, CANARY).outcome is outcome

    def test_without_a_login_it_is_only_seen(self):
        server = self.server()
        assert signed(sign_in_by_socks5, server, None, CANARY).outcome is SigningIn.OFFERED
        assert server.writes == [b"\x05\x01\x02"]

    def test_what_is_no_socks5(self):
        with pytest.raises(RemoteProtocolError):
            signed(sign_in_by_socks5, self.server(version=72), LOGIN, CANARY)


def test_what_is_sent_is_what_the_standards_say():
    assert b64decode(PLAIN) == b"\0alice\0open sesame"  # RFC 4616 section 2
