"""Controls of HTTP: answers that are compared, and servers that are never shown their own name."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.places import Door, Family, Transport, parse_address
from relaywatch.probes import connect_ip, connect_udp, http2_connect, http_misrouting
from relaywatch.script.page import Page
from relaywatch.script.tunnels import Answer, CanaryKind, Destination

OWN = "www.example.test"
HOME = Destination(address=parse_address("127.0.0.1"), port=25, kind=CanaryKind.SMTP)
BRIEF = replace(PROXY_BRIEF, door=Door(80, Transport.PLAIN, Family.IPV4), target_names=(OWN,))


class TestPages:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("", ""),
            ("", "only one has a body"),
            (
                "<html><h1>503 Service Unavailable</h1>\nNo server.",
                "<html>\n<h1>503 Service Unavailable</h1> No server.",
            ),
            ("No route to 203.0.113.25:443.", "No route to nobody-1a2b.invalid."),
            ("Request id: 6f1e-88", "Request id: 77aa-10"),
            ('<p class="a">Not found: /c/aaaa</p>', '<p class="b">Not found: /c/bbbb</p>'),
        ],
    )
    def test_that_say_the_same(self, one, other):
        assert Page(503, one).is_like(Page(503, other))
        assert Page(503, other).is_like(Page(503, one))
        assert not Page(503, one).is_like(Page(502, other))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("upstream connect error: connection refused", "DNS resolution failure"),
            ("Could not connect to 203.0.113.25.", "Could not find nobody.invalid."),
        ],
    )
    def test_that_say_why(self, one, other):
        assert not Page(503, one).is_like(Page(503, other))

    @pytest.mark.parametrize("piece", ["<", "<a", " ", "<!--"])
    def test_however_made_are_compared_at_once(self, piece):
        body, began = piece * 30_000, time.process_time()

        assert Page(503, body).is_like(Page(503, body))
        assert time.process_time() - began < 0.5


def page(status):
    return f"HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nSo".encode()


FAILURES = (None, b"", page(500), page(502), page(503), page(504))
"""Hanging up, silence, and what a server says that tried."""
PLAIN = tuple(map(page, (200, 301, 400, 401, 403, 404, 421, 429)))


def written(probe, said, brief=BRIEF):
    """What the probe writes, each with the answer that it gets: these in turn, the last to all that is left."""
    exchanges = []
    rest = list(said)

    def answer(data):
        if not data:
            return b""
        exchanges.append((data, rest.pop(0) if len(rest) > 1 else rest[0]))
        return exchanges[-1][1]

    play(probe.script, brief, OctetServer(lambda _op: answer))
    return exchanges


@pytest.mark.parametrize("transport", [Transport.PLAIN, Transport.TLS])
@given(said=st.lists(st.sampled_from((*FAILURES, *PLAIN)), min_size=1, max_size=30))
def test_who_has_failed_at_anything_is_not_shown_its_own_name(transport, said):
    """Who fetches from the host that it is shown fails at hosts that can't exist, or at ours."""
    brief = replace(BRIEF, door=replace(BRIEF.door, transport=transport))
    has_failed, is_tried_out = False, False
    for request, answer in written(http_misrouting.PROBE, said, brief):
        if OWN.encode() in request:
            assert is_tried_out
            assert not has_failed
        names_nobody = b".invalid" in request
        # The control of an answer tells of that answer alone.
        is_control = names_nobody and request.startswith(b"GET /c/")
        has_failed = has_failed or (answer in FAILURES and not is_control)
        is_tried_out = is_tried_out or (names_nobody and not is_control)


@pytest.mark.parametrize("probe", [connect_udp.PROBE, connect_ip.PROBE])
@given(first=st.sampled_from((*FAILURES, *PLAIN)), said=st.sampled_from((*FAILURES, *PLAIN)))
def test_a_question_for_masque_asks_first_as_well(probe, first, said):
    (asked, _), *rest = written(probe, [first, said])

    assert b".invalid\r\n" in asked
    assert rest
    assert (first in PLAIN) == all(f"Host: {OWN}\r\n".encode() in request for request, _ in rest)
    assert (first in FAILURES) == all(OWN.encode() not in request for request, _ in rest)


@pytest.mark.parametrize("probe", [connect_udp.PROBE, connect_ip.PROBE])
@pytest.mark.parametrize("failure", [None, b""])
def test_who_breaks_off_a_question_for_masque_isnt_shown_its_name_again(probe, failure):
    exchanges = written(probe, [PLAIN[0], PLAIN[0], failure])

    assert [False, True, True, False] == [OWN.encode() in request for request, _ in exchanges][:4]


@given(said=st.sampled_from((*FAILURES, *PLAIN)))
def test_a_question_for_http2_never_shows_it(said):
    exchanges = written(http2_connect.PROBE, [said])

    assert exchanges
    assert not [request for request, _ in exchanges if OWN.encode() in request]


@pytest.mark.parametrize("failure", FAILURES[1:])
@pytest.mark.parametrize("is_chain", [False, True])
def test_who_fails_at_a_host_that_cant_exist_is_sent_no_request_without_one(failure, is_chain):
    """By its first octets HTTP/2 is such a request, to who takes it for HTTP/1.1; in a chain as in the probe."""

    async def lead(link, brief):
        opening = await http2_connect.PROBE.tunnel(link, brief, HOME, brief.token("chain"))
        assert Answer.FOREIGN is opening.answer

    probe = replace(http2_connect.PROBE, script=lead) if is_chain else http2_connect.PROBE
    requests = [request for request, _ in written(probe, [failure])]

    assert any(b".invalid" in request for request in requests)
    assert not any(request.startswith(b"PRI ") for request in requests)
