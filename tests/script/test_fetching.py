"""Requests that carry the token themselves, against a server that is a function."""

from dataclasses import replace

import pytest
from tests.playbook import KEY, PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.places import Door, Endpoint, Family, Transport, parse_address
from relaywatch.script import fetching, http
from relaywatch.script.page import Page
from relaywatch.script.tunnels import Answer, CanaryKind, Destination

TOKEN = PROXY_BRIEF.token("address-443")
OURS = canary_answer(KEY, TOKEN, parse_address("192.0.2.7"))
BY_ADDRESS = Destination(address=parse_address("2001:db8:113::25"), port=443, kind=CanaryKind.WORDS)
BY_NAME = replace(BY_ADDRESS, name="canary.sink.example")


def page(status, body="", *fields):
    head = "".join(
        f"{field}\r\n" for field in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields)
    )
    return f"{head}\r\n{body}".encode()


def fetch(*answers, method="GET", control=None):
    """Fetch from a server that gives these answers, one a connection; the opening, and the server."""
    returned = []
    said = iter(answers)
    question = fetching.Question(token=TOKEN, command="GET", control=control)

    async def script(link, brief):
        await link.connect()
        exchange = fetching.request(brief, method, "http://203.0.113.25/", host="203.0.113.25")
        returned.append(await fetching.fetch(link, brief, exchange, question))

    server = OctetServer(lambda _op: lambda data: next(said) if data else b"")
    _, error = play(script, PROXY_BRIEF, server)
    if error is not None:
        raise error
    return returned[0], server


class TestYes:
    @pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "502 Bad Gateway", "407 No"])
    def test_our_canarys_answer_is_one_whatever_stands_before_it(self, status):
        opening, _ = fetch(page(status, f"<html>{OURS}</html>"))

        assert Answer.YES is opening.answer
        assert OURS in opening.heard

    def test_its_field(self):
        opening, _ = fetch(page("200 OK", "", f"X-Relaywatch-Answer: {OURS}"), method="HEAD")

        assert Answer.YES is opening.answer

    def test_in_a_page_without_a_length(self):
        assert Answer.YES is fetch(f"HTTP/1.0 200 OK\r\n\r\n{OURS}".encode())[0].answer

    @pytest.mark.parametrize(
        "said", [f"Content-Length: 9999\r\n\r\n{OURS}", f"Transfer-Encoding: chunked\r\n\r\n40\r\n{OURS}"]
    )
    def test_in_a_page_that_breaks_off(self, said):
        assert Answer.YES is fetch(f"HTTP/1.1 200 OK\r\n{said}".encode())[0].answer

    def test_of_another_token_it_is_none(self):
        other = canary_answer(KEY, PROXY_BRIEF.token("other"), parse_address("192.0.2.7"))

        assert Answer.PAGE is fetch(page("200 OK", other))[0].answer

    def test_too_far_down_it_is_none(self):
        assert Answer.PAGE is fetch(page("200 OK", " " * http.MAX_BODY + OURS))[0].answer


class TestNo:
    def test_a_page(self):
        opening, _ = fetch(page("200 OK", "Welcome"))

        assert (Answer.PAGE, "HTTP/1.1 200 OK", "GET") == (opening.answer, opening.reply, opening.command)

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "308 Moved"])
    def test_redirections_are_not_followed(self, status):
        opening, server = fetch(page(status, "", "Location: http://203.0.113.25/c/x"))

        assert Answer.NO is opening.answer
        assert 1 == len(server.writes)

    @pytest.mark.parametrize(
        "status", ["400 Bad", "403 No", "404 Not Found", "405 No", "421 Misdirected", "501 What"]
    )
    def test_refusals(self, status):
        opening, server = fetch(page(status))

        assert (Answer.NO, 1) == (opening.answer, len(server.writes))


class TestControls:
    """What a proxy says that tried may be what a web server says of a host that it doesn't know."""

    @pytest.mark.parametrize(
        ("status", "otherwise"),
        [
            ("500 Unable to connect", Answer.FAILED),
            ("502 Bad Gateway", Answer.FAILED),
            ("503 Unavailable", Answer.FAILED),
            ("504 Timeout", Answer.FAILED),
            ("401 No", Answer.CREDENTIALS),
        ],
    )
    def test_a_host_that_cant_exist(self, status, otherwise):
        nobody = PROXY_BRIEF.mint.random_local_part("nobody")
        same, server = fetch(page(status), page(status))
        other, _ = fetch(page(status), page("200 OK"))

        assert (Answer.NO, "as to the control") == (same.answer, same.detail)
        assert f"GET /c/{TOKEN} HTTP/1.1\r\nHost: {nobody}.invalid\r\n".encode() in server.writes[1]
        assert (otherwise, "") == (other.answer, other.detail)

    @pytest.mark.parametrize(
        ("control", "answer"), [(Page(401, "No"), Answer.NO), (Page(404), Answer.CREDENTIALS)]
    )
    def test_what_it_has_said_before(self, control, answer):
        opening, server = fetch(page("401 Oh", "No"), control=control)

        assert (answer, 1) == (opening.answer, len(server.writes))

    @pytest.mark.parametrize("answer", [None, b"", b"220 mail\r\n\r\n"])
    def test_no_answer_to_that(self, answer):
        assert Answer.FAILED is fetch(page("502 Bad Gateway"), answer)[0].answer

    @pytest.mark.parametrize(
        ("status", "answer"), [("407 No", Answer.CREDENTIALS), ("429 Slowly", Answer.TOO_MANY)]
    )
    def test_what_needs_no_comparison(self, status, answer):
        opening, server = fetch(page(status))

        assert (answer, 1) == (opening.answer, len(server.writes))


class TestErrors:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [(None, PeerClosedError), (b"", ReadTimeoutError), (b"220 mail\r\n\r\n", RemoteProtocolError)],
    )
    def test_no_answer(self, answer, error):
        with pytest.raises(error):
            fetch(answer)


class TestWords:
    def test_hosts_by_address_and_by_name(self):
        unzoned = replace(PROXY_BRIEF, canaries=replace(PROXY_BRIEF.canaries, zone=None))

        assert "[2001:db8:113::25]" == fetching.labelled(BY_ADDRESS, PROXY_BRIEF, TOKEN)
        assert "canary.sink.example" == fetching.labelled(BY_NAME, unzoned, TOKEN)
        assert f"{TOKEN}.c.sink.example" == fetching.labelled(BY_NAME, PROXY_BRIEF, TOKEN)

    def test_bodies(self):
        mail = replace(BY_ADDRESS, kind=CanaryKind.SMTP)

        assert f"relaywatch {TOKEN}\r\n".encode() == fetching.words(BY_ADDRESS, TOKEN)
        assert [b"", f"VRFY {TOKEN}".encode(), b"QUIT", b""] == fetching.words(mail, TOKEN).split(b"\r\n")

    def test_a_request(self):
        exchange = fetching.request(
            PROXY_BRIEF, "POST", "/c/", host="a.test", fields=[("X-Host", "b.test")], body=b"words"
        )

        assert [
            "POST /c/ HTTP/1.1", "Host: a.test", "X-Host: b.test", "User-Agent: relaywatch (lab@probe.test)",
            "Accept: */*", "Connection: close", "Content-Type: text/plain", "Content-Length: 5", "", "words",
        ] == exchange.request.decode().split("\r\n")  # fmt: skip

    @pytest.mark.parametrize(
        ("address", "port", "transport", "names", "authority"),
        [
            ("192.0.2.7", 80, Transport.PLAIN, (), "192.0.2.7"),
            ("192.0.2.7", 443, Transport.PLAIN, (), "192.0.2.7:443"),
            ("192.0.2.7", 443, Transport.TLS, (), "192.0.2.7"),
            ("2001:db8::7", 8080, Transport.PLAIN, (), "[2001:db8::7]:8080"),
            ("192.0.2.7", 80, Transport.TLS, ("www.example", "b.example"), "www.example:80"),
        ],
    )
    def test_the_targets_own_authority(self, address, port, transport, names, authority):
        """RFC 9110 section 4.2.1: the port is left out if it is the scheme's."""
        endpoint = Endpoint(parse_address(address), port)
        brief = replace(
            PROXY_BRIEF, endpoint=endpoint, door=Door(port, transport, Family.IPV4), target_names=names
        )

        assert authority == http.own_authority(brief)
