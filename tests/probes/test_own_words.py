"""What a server repeats of ours is not what it says."""

import pytest

from relaywatch.model.evidence import Fact
from relaywatch.probes.smtp_relay.readings import (
    in_same_words,
    is_greylisting,
    read_refusal,
    speaks_of_login,
    speaks_of_relaying,
)
from relaywatch.wire.smtp import join_reply, parse_reply_line


def reply(line):
    return join_reply([parse_reply_line(line.encode())])


@pytest.mark.parametrize(
    "line",
    [
        "553 5.7.1 <x@relaysink.example>: Blocked by policy",
        "550 relaywatch.invalid is not welcome here",
        "554 5.7.1 [203.0.113.10] listed, see openrelays.example/why",
    ],
)
def test_relay_in_a_name_is_not_speech_of_relaying(line):
    assert not speaks_of_relaying(reply(line))


@pytest.mark.parametrize(
    "line",
    [
        "554 5.7.1 <x@sink.example>: Relay access denied",
        "550 relay not permitted",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    ],
)
def test_speech_of_relaying_is_heard(line):
    assert speaks_of_relaying(reply(line))


def test_a_name_asks_for_no_login_and_greylists_nobody():
    assert not speaks_of_login(reply("550 auth.example says no"))
    assert not is_greylisting(reply("451 4.7.1 greylist.example is down"))
    assert Fact.TLS_REQUIRED is not read_refusal(reply("530 5.7.0 tls.example says no"))


def test_replies_that_differ_in_names_are_in_the_same_words():
    assert in_same_words(
        reply("550 <a@b.example> at mx.c.example no"), reply("550 <d@e.example> at mx.f.example no")
    )
    assert not in_same_words(reply("550 no"), reply("550 never"))
