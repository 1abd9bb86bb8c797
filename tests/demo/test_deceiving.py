"""Servers that say one thing and do another, and those that can't be asked."""

import contextlib
import re
import smtplib
import socket
import time

import pytest
from tests.demo.envelopes import PLAIN, Envelope, connect, fresh_mark, offer

LOCAL_RANDOM = "<{mark}@{domain}>"


def test_accept_then_drop_says_250_and_delivers_nothing(places, recorder):
    dropped, delivered = fresh_mark(), fresh_mark()

    outcome = _offer(places["accept-then-drop"], PLAIN, dropped)
    _offer(places["open"], PLAIN, delivered)

    assert (250, 250, 354, 250) == outcome.codes
    assert recorder.wait_for(delivered) is not None
    assert recorder.wait_for(dropped, 0.3) is None


def test_accept_then_bounce_sends_the_message_back_to_the_reverse_path(places, recorder):
    mark, back = fresh_mark(), fresh_mark()

    outcome = _offer(places["accept-then-bounce"], Envelope(f"<{back}@sink.example>"), mark)

    assert (250, 250, 354, 250) == outcome.codes
    bounce = recorder.wait_for(f"{back}@")
    assert "" == bounce.reverse_path
    assert (f"{back}@sink.example",) == bounce.forward_paths
    assert f"Subject: {mark}".encode() in bounce.content
    assert recorder.find(f"{mark}@sink.example").forward_paths == bounce.forward_paths


def test_bounce_of_a_bounce_is_never_sent(places, recorder):
    mark = fresh_mark()

    outcome = _offer(places["accept-then-bounce"], Envelope("<>"), mark)

    assert outcome.taken
    assert recorder.wait_for(mark, 0.3) is None


def test_qmail_like_refuses_outside_and_bounces_unknown_users(places, recorder):
    place, mark, back = places["qmail-like"], fresh_mark(), fresh_mark()
    percent = Envelope(f"<{back}@sink.example>", ("<{mark}%sink.example@{domain}>",))

    plain = _offer(place, PLAIN, fresh_mark())
    hacked = _offer(place, percent, mark, "camellia.example")

    assert (250, 553) == plain.codes
    assert (250, 250, 354, 250) == hacked.codes
    assert (f"{back}@sink.example",) == recorder.wait_for(f"{back}@").forward_paths


def test_catch_all_takes_any_local_part_of_its_own_and_nothing_else(places):
    place = places["catch-all"]

    local = _offer(place, Envelope(forward_paths=(LOCAL_RANDOM,)), fresh_mark(), "umbu.example")
    percent = Envelope(forward_paths=("<{mark}%sink.example@{domain}>",))
    hacked = _offer(place, percent, fresh_mark(), "umbu.example")
    plain = _offer(place, PLAIN, fresh_mark())

    assert local.taken
    assert hacked.taken
    assert (250, 550) == plain.codes


def test_catch_all_delivers_no_percent_hack(places, recorder):
    mark = fresh_mark()

    percent = Envelope(forward_paths=("<{mark}%sink.example@{domain}>",))
    _offer(places["catch-all"], percent, mark, "umbu.example")

    assert recorder.wait_for(mark, 0.3) is None


def test_greylisting_announces_its_time_and_then_answers(places):
    late, shut, mark = places["greylisting-open"], places["greylisting-closed"], fresh_mark()

    first = [_offer(place, PLAIN, mark) for place in (late, shut)]
    time.sleep(2.1)
    second = [_offer(place, PLAIN, mark) for place in (late, shut)]
    another = [_offer(place, PLAIN, fresh_mark()) for place in (late, shut)]

    assert [(250, 450), (250, 450)] == [outcome.codes for outcome in first]
    assert all(re.search(r"try again in [23] seconds", outcome.text) for outcome in first)
    assert [(250, 250, 354, 250), (250, 550)] == [outcome.codes for outcome in second]
    assert [(250, 450), (250, 550)] == [outcome.codes for outcome in another]  # a triplet, and a client


@pytest.mark.parametrize(
    ("name", "codes", "words"),
    [
        ("auth-required", (530,), "Authentication required"),
        ("tls-required", (530,), "STARTTLS"),
        ("blocks-client", (250, 553), "listed by bl.example"),
        ("postfix-like", (250, 454), "Relay access denied"),
        ("sendmail-like", (250, 550), "Relaying denied"),
        ("exim-like", (250, 550), "relay not permitted"),
    ],
)
def test_refusal_is_worded_as_real_servers_word_it(places, name, codes, words):
    outcome = _offer(places[name], PLAIN, fresh_mark())

    assert codes == outcome.codes
    assert words in outcome.text


def test_blocked_client_is_refused_for_a_local_mailbox_too(places):
    postmaster = Envelope(forward_paths=("<postmaster@guava.example>",))

    assert (250, 553) == _offer(places["blocks-client"], postmaster, fresh_mark()).codes
    assert _offer(places["closed"], Envelope(forward_paths=("<postmaster@alder.example>",)), "").taken


def test_authentication_never_succeeds(places):
    server = connect("127.0.0.1", places["auth-required"].port)

    with server as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("postmaster", "secret")


def test_tls_required_is_closed_inside_tls(places):
    outcome = _offer(places["tls-required"], Envelope(starttls=True), fresh_mark())

    assert (250, 550) == outcome.codes


def test_too_many_connections_is_said_at_once_and_ends_the_connection(places):
    assert b"421 4.7.0" == _all_octets(places["too-many-connections"])[:9]


def test_drops_after_three_errors(places):
    with connect("127.0.0.1", places["drops-after-errors"].port) as client:
        client.ehlo("stranger.example")
        client.docmd("MAIL", "FROM:<a@elsewhere.example>")
        codes = [client.docmd("RCPT", f"TO:<{number}@sink.example>")[0] for number in range(3)]

        assert [550, 550, 550] == codes
        assert 421 == client.getreply()[0]
        assert b"" == client.file.readline()


def test_slow_greeting_turns_early_talkers_away_and_serves_the_patient(places):
    place = places["slow-greeting"]
    with socket.create_connection((place.host, place.port), 10) as hasty:
        hasty.sendall(b"EHLO stranger.example\r\n")
        assert b"554 " == hasty.recv(4)

    began = time.monotonic()
    outcome = _offer(place, PLAIN, fresh_mark())

    assert time.monotonic() - began >= 1.0
    assert (250, 454) == outcome.codes


def test_tarpit_is_slow_to_answer(places):
    place = places["tarpit"]
    with socket.create_connection((place.host, place.port), 0.5) as client, pytest.raises(TimeoutError):
        client.recv(1)


def test_yes_to_everything_says_250_even_to_data(places):
    commands = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody>\r\nDATA\r\n?\r\n"

    assert b"220 mail.yew.example ESMTP\r\n" + b"250 Ok\r\n" * 5 == _all_octets(
        places["yes-to-everything"], commands
    )


def test_garbage_is_no_reply(places):
    lines = _all_octets(places["garbage"], b"EHLO stranger.example\r\n").splitlines()

    assert len(lines) == 2
    assert not any(line[:3].isdigit() for line in lines)


def test_endless_greeting_has_no_last_line(places):
    place = places["endless-greeting"]
    seen = b""
    with socket.create_connection((place.host, place.port), 5) as client:
        while len(seen) < 1_000_000:
            seen += client.recv(65536)

    assert seen.startswith(b"220-")
    assert b"\r\n220 " not in seen


def test_silent_server_takes_the_connection_and_says_nothing(places):
    place = places["silent"]
    with socket.create_connection((place.host, place.port), 5) as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_resetting_server_resets(places):
    with pytest.raises(ConnectionResetError):
        _all_octets(places["resets"])


def test_dead_port_refuses(places, host):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, places["dead-port"].port), 5)


def _all_octets(place, said=b""):
    """Say something, close our half, and hear the server out."""
    seen = b""
    with socket.create_connection((place.host, place.port), 5) as client:
        client.sendall(said)
        with contextlib.suppress(OSError):  # a reset may have come before
            client.shutdown(socket.SHUT_WR)
        while data := client.recv(4096):
            seen += data
    return seen


def _offer(place, envelope, mark, domain=""):
    return offer("127.0.0.1", place.port, envelope, mark, domain)
