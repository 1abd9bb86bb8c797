"""What an SSH server's answers come to."""

import pytest
from tests.playbook import PROXY_BRIEF
from tests.scripted import Partner, play

from relaywatch.model.errors import NotPermittedError, PeerClosedError, RemoteProtocolError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.script import ssh
from relaywatch.script.ops import SSHForwarding
from relaywatch.script.tunnels import Answer, CanaryKind, Destination

CANARY = Destination(address=parse_address("203.0.113.25"), port=443, kind=CanaryKind.WORDS)
TOKEN = PROXY_BRIEF.token("case")


class SSHServer(Partner):
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def forward_by_ssh(self, op):
        self.asked.append(op)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ask(answer=None, **fields):
    returned = []
    server = SSHServer(answer or SSHForwarding(**{"identification": "SSH-2.0-x", **fields}))

    async def script(link, brief):
        returned.append(await ssh.open_channel(link, brief, CANARY, TOKEN))

    _, error = play(script, PROXY_BRIEF, server)
    if error is not None:
        raise error
    return returned[0], server.asked


def test_what_is_asked():
    opening, [asked] = ask(is_admitted=True, is_opened=True, heard=b"\xffhi")

    assert (asked.username, asked.to, asked.words) == (
        "anonymous",
        Endpoint(CANARY.address, 443),
        f"relaywatch {TOKEN}".encode(),
    )
    assert asked.within == PROXY_BRIEF.patience.tunnel + PROXY_BRIEF.patience.canary
    assert (opening.answer, opening.reply, opening.heard) == (Answer.YES, "SSH-2.0-x", "\udcffhi")
    assert opening.command == "direct-tcpip to 203.0.113.25:443 as anonymous"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("open failed", Answer.NO),
        ("administratively prohibited", Answer.NO),
        ("request refused by policy", Answer.NO),
        ("", Answer.NO),
        ("Connection refused", Answer.FAILED),
        ("connect failed", Answer.FAILED),
        ("Connection timed out", Answer.FAILED),
        ("No route to host", Answer.FAILED),
    ],
)
def test_no_channel(error, expected):
    """RFC 4254 section 5.1 knows "administratively prohibited" and "connect failed" apart; servers less so."""
    opening, _ = ask(is_admitted=True, error=error)

    assert (expected, error) == (opening.answer, opening.reply)


@pytest.mark.parametrize(
    ("fields", "reply"),
    [
        ({"methods": ("publickey",), "error": "x"}, "SSH-2.0-x: publickey"),
        ({"error": "Permission denied for user"}, "SSH-2.0-x: Permission denied for user"),
    ],
)
def test_not_admitted(fields, reply):
    opening, _ = ask(**fields)

    assert (Answer.CREDENTIALS, reply) == (opening.answer, opening.reply)


def test_not_as_far_as_the_question():
    with pytest.raises(RemoteProtocolError, match="SSH: no matching key exchange"):
        ask(error="no matching key exchange")


@pytest.mark.parametrize(
    ("error", "told"), [("not done in 5 s", "not done in 5 s"), ("", "no SSH identification")]
)
def test_never_said_who_it_is(error, told):
    with pytest.raises(PeerClosedError, match=told):
        ask(identification="", error=error)


def test_a_destination_that_is_no_canary_of_the_runs():
    opening, _ = ask(NotPermittedError("no canary"))

    assert (Answer.NO, "not asked") == (opening.answer, opening.detail)
