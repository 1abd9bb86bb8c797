"""Every written conversation of every probe, whole and chopped; and rubbish in place of a server."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import BRIEF, PROXY_BRIEF, play_conversation, read_conversations
from tests.scripted import Partner, play, tls_session

from relaywatch.model.errors import PeerClosedError, RelaywatchError
from relaywatch.model.evidence import Fact, Weakness
from relaywatch.model.places import Transport
from relaywatch.script.ops import SSHForwarding
from relaywatch.script.probe import load_probes
from relaywatch.script.recognition import RECOGNITION

SOURCE = Path(__file__).parents[2] / "src/relaywatch/probes"
PROBES = {**load_probes(), RECOGNITION.name: RECOGNITION}
READ = {name: read_conversations(probe) for name, probe in PROBES.items()}
RELAY = READ["smtp-relay"]
EACH = pytest.mark.parametrize(("probe", "name"), [(probe, name) for probe in READ for name in READ[probe]])


def sizes(numbers):
    while True:
        yield from numbers


@EACH
def test_conversation(probe, name):
    play_conversation(READ[probe][name], PROBES[probe].script)


@EACH
def test_octet_by_octet(probe, name):
    play_conversation(READ[probe][name], PROBES[probe].script, chop=sizes([1]))


@EACH
@given(pieces=st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_chopping_changes_nothing(probe, name, pieces):
    play_conversation(READ[probe][name], PROBES[probe].script, chop=sizes(pieces))


@EACH
def test_says_what_it_shows(probe, name):
    assert READ[probe][name].title.endswith((".", ":")) or name == "pasted-capture"


@pytest.mark.parametrize("probe", PROBES)
def test_titles_are_all_different(probe):
    titles = Counter(read.title for read in READ[probe].values())

    assert [] == [title for title, number in titles.items() if number > 1]


def shown(probe):
    return {expected.fact for read in READ[probe].values() for expected in read.expected}


def reportable(probe):
    """The facts that a probe's own source names."""
    module = SOURCE / probe.replace("-", "_")
    files = module.glob("*.py") if module.is_dir() else [module.with_suffix(".py")]
    source = "".join(path.read_text("utf-8") for path in files)
    return {Fact[name].value for name in re.findall(r"\bFact\.([A-Z_]+)", source)}


@pytest.mark.parametrize("probe", load_probes())
def test_every_fact_that_the_probe_can_report_has_a_conversation(probe):
    assert set() == reportable(probe) - shown(probe)


def test_the_relay_probe_reports_what_its_source_names_and_nothing_else():
    assert reportable("smtp-relay") == shown("smtp-relay")


def test_every_fact_of_the_model_is_shown_by_some_probe():
    assert set(Fact) == {fact for probe in PROBES for fact in shown(probe)}


def test_enhanced_status_codes_agree_with_reply_codes():
    """RFC 2034 section 4: the class must be the reply code's first digit."""
    lines = [
        line
        for read in RELAY.values()
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


class Noise(Partner):
    """A server that answers each read with the next of some octets, and closes when they are out.

    ``None`` among the pieces says the script's last words back to it.
    """

    is_heard_out = False

    def __init__(self, pieces):
        self.pieces = list(pieces)
        self.last = b""

    def connect(self, op):
        pass

    def send(self, data, channel):
        self.last = data

    def receive(self, channel):
        piece = self.pieces.pop(0) if self.pieces else b""
        return self.last if piece is None else piece

    def receive_datagram(self, channel, within):
        return self.receive(channel) or None

    def start_tls(self, op):
        return tls_session(alpn=next(iter(op.alpn), ""))

    def may_send(self):
        return True

    def pause(self, seconds):
        pass

    def await_arrival(self, tokens):
        return None

    def open_port(self, token):
        return None

    def forward_by_ssh(self, op):
        if not self.pieces:
            raise PeerClosedError("noise")
        heard = op.words if self.pieces[0] is None else self.pieces[0]
        return SSHForwarding(identification="SSH-2.0-Noise", is_admitted=True, is_opened=True, heard=heard)


SMTP_WORDS = [
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
PROXY_WORDS = [
    *SMTP_WORDS,
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"\x05\x00",
    b"\x05\x00\x00\x01\xc0\x00\x02\x07\x13\x88",
    b"\x00\x5a\x00\x00\x00\x00\x00\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes.fromhex("000000040000000000"),  # SETTINGS, empty (RFC 9113 section 6.5)
    bytes.fromhex("000000040100000000"),
    bytes.fromhex("000001010400000001 88"),  # HEADERS with :status 200
    b"WinGate>",
    b"login: ",
    b"220 ftp.example.test FTP ready\r\n",
    b"230 Logged in\r\n",
    b"200 PORT command successful\r\n",
    b"SSH-2.0-Noise\r\n",
    b"relaywatch aaaaaaaaaaaaaaaa 192.0.2.7\r\n",
    b"252 2.0.0 relaywatch aaaaaaaaaaaaaaaa 192.0.2.7\r\n",
]


def rubbish(words):
    return st.lists(
        st.one_of(st.binary(min_size=1, max_size=300), st.sampled_from(words), st.none()), max_size=40
    )


def briefs(probe):
    """A brief for each of the probe's transports, as if its usual doors were there."""
    if probe.weakness is Weakness.OPEN_RELAY:
        return st.just(BRIEF)
    doors = {transport: port for port, transport in reversed(probe.default_doors)} or {Transport.PLAIN: 3128}
    return st.sampled_from(
        [
            replace(PROXY_BRIEF, door=replace(PROXY_BRIEF.door, port=port, transport=transport))
            for transport, port in doors.items()
        ]
    )


@pytest.mark.parametrize("probe", PROBES)
@given(data=st.data())
def test_rubbish_raises_only_ours_and_is_never_a_proof(probe, data):
    words = SMTP_WORDS if PROBES[probe].weakness is Weakness.OPEN_RELAY else PROXY_WORDS
    pieces = data.draw(rubbish(words))
    observations, error = play(PROBES[probe].script, data.draw(briefs(PROBES[probe])), Noise(pieces))
    said = b"".join(piece or b"" for piece in pieces)

    assert error is None or isinstance(error, RelaywatchError)
    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}
    assert all(b"354 go" in said for seen in observations if seen.fact is Fact.QUEUED)
