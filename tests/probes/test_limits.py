"""Whatever a server does, the probe keeps within its limits: refusals a connection, connections, messages.

The server here is a function that hypothesis draws: for each command it has an answer of its own, the
same one whenever the same is asked, whatever canary stands in it.
"""

import hashlib
import re
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.notation import BRIEF, SINK
from tests.playbook import arrival_of
from tests.scripted import ScriptedServer, play

from relaywatch.model.evidence import Fact
from relaywatch.model.tokens import TOKEN_PATTERN
from relaywatch.probes.smtp_relay import PROBE
from relaywatch.probes.smtp_relay.planning import MAX_CASES, MAX_CONNECTIONS, UNKNOWN_REFUSALS
from relaywatch.script.brief import Depth, Leave
from relaywatch.script.software import all_software

EVERYTHING = Leave(mail=True, local_reverse_paths=True, local_mailboxes=True)
MAIL = ("250 Ok", "250 Ok", "250 Ok", "550 5.7.1 No", "450 4.1.8 Sender's domain not found")
RCPT = (
    "250 Ok", "550 relay not permitted", "554 5.7.1 Relay access denied", "450 Greylisted for 60 seconds",
    "451 Later", "530 5.7.0 Authentication required", "550 No", "550 No", "550 No",
)  # fmt: skip
DATA = ("354 Go on", "354 Go on", "554 5.7.1 Relay access denied", "250 Ok", "451 Later")
DOT = ("250 Queued", "554 5.7.1 No", "451 Greylisted")
HELP = ("214 Read the RFC", "502 No")


class Mta:
    """A server drawn at random: answers by a hash, PIPELINING or not, patience with so many refusals."""

    def __init__(self, seed, greeting, *, pipelining, patience, turns_away_after, fickle=0):
        self.seed, self.greeting, self.pipelining, self.fickle = seed, greeting, pipelining, fickle
        self.patience, self.turns_away_after = patience, turns_away_after
        self.refusals = []
        """For each connection, how many it cost."""

    def connection(self):
        self.refusals.append(0)
        mail = ""

        def respond(command):
            nonlocal mail
            verb = command.split(" ")[0]
            match verb:
                case "":
                    busy = len(self.refusals) > self.turns_away_after
                    return "421 Too many connections" if busy else f"220 mail.example.test {self.greeting}"
                case "EHLO" | "HELO":
                    mail = ""
                    return (
                        "250-mail.example.test\n250 PIPELINING"
                        if self.pipelining
                        else "250 mail.example.test"
                    )
                case "RSET" | "QUIT":
                    mail = ""
                    return "250 Ok"
                case "MAIL":
                    mail = reply = self.choose(MAIL, command)
                case "RCPT" if not mail.startswith("250"):
                    return "503 Need MAIL"  # behind a refused MAIL: part of that refusal
                case _:
                    answers = {"RCPT": RCPT, "DATA": DATA, ".": DOT, "HELP": HELP}[verb]
                    reply = self.choose(answers, command)
            if reply[0] in "45":
                self.refusals[-1] += 1
            return reply if self.refusals[-1] <= self.patience else None

        return respond

    def choose(self, answers, command):
        asked = TOKEN_PATTERN.sub("*", re.sub(r"nobody-\w+", "*", command))
        number, mood, *_ = hashlib.sha256(f"{self.seed} {asked}".encode()).digest()
        return "421 Bye" if mood < self.fickle else answers[number % len(answers)]


MTAS = st.builds(
    Mta,
    st.integers(0, 1 << 30),
    st.sampled_from(["ESMTP", "ESMTP Postfix", "ESMTP Exim 4.96", "ESMTP chasquid"]),
    pipelining=st.booleans(),
    patience=st.sampled_from([1, 2, 3, 5, 1000, 1000]),
    turns_away_after=st.sampled_from([0, 1, 3, 10, 1000, 1000, 1000]),
    fickle=st.sampled_from([0, 0, 0, 20]),
)
BRIEFS = st.builds(
    lambda depth, leave, limit, second: replace(
        BRIEF,
        depth=depth,
        leave=leave,
        refusal_limit=limit,
        local_domains=("example.test",),
        sink=replace(SINK, second_domain=second),
    ),
    st.sampled_from([Depth.CORE, Depth.CORE, Depth.STANDARD, Depth.STANDARD, Depth.EXHAUSTIVE]),
    st.sampled_from([Leave(), EVERYTHING, Leave(mail=False)]),
    st.sampled_from([None, 2, 3, 8]),
    st.sampled_from([None, "second.test"]),
)


def survey(mta, brief, *, delivers=False):
    server = ScriptedServer(
        mta.connection, arrive=lambda _server, tokens: arrival_of(tokens[0]) if delivers else None
    )
    observations, error = play(PROBE.script, brief, server)
    return server, observations, error


@given(mta=MTAS, brief=BRIEFS, delivers=st.booleans())
def test_limits_are_kept_whatever_the_server_does(mta, brief, delivers):
    server, observations, error = survey(mta, brief, delivers=delivers)
    known = all_software().get(mta.greeting.split(" ")[1].lower()) if " " in mta.greeting else None
    limit = brief.refusal_limit or (known.refusals if known else UNKNOWN_REFUSALS)
    if known is None and brief.refusal_limit is None:
        # It may give itself away later, by its words.
        limit = max(limit, *(software.refusals or 0 for software in all_software().values()))

    assert error is None or type(error).__name__ == "PeerClosedError"
    assert max(mta.refusals, default=0) <= limit
    assert len(server.connections) <= MAX_CONNECTIONS[brief.depth]
    assert sum(seen.count for seen in observations if seen.fact is Fact.QUEUED) <= 3
    assert len(server.messages) <= len(server.connections)


@given(mta=MTAS, brief=BRIEFS)
def test_the_first_connection_to_a_stranger_costs_two_refusals_at_most(mta, brief):
    server, _, _ = survey(mta, replace(brief, refusal_limit=None))
    first = server.connections[0]
    refused = [said for said in first if said.reply[0] in "45" and not said.reply.startswith("503")]

    assert len([said for said in refused if said.command]) <= 2


@given(mta=MTAS, brief=BRIEFS)
def test_a_case_is_reported_once_but_for_what_is_told_beside_it(mta, brief):
    _, observations, _ = survey(mta, brief)
    answers = [
        seen.case
        for seen in observations
        if seen.case and seen.fact not in {Fact.NOTE, Fact.ACCEPTS_ANYTHING}
    ]
    planned = max((seen.count for seen in observations if seen.fact is Fact.PLANNED), default=0)

    assert len(set(answers)) == len(answers)
    assert len(answers) <= min(planned, MAX_CASES[brief.depth])


@given(mta=MTAS, brief=BRIEFS)
def test_only_what_was_taken_is_called_queued(mta, brief):
    server, observations, _ = survey(mta, brief)
    taken = sum(
        said.command == "." and said.reply.startswith("250")
        for said in chain.from_iterable(server.connections)
    )

    assert taken == sum(seen.count for seen in observations if seen.fact is Fact.QUEUED)


@given(mta=MTAS, brief=BRIEFS)
def test_without_leave_nothing_is_handed_over(mta, brief):
    server, observations, _ = survey(mta, replace(brief, leave=Leave(mail=False)))

    assert [] == server.messages
    assert Fact.QUEUED not in {seen.fact for seen in observations}
    assert not any(said.command == "DATA" for said in chain.from_iterable(server.connections))


@given(mta=MTAS, brief=BRIEFS)
def test_without_leave_no_message_claims_to_be_the_targets_own(mta, brief):
    _, observations, _ = survey(mta, replace(brief, leave=Leave()))
    commands = [seen.command for seen in observations if seen.fact is Fact.QUEUED]
    reverse_paths = [re.search(r"MAIL FROM:(.*) / RCPT", command)[1].strip(" <>") for command in commands]

    assert {path.rpartition("@")[2] for path in reverse_paths} <= {"", "sink.test", "second.test"} | {
        path.rpartition("@")[2] for path in reverse_paths if path.endswith(".invalid")
    }


@given(mta=MTAS, brief=BRIEFS, seed=st.binary(min_size=1, max_size=4))
def test_the_same_server_gives_the_same_observations(mta, brief, seed):
    """Nothing hangs on chance or on the order of a set; canaries apart."""
    again = Mta(
        mta.seed,
        mta.greeting,
        pipelining=mta.pipelining,
        patience=mta.patience,
        turns_away_after=mta.turns_away_after,
        fickle=mta.fickle,
    )
    one, other = survey(mta, brief)[1], survey(again, replace(brief, mint=replace(brief.mint, seed=seed)))[1]

    assert [(seen.fact, seen.case, seen.advisory, seen.count) for seen in one] == [
        (seen.fact, seen.case, seen.advisory, seen.count) for seen in other
    ]


class TestRateLimiters:
    """Servers that let us in for ever and answer nothing, each in its way."""

    @pytest.mark.parametrize("last_word", ["421 Too fast", None])
    @pytest.mark.parametrize("pipelining", [True, False])
    def test_one_that_stops_answering_forward_paths(self, last_word, pipelining):
        answered = 0

        def respond(command):
            nonlocal answered
            if command.startswith("RCPT"):
                answered += 1
                return "550 relay not permitted" if answered <= 4 else last_word
            if command.startswith("EHLO") and pipelining:
                return "250-mail\n250 PIPELINING"
            return "250 Ok" if command else "220 mail ESMTP Postfix"

        server = ScriptedServer(lambda: respond)
        observations, error = play(PROBE.script, BRIEF, server)

        assert error is None
        assert len(server.connections) <= 8
        assert ["no answer in 3 connections: it hangs up"] == [
            seen.detail for seen in observations if seen.fact is Fact.RATE_LIMITED
        ]

    def test_one_that_serves_a_connection_now_and_then(self):
        """Every third connection is let in: we pause, come back, and ask all the same."""
        number = 0

        def connection():
            nonlocal number
            number += 1
            busy = number % 3 != 1

            def respond(command):
                if not command:
                    return "421 Busy" if busy else "220 mail ESMTP Postfix"
                return "550 relay not permitted" if command.startswith("RCPT") else "250 Ok"

            return respond

        server = ScriptedServer(connection)
        observations, _ = play(PROBE.script, replace(BRIEF, depth=Depth.CORE), server)
        planned = next(seen.count for seen in observations if seen.fact is Fact.PLANNED)

        assert planned == sum(seen.fact in {Fact.REFUSED, Fact.VOID} for seen in observations)
        assert {5.0, 10.0} == set(server.pauses)

    @pytest.mark.parametrize("rcpt", ["550 relay not permitted", "250 Ok"])
    def test_the_published_number_of_connections_ends_it(self, rcpt, monkeypatch):
        """One case to a connection, of which the server lets in every third only, or defers each proof."""
        number = 0

        def connection():
            nonlocal number
            number += 1
            busy = number % 3 != 1 and rcpt.startswith("550")
            asked = 0

            def respond(command):
                nonlocal asked
                if not command:
                    return "421 Busy" if busy else "220 mail.example.test ESMTP Postfix"
                if command.startswith("RCPT"):
                    asked += 1
                    return rcpt if asked == 1 or number == 1 else None
                return "451 Later" if command == "DATA" else "250 Ok"

            return respond

        monkeypatch.setitem(MAX_CONNECTIONS, Depth.STANDARD, 60)
        brief = replace(BRIEF, leave=EVERYTHING, local_domains=tuple(f"d{n}.test" for n in range(5)))
        server = ScriptedServer(connection, allowance=1000)
        observations, error = play(PROBE.script, brief, server)

        assert error is None
        assert 60 == len(server.connections)
        assert [f"left after {len(server.connections)} connections"] == [
            seen.detail for seen in observations if seen.fact is Fact.NOTE and not seen.advisory
        ]


def test_a_yes_in_the_last_connection_stays_a_yes(monkeypatch):
    monkeypatch.setitem(MAX_CONNECTIONS, Depth.STANDARD, 1)
    server = ScriptedServer(lambda: lambda command: "250 Ok" if command else "220 mail ESMTP Postfix")
    observations, error = play(PROBE.script, BRIEF, server)
    plain = [(seen.fact, seen.detail) for seen in observations if seen.case == "plain"]

    assert error is None
    assert 1 == len(server.connections)
    assert [(Fact.ACCEPTED, "not-sent: connections used up")] == plain


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("opens_at", [None, "quoted"])
def test_one_forward_path_to_a_transaction(pipelining, opens_at):
    """Courier and others say 452 to the second; that is no answer, and is asked again by itself."""
    token = BRIEF.token(f"forward {opens_at}")

    def connection():
        asked = 0

        def respond(command):
            nonlocal asked
            verb = command.split(" ")[0]
            if verb in {"MAIL", "RSET", "EHLO"}:
                asked = 0
            if verb == "RCPT":
                asked += 1
                taken = token in command or command.endswith("<Postmaster>")
                refusal = "250 Ok" if taken else "550 relay not permitted"
                return refusal if asked == 1 else "452 4.5.3 Too many recipients"
            if verb == "EHLO" and pipelining:
                return "250-mail\n250 PIPELINING"
            return {"": "220 mail ESMTP Postfix", "DATA": "354 Go"}.get(verb, "250 Ok")

        return respond

    server = ScriptedServer(connection, arrive=lambda _server, tokens: arrival_of(tokens[0]))
    observations, error = play(PROBE.script, BRIEF, server)
    planned = next(seen.count for seen in observations if seen.fact is Fact.PLANNED)
    answers = [seen for seen in observations if seen.case and seen.fact is not Fact.NOTE]

    assert error is None
    assert Fact.DEFERRED not in {seen.fact for seen in observations}
    if opens_at is None:
        assert planned == len(answers)
        assert {Fact.REFUSED} == {seen.fact for seen in answers if seen.case != "second-recipient"}
    else:
        assert (opens_at, Fact.QUEUED) == (answers[-1].case, answers[-1].fact)
