"""Runs a script against a written conversation: no sockets, no clock.

A conversation is written in the notation of RFC 5321, appendix D, so that a mail administrator can
review it, and so that what ``relaywatch check --transcript`` prints becomes a test by pasting: the
seconds before a line and the heading behind ``---`` are skipped, and the engine's notes (``*: connected
from ...``) are understood.

::

    # A comment; the first one is the conversation's title.
    % target-names mail.example.test         what the script knows beforehand: see `notation.SETTINGS`
    * connect                                the script opens a connection, and is let in
    S: 220 mail.example.test ESMTP           the server's line; CR LF is added
    C: EHLO probe.test                       the script's line
    S< 32 35 30 20 "ok" 0d 0a                the same in octets; C< likewise
    C[1]: QUIT                               on channel 1, where a script has several; S[1]< and so on
    = refused plain reply~"access denied"    an observation that the script reports

**Lines.** ``C:`` lines that follow each other are *one* write, so that a pipelined group differs from
commands sent one by one. ``S:`` lines that follow each other come in one piece, or chopped at random
when a test wants it. An empty line parts two writes, or two pieces. Of message data (after a 354, or behind BDAT) only the lines that hold a token
are compared; that the rest is well-formed is always checked.

**Octets** behind ``C<`` and ``S<``, as `tests.octets` reads them: hexadecimal, ``"quoted text"`` with
``\\r``, ``\\n``, ``\\"``, ``\\\\``; ``203.0.113.25`` and ``2001:db8::1`` for an address's own octets, ``:443`` for
a port's two; placeholders. In the script's lines ``..`` is any one octet and ``...`` any number; in the
server's ``{sent:8+12}`` is octets 8 to 19 of what the script sent last on that channel (a transaction id).

**Placeholders.** ``{token:CASE}`` is the canary of that case: in a conversation about mail of the case's
forward-path (``{token:plain}``), in one about a proxy of the tunnel (``{token:address-443}``).
``{answer:CASE from ADDRESS}`` is what our canary answers to that token when it is reached from there.
``{return:ours}`` is the canary of a reverse-path, ``{minted:LABEL}`` any other of the attempt;
``{nobody:LABEL}`` and ``{label}`` are random local parts and labels. A token that stands in a pasted
conversation, and is not ours, stands for whatever token the script sends in its place, there and wherever
it comes again, and an answer to it for our canary's own.

**Marks.** What else happens, each at its place; ``connect[1]`` and the like concern another channel than 0::

    * connect [at 192.0.2.7:1234] [from 198.51.100.9] [refused|timeout|unreachable|not-permitted]
    * udp [at ...] [from ...] [not-permitted]  the script opens a UDP channel
    * server closes                            * silence [SECONDS]
    * icmp refused|unreachable                 comes instead of a datagram
    * tls [VERSION] [names=A,B] [sni=NAME] [alpn=h2] [broken-certificate] [failed|alert]
    * pause SECONDS                            * may not send           * no arrival
    * arrival CASE [KIND] [from ADDRESS]       * bounce REVERSE-PATH    * ends STATUS
    * port CASE at ADDRESS:PORT                * no port                our sink listens, or can't
    * ssh USER to ADDRESS:PORT [admitted] [opened] [heard="..."] [words="..."] [identification="..."]
          [methods=A,B] [error="..."] [refused|timeout|unreachable]     (on one line)

A script closes its connections without a mark. It may always send unless a mark says no. It ends as
``completed`` unless ``* ends`` names another status. What ``sni=`` and ``words=`` name is compared, and
``alpn=`` must be among what the script offers. In a conversation about a proxy the script needn't hear out
the piece that it is reading when it hangs up; every later piece it must.

**Datagrams.** On a UDP channel every piece is one datagram. ``* silence`` is one wait in vain, ``* silence 3`` as many as make three seconds.

**Standing answers.** ``~ RCPT TO: -> 550 no`` is what the server says to such commands, in as many
connections as the script opens there; the longest beginning wins, `` / `` parts lines, ``closes`` hangs
up, ``silence`` says nothing, ``~ greeting`` is said first, ``~ .`` answers message data. They hold until the
mark behind them happens (a pause, an arrival), or to the end. ``~< "CONNECT " -> "HTTP/1.1 403 No\\r\\n\\r\\n"`` is the same in
octets, where a whole write or datagram is one command.

**Observations.** ``= FACT [CASE] [FIELD=VALUE] [FIELD~PART]``, in the order of the reports, all of
them, wherever in the file they stand. ``= refused *`` is one or more of that fact, of any cases.

**Beforehand.** A conversation about mail starts at 192.0.2.7, door ``25 plain``; one about a proxy at door
``3128 plain``, with canaries at 203.0.113.25 and 2001:db8:113::25 (ports 40025, 443, 80; SMTP on 25; UDP on
40026; nothing on 9), the name canary.sink.example and the zone c.sink.example. ``% door 1080 plain`` and
``% canary-ports 443`` and their like say otherwise; a canary's setting without a value takes it away.

A conversation that isn't finished, an observation that isn't expected, and a file that expects neither an
observation nor another end than `completed`, are errors, and name the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.notation import (
    BRIEF,
    KEY,
    PROXY,
    PROXY_BRIEF,
    RELAY,
    Conversation,
    MismatchError,
    read_conversation,
)
from tests.scripted import Script, play
from tests.written import WrittenServer, arrival_of

from relaywatch.model import errors
from relaywatch.model.evidence import Observation, Weakness
from relaywatch.script.probe import Probe

__all__ = [
    "BRIEF",
    "KEY",
    "PROXY",
    "PROXY_BRIEF",
    "RELAY",
    "MismatchError",
    "arrival_of",
    "conversations",
    "play_conversation",
    "read_conversation",
    "read_conversations",
]

ENDINGS: dict[type[Exception], str] = {
    errors.ConnectRefusedError: "no-listener",
    errors.ConnectTimeoutError: "no-answer",
    errors.UnreachableError: "unreachable",
    errors.ReadTimeoutError: "timeout",
    errors.PeerClosedError: "cut-short",
    errors.TLSFailedError: "tls-failed",
    errors.TLSRefusedError: "tls-failed",
    errors.RemoteProtocolError: "protocol-error",
    errors.NotPermittedError: "not-permitted",
}


def play_conversation(written: Conversation, script: Script, *, chop: Iterator[int] | None = None) -> None:
    """Play a conversation, and compare all that was said and seen with what is written.

    :raises MismatchError: at the first difference.
    """
    server = WrittenServer(written)
    observations, error = play(script, written.brief, server, chop=chop)
    ending = "completed" if error is None else ENDINGS.get(type(error), "")
    if ending != written.ending:
        raise written.fail(0, f"ends {ending or 'as a bug'}: {error!r}") from error
    server.finish()
    _compare_observations(written, observations)


def _compare_observations(written: Conversation, seen: list[Observation]) -> None:
    rest = list(seen)
    for number, expected in enumerate(written.expected):
        if not rest or expected.differs(rest[0]):
            actual = f"{expected.differs(rest[0])} in {rest[0]}" if rest else "nothing more"
            raise written.fail(expected.number, f"instead came {actual}")
        rest.pop(0)
        following = written.expected[number + 1] if number + 1 < len(written.expected) else None
        while expected.case == "*" and rest and not expected.differs(rest[0]):
            if following is not None and not following.differs(rest[0]):
                break
            rest.pop(0)
    if rest:
        raise written.fail(0, "not expected: " + "; ".join(f"{o.fact} {o.case} {o.detail}" for o in rest))


def conversations(probe: str) -> list[Path]:
    """The files of a probe's conversations."""
    return sorted((Path(__file__).parent / "transcripts" / probe).glob("*.txt"))


def read_conversations(probe: Probe) -> dict[str, Conversation]:
    """A probe's conversations as read, by the files' names."""
    given = RELAY if probe.weakness is Weakness.OPEN_RELAY else PROXY
    return {
        path.stem: read_conversation(path.read_text("utf-8"), path.name, given)
        for path in conversations(probe.name)
    }
