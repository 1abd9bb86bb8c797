"""Ways in, one by one, where a whole conversation would show less."""

from dataclasses import replace

import pytest
from tests.notation import BRIEF
from tests.scripted import ScriptedServer, play

from relaywatch.model.evidence import Fact
from relaywatch.probes.smtp_relay.cases import gather_names
from relaywatch.probes.smtp_relay.contact import Contact
from relaywatch.probes.smtp_relay.controls import Controls
from relaywatch.probes.smtp_relay.planning import MAX_CONNECTIONS
from relaywatch.script.brief import Depth
from relaywatch.script.smtp import Helo

OWN = Helo("EHLO", "probe.test")


def perform(steps, answers=None, brief=BRIEF):
    """Do the steps with a contact: the contact, the server and what was reported."""
    made = []

    async def script(link, brief):
        made.append(Contact(link, brief))
        await steps(made[0])

    answers = {"": "220 mail.example.test ESMTP", "EHLO": "250 mail.example.test"} | (answers or {})
    server = ScriptedServer(lambda: lambda command: answers.get(command.split(" ")[0], "502 What?"))
    observations, error = play(script, brief, server)
    assert error is None
    return made[0], server, observations


def test_no_more_connections_than_are_published():
    brief = replace(BRIEF, depth=Depth.CORE)
    published = MAX_CONNECTIONS[Depth.CORE]

    async def steps(contact):
        assert await contact.first()
        for _ in range(published - 1):
            assert await contact.again(OWN)
        assert await contact.again(OWN) is None
        assert await contact.again(OWN) is None
        assert not await contact.may_connect()

    contact, server, observations = perform(steps, brief=brief)

    assert published == len(server.connections)
    assert contact.is_shut
    assert [f"left after {published} connections"] == [o.detail for o in observations if o.fact is Fact.NOTE]


def test_a_server_that_stays_shut_is_told_of_once():
    async def steps(contact):
        assert await contact.again(OWN) is None
        assert await contact.again(OWN) is None

    _, server, observations = perform(steps, {"": "421 Busy"})

    assert 3 == len(server.connections)
    assert [5.0, 10.0] == server.pauses
    assert [("rate-limited", "421 Busy")] == [(seen.fact, seen.reply) for seen in observations]


@pytest.mark.parametrize(
    ("greeting", "ehlo", "names"),
    [
        ("220 MAIL.Example.TEST ESMTP", "250 mx.example.test hi", ["mail.example.test", "mx.example.test"]),
        ("220 mail ESMTP", "250 localhost", []),
        ("220 [192.0.2.7] ESMTP", "250 192.0.2.7", []),
        ("220 -bad.example.test", "250 a..b", []),
        ("220 x\x1b[2J.test ESMTP", "250 <script>.test", []),
        ("220", "250", []),
        ("220 ***** ESMTP", "250 mail.example.test.", ["mail.example.test"]),
    ],
)
def test_names_that_a_server_gives_itself(greeting, ehlo, names):
    """Only what may stand in a path as a domain is put into one."""

    async def steps(contact):
        await contact.first()

    assert names == perform(steps, {"": greeting, "EHLO": ehlo})[0].names


def test_software_that_an_earlier_door_gave_away_is_not_looked_for_again():
    async def steps(contact):
        await contact.first()
        await contact.ask_for_help()

    contact, server, observations = perform(
        steps, {"": "220 mail ESMTP Exim 4.96"}, brief=replace(BRIEF, software="postfix")
    )

    assert "postfix" == contact.software.name
    assert [] == observations
    assert [b"EHLO probe.test\r\n"] == server.writes


def test_what_is_offered_is_told_in_order():
    async def steps(contact):
        await contact.first()

    _, _, observations = perform(steps, {"EHLO": "250-mail\n250-SIZE 1\n250-8BITMIME\n250 pipelining"})

    assert ["8BITMIME PIPELINING SIZE"] == [o.detail for o in observations if o.fact is Fact.OFFERS]


def test_the_closing_control_of_a_server_that_stays_shut_says_nothing():
    async def steps(contact):
        names = gather_names(contact.brief)
        contact.is_shut = True
        await Controls(contact.link, contact.brief, contact, names).close()

    _, server, observations = perform(steps)

    assert ([], []) == (server.connections, observations)
