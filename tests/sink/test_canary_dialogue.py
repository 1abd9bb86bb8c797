import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import ANOTHER_KEY, KEY, token

from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.tokens import verify_token
from relaywatch.sink.canary_dialogue import HEARD, BeginTLS, CanaryDialogue, HangUp, Heard
from relaywatch.sink.canary_http import Continue, Page

T = token().encode()
STRANGE = token(key=ANOTHER_KEY).encode()
WORDS = b"relaywatch " + T + b"\r\n"
NEGOTIATION = b"\xff\xfd\x18\xff\xfb\x1f\xff\xfa\x18\x00xterm\r\n\xff\xf0\xff\xf1"
"""A telnet gateway introduces itself: DO, WILL, a subnegotiation, a NOP (RFC 854)."""


def find(text):
    return verify_token(KEY, text)


def play(*pieces, **options):
    """Feed the pieces one by one; gives the first step that ends the hearing, and those before it."""
    dialogue = CanaryDialogue(find, "Run by the tests.", **options)
    steps = []
    for piece in pieces:
        dialogue.feed(piece)
        step = dialogue.step()
        if step is not None:
            steps.append(step)
            if not isinstance(step, Continue):
                break
    return steps


def heard(*pieces):
    (step,) = play(*pieces)
    assert isinstance(step, Heard), step
    assert token() == step.token
    return step


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        WORDS,
        WORDS.upper(),
        b"relaywatch " + T,
        b"\r\n\r\n\0\0 \t" + WORDS,
        NEGOTIATION + WORDS,
        b"\xff\xff" + WORDS,
        b"\xff\xfa" + WORDS,  # a subnegotiation that never ends
        b"EHLO somebody\r\n" + WORDS,
        b"relaywatch " + STRANGE + b"\r\n" + WORDS,
        b"relaywatch \xff\xf1" + T + b"\r\n",
        b"CONNECT sink.test:23\r\n\r\n" + WORDS,
    ],
)
def test_words_are_found_behind_whatever_a_gateway_puts_before_them(said):
    step = heard(said)

    assert ArrivalKind.TCP == step.kind
    assert () == step.fields
    assert b"relaywatch mac 192.0.2.1\r\nRun by the tests.\r\n" == step.reply("relaywatch mac 192.0.2.1")


@pytest.mark.parametrize(
    "said",
    [
        b"relaywatch " + STRANGE + b"\r\n",
        T + b"\r\n",
        b"relaywatch \r\n",
        b"relaywatch " + T[:-1] + b"\r\n",
        b"relaywatch " + T + b"a\r\n",
    ],
)
def test_whatever_is_no_token_of_ours_gets_no_answer(said):
    assert [] == play(said)


def test_whoever_talks_on_without_a_token_is_hung_up_on():
    assert [HangUp()] == play(b"x" * (HEARD + 1), WORDS)
    assert [] == play(b"x" * HEARD)


def test_no_more_than_ten_strange_tokens_are_verified():
    verified = []
    dialogue = CanaryDialogue(verified.append, "")
    dialogue.feed((b"relaywatch " + STRANGE + b"\r\n") * 50)

    assert dialogue.step() is None
    assert 10 == len(verified)


@given(
    noise=st.lists(st.sampled_from([b"\r\n", b"\0", b" ", NEGOTIATION, b"\xff\xfb\x01", b"hello\r\n"])),
    upper=st.booleans(),
    data=st.data(),
)
def test_however_the_words_are_cut_they_are_found_once_they_are_whole(noise, upper, data):
    words = b"relaywatch " + (T.upper() if upper else T)
    said = b"".join(noise) + words + b"\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(said) - 1), max_size=8)))
    whole = len(said) - 2

    dialogue = CanaryDialogue(find, "")
    for begin, end in pairwise([0, *cuts, len(said)]):
        dialogue.feed(said[begin:end])
        step = dialogue.step()
        if end < whole:
            assert step is None
        elif isinstance(step, Heard):
            assert token() == step.token
            return
    raise AssertionError("not found")


@given(st.lists(st.binary(max_size=600), max_size=12))
def test_no_octets_bring_it_down_or_get_an_answer(pieces):
    dialogue = CanaryDialogue(find, "")
    for piece in pieces:
        dialogue.feed(piece)
        step = dialogue.step()
        assert not isinstance(step, Heard)
        if isinstance(step, HangUp | Page | BeginTLS):
            return


# --- what may come before ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "said_of_it"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + b"\xc0\x00\x02\x01" * 3, "version 2"),
    ],
)
@pytest.mark.parametrize("cut", [0, 5, 13, 20])
def test_a_proxy_header_is_noted_and_passed_over(header, said_of_it, cut):
    said = header + WORDS

    assert ((":proxy", said_of_it),) == heard(*(piece for piece in (said[:cut], said[cut:]) if piece)).fields


def test_a_proxy_header_that_promises_too_much_is_hung_up_on():
    assert [HangUp()] == play(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"x" * HEARD)


def test_tls_is_begun_with_all_that_has_come():
    hello = b"\x16\x03\x01\x00\x05hello"

    assert [BeginTLS(hello)] == play(hello)
    assert [BeginTLS(hello)] == play(b"PROXY UNKNOWN\r\n" + hello)
    assert [BeginTLS(b"\x16")] == play(b"\x16")
    assert [] == play(hello, may_begin_tls=False)


# --- HTTP --------------------------------------------------------------------------------------


def request(line, *fields, body=b"", host="sink.test"):
    given = ([f"Host: {host}"] if host else []) + list(fields)
    if body:
        given.append(f"Content-Length: {len(body)}")
    return "\r\n".join([line, *given, "", ""]).encode() + body


@pytest.mark.parametrize(
    "said",
    [
        request(f"GET /c/{token()} HTTP/1.1"),
        request(f"GET /c/{token().upper()} HTTP/1.1"),
        request(f"GET /c/{token()}?a=b HTTP/1.0", host=None),
        request(f"GET http://192.0.2.1:80/c/{token()} HTTP/1.1"),
        request(f"GET https://[2001:db8::1]/c/{token()} HTTP/1.1"),
        request(f"GET /before/c/{token()}/after HTTP/1.1"),
        request(f"POST /c/{token()} HTTP/1.1", body=b"x=y"),
        request("POST / HTTP/1.1", body=b"say=" + WORDS),
        request("PUT / HTTP/1.1", body=WORDS),
        request("POST / HTTP/1.1", body=b"say=relaywatch+" + T),
        request("POST / HTTP/1.1", body=b"say=relaywatch%20" + T),
        request(f"POST /?say=relaywatch%20{token()} HTTP/1.1"),
        request("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"2d\r\n" + WORDS + b"\r\n0\r\n\r\n",
        b"\r\n" + request(f"GET /c/{token()} HTTP/1.1"),
    ],
)
def test_a_request_carries_the_token_in_path_or_body(said):
    step = heard(said)

    assert ArrivalKind.HTTP == step.kind
    reply = step.reply("relaywatch mac 192.0.2.1").decode()
    head, body = reply.split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "\r\nX-Relaywatch-Answer: relaywatch mac 192.0.2.1\r\n" in head
    assert "\r\nCache-Control: no-store\r\n" in head
    assert "\r\nContent-Type: text/plain" in head
    assert f"\r\nContent-Length: {len(body)}\r\n" in head
    assert "relaywatch mac 192.0.2.1\r\n" == body


def test_head_is_answered_by_fields_alone():
    reply = heard(request(f"HEAD /c/{token()} HTTP/1.1")).reply("relaywatch mac 192.0.2.1")

    assert reply.endswith(b"\r\n\r\n")
    assert b"X-Relaywatch-Answer: relaywatch mac 192.0.2.1\r\n" in reply
    assert b"Content-Length: 26\r\n" in reply


def test_the_oldest_http_is_answered_in_its_way():
    step = heard(b"GET http://192.0.2.1/c/" + T + b"\r\n")

    assert ArrivalKind.HTTP == step.kind
    assert step.reply("relaywatch mac 192.0.2.1").startswith(b"relaywatch mac 192.0.2.1\r\n")


def test_fields_that_proxies_leave_are_noted():
    step = heard(
        request(f"GET /c/{token()} HTTP/1.1", "Via: 1.1 squid", "X-Forwarded-For: 203.0.113.9", "X: \xe9")
    )

    assert (
        (":method", "GET"),
        (":path", f"/c/{token()}"),
        ("Host", "sink.test"),
        ("Via", "1.1 squid"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X", "\xe9"),
    ) == step.fields


def test_fields_are_bounded():
    many = heard(request(f"GET /c/{token()} HTTP/1.1", *(f"X-{number}: y" for number in range(200)))).fields
    long = heard(request(f"GET /c/{token()} HTTP/1.1", f"X: {'y' * 5000}")).fields

    assert len(many) <= 60
    assert max(len(value) for _, value in long) <= 1000


@pytest.mark.parametrize(
    "said",
    [
        request(f"GET /c/{token()} HTTP/1.1", host=None),  # no Host
        request(f"GET /c/{token()} HTTP/1.1", "Host: another"),
        request(f"GET /c/{token()} HTTP/1.1", "no field at all"),
        request(f"GET /c/{token()} HTTP/1.1", f"X: {'y' * 20_000}").rstrip(),
        request(f"POST /c/{token()} HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n",
        request(f"GET /c/{token()} HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        request(f"GET /c/{token()} HTTP/1.1", "Content-Length: -1"),
        request(f"POST /c/{token()} HTTP/1.1", "Content-Length: 100000") + b"x" * 5000,
    ],
)
def test_what_a_proxy_garbles_has_come_all_the_same(said):
    assert ArrivalKind.HTTP == heard(said).kind


@pytest.mark.parametrize(
    ("said", "page"),
    [
        (request("GET / HTTP/1.1"), Page(200, is_root=True)),
        (request("HEAD / HTTP/1.1"), Page(200, is_root=True, is_head=True)),
        (request("GET http://sink.test HTTP/1.1"), Page(200, is_root=True)),
        (request("GET /robots.txt HTTP/1.1"), Page(404)),
        (request("HEAD /robots.txt HTTP/1.1"), Page(404, is_head=True)),
        (request(f"GET /c/{STRANGE.decode()} HTTP/1.1"), Page(404)),
        (request(f"GET /{token()} HTTP/1.1"), Page(404)),
        (request(f"CONNECT /c/{token()} HTTP/1.1"), Page(405)),
        (request("CONNECT sink.test:25 HTTP/1.1"), Page(405)),
        (request(f"TRACE /c/{token()} HTTP/1.1"), Page(405)),
        (request("OPTIONS * HTTP/1.1"), Page(405)),
        (request("M-SEARCH * HTTP/1.1"), Page(501)),
        (request(f"get /c/{token()} HTTP/1.1"), Page(501)),  # methods are case-sensitive
        (request("GET /x HTTP/1.1", body=WORDS), Page(404)),  # only POST and PUT carry words
        (request("GET / HTTP/1.1", host=None), Page(400)),
        (request("GET / HTTP/1.1", f"X: {'y' * 20_000}").rstrip(), Page(431)),  # it goes on and on
        (request("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n", Page(400)),
        (request("POST /x HTTP/1.1", "Transfer-Encoding: gzip") + b"zz\r\n", Page(501)),
    ],
)
def test_any_other_request_gets_a_page(said, page):
    assert [page] == play(said)


def test_words_beyond_the_first_4096_octets_of_a_body_do_not_count():
    before = b"x" * 4096

    assert [Page(404)] == play(request("POST /x HTTP/1.1", body=before + WORDS))
    assert heard(request("POST /x HTTP/1.1", body=WORDS + before))


def test_a_peer_that_asks_before_it_sends_is_encouraged_once():
    head = request("POST / HTTP/1.1", "Expect: 100-continue", "Transfer-Encoding: chunked")

    steps = play(head, b"2", b"d", b"\r\n" + WORDS + b"\r\n", b"0\r\n\r\n")

    assert [Continue, Heard] == [type(step) for step in steps]
    assert steps[0].octets.startswith(b"HTTP/1.1 100 ")


@given(st.sets(st.integers(1, 120), max_size=8))
def test_however_a_request_is_cut_it_is_one(cuts):
    said = request("POST / HTTP/1.1", body=WORDS)
    ends = [0, *sorted(cut for cut in cuts if cut < len(said)), len(said)]

    (step,) = play(*(said[begin:end] for begin, end in pairwise(ends)))

    assert token() == step.token


def test_who_trickles_commands_costs_little():
    """Each octet was searched for anew from every command before it: a minute for one connection."""
    dialogue = CanaryDialogue(find, "Run by the tests.")
    began = time.process_time()

    for _ in range(HEARD // 2):
        dialogue.feed(b"\xff\xfa")
        assert dialogue.step() is None

    assert time.process_time() - began < 5
