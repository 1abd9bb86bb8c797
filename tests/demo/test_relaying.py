"""The truth about each server, found by smtplib and a recording next hop, without any part of the checker."""

import pytest
from tests.demo.envelopes import DOMAINS, HOLES, PLAIN, Envelope, fresh_mark, offer

CLOSED = [
    "closed",
    "postfix-like",
    "exim-like",
    "sendmail-like",
    "refuses-at-data",
    "drops-after-errors",
    "tls-required",
]
SINGLE_HOLES = [name for name in HOLES if name not in {"open", "implicit-tls"}]


@pytest.mark.parametrize("name", HOLES)
def test_hole_delivers_our_message_to_the_next_hop(places, recorder, host, name):
    mark = fresh_mark()

    outcome = offer(host, places[name].port, HOLES[name], mark, DOMAINS[name])

    assert outcome.taken, outcome
    arrived = recorder.wait_for(f"{mark}@")
    assert arrived is not None
    assert (f"{mark}@sink.example",) == arrived.forward_paths
    assert HOLES[name].filled(mark, DOMAINS[name]).reverse_path == f"<{arrived.reverse_path}>"
    assert f"by mail.{DOMAINS[name].removeprefix('mail.')} with ESMTP".encode() in arrived.content
    assert arrived.content.endswith(f"Subject: {mark}\r\n\r\nA test of ours.\r\n".encode())


@pytest.mark.parametrize("name", SINGLE_HOLES)
def test_server_has_no_hole_but_its_own(places, name):
    others = {other: envelope for other, envelope in HOLES.items() if other not in {name, "implicit-tls"}}

    taken = [other for other, envelope in others.items() if _taken(places[name], name, envelope)]

    assert [] == taken


@pytest.mark.parametrize("name", CLOSED)
def test_closed_server_refuses_every_envelope(places, name):
    taken = [
        hole
        for hole, envelope in HOLES.items()
        if not envelope.implicit_tls and _taken(places[name], name, envelope)
    ]

    assert [] == taken


def test_ipv6_only_relays_over_ipv6_alone(places, recorder):
    mark, place = fresh_mark(), places["ipv6-only"]
    if "::1" not in place.addresses:
        pytest.skip("this machine has no ::1")

    over_ipv4 = offer("127.0.0.1", place.port, PLAIN, mark, "maple.example")
    over_ipv6 = offer("::1", place.port, PLAIN, mark, "maple.example")

    assert (250, 550) == over_ipv4.codes
    assert over_ipv6.taken
    assert recorder.wait_for(f"{mark}@") is not None


def test_backup_mx_keeps_mail_for_its_hosted_domain_and_knows_who_lives_there(places, recorder):
    port, mark = places["backup-mx"].port, fresh_mark()
    postmaster = Envelope(forward_paths=("<postmaster@larch.example>",))
    percent = Envelope(forward_paths=("<{mark}%sink.example@larch.example>",))

    assert offer("127.0.0.1", port, postmaster, mark, "").taken
    assert (250, 550) == offer("127.0.0.1", port, percent, fresh_mark(), "").codes
    assert recorder.wait_for(mark, 0.3) is None


def _taken(place, name, envelope):
    if envelope.starttls and name not in {"starttls-only", "tls-required"}:
        return False  # it offers none
    if envelope.bdat and name not in {"bdat", "refuses-at-data"}:
        return False
    return offer("127.0.0.1", place.port, envelope, fresh_mark(), DOMAINS[name]).taken
