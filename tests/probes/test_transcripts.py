"""Every written conversation, whole and chopped; and rubbish in place of a server."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import BRIEF, conversations, play_conversation, read_conversation
from tests.scripted import ScriptedServer, play

from relaywatch.model.errors import RelaywatchError
from relaywatch.model.evidence import Fact
from relaywatch.probes.smtp_relay import PROBE

FILES = conversations(PROBE.name)
READ = {path.stem: read_conversation(path.read_text("utf-8"), path.name) for path in FILES}


def sizes(numbers):
    while True:
        yield from numbers


@pytest.mark.parametrize("name", READ)
def test_conversation(name):
    play_conversation(READ[name], PROBE.script)


@pytest.mark.parametrize("name", READ)
def test_octet_by_octet(name):
    play_conversation(READ[name], PROBE.script, chop=sizes([1]))


@pytest.mark.parametrize("name", READ)
@given(pieces=st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_chopping_changes_nothing(name, pieces):
    play_conversation(READ[name], PROBE.script, chop=sizes(pieces))


@pytest.mark.parametrize("name", READ)
def test_says_what_it_shows(name):
    assert READ[name].title.endswith((".", ":")) or name == "pasted-capture"


def test_every_fact_that_the_probe_can_report_has_a_conversation():
    source = "".join(
        path.read_text("utf-8")
        for path in FILES[0].parents[3].joinpath("src/relaywatch/probes/smtp_relay").glob("*.py")
    )
    reportable = {Fact[name].value for name in re.findall(r"\bFact\.([A-Z_]+)", source)}
    # What a deferral or refusal that concerns the door is called, and what is only compared with.
    shown = {expected.fact for read in READ.values() for expected in read.expected}

    assert reportable == shown


def test_facts_of_the_model_that_the_probe_never_reports():
    shown = {expected.fact for read in READ.values() for expected in read.expected}

    assert {Fact.CANARY_REACHED} == set(Fact) - shown


def test_enhanced_status_codes_agree_with_reply_codes():
    """RFC 2034 section 4: the class must be the reply code's first digit."""
    lines = [
        line
        for read in READ.values()
        for step in read.steps
        for line in (
            *step.data.decode("utf-8", "surrogateescape").split("\r\n"),
            *(part for answer in step.answers.values() for part in answer.split(" / ")),
        )
        if step.who in "S~"
    ]
    coded = [found for line in lines if (found := re.match(r"([245])\d\d[ -]([245])\.\d+\.\d+\b", line))]

    assert len(coded) > 20
    assert [] == [found[0] for found in coded if found[1] != found[2]]


def test_titles_are_all_different():
    titles = Counter(read.title for read in READ.values())

    assert [] == [title for title, number in titles.items() if number > 1]


class Noise:
    """A server that answers each read with the next of some octets, and closes when they are out."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def receive(self):
        return self.pieces.pop(0) if self.pieces else b""

    def peek(self):
        return b""

    def start_tls(self, _server_name):
        return ScriptedServer(lambda: None).start_tls(None)

    def may_send(self):
        return True

    def _nothing(self, *_arguments):
        return None

    connect = send = close = pause = await_arrival = _nothing


RUBBISH = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.sampled_from(
        [
            b"220 mail.example.test ESMTP\r\n",
            b"250-mail.example.test\r\n250 PIPELINING\r\n",
            b"250 ok\r\n",
            b"550 5.7.1 relaying denied\r\n",
            b"421 closing\r\n",
            b"354 go\r\n",
            b"450 4.2.0 greylisted\r\n",
            b"\x00\xff\r\n",
            b"250-\r\n",
            b"\n",
        ]
    ),
)


@given(pieces=st.lists(RUBBISH, max_size=40))
def test_rubbish_raises_only_ours(pieces):
    _, error = play(PROBE.script, BRIEF, Noise(pieces))

    assert error is None or isinstance(error, RelaywatchError)


@given(pieces=st.lists(RUBBISH, max_size=40))
def test_rubbish_is_never_a_proof(pieces):
    observations, _ = play(PROBE.script, BRIEF, Noise(pieces))

    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}
    assert all(b"354 go" in b"".join(pieces) for seen in observations if seen.fact is Fact.QUEUED)
