"""The emergency remedies do what they say to a server that is being abused: stop, hold, find, purge, close.

Strangers relay a burst through an open server while its next hop can't be reached, and one honest message waits
among it. The remedy's commands are carried out phase by phase, as its data says.
"""

import re
import time

import msgspec
import pytest
from tests.interop.lab import rooms, swaks
from tests.interop.lab.cases import Envelope, Outcome, chosen
from tests.interop.lab.world import missing, world
from tests.interop.mend_names import granted
from tests.interop.mend_room import Mender

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.advice.vocabulary import Phase

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

BURST = 5
HONEST = "honest@sink.example"
#: How each lists its queue, and how a line of that list begins for a message that is held.
SERVERS = {
    "postfix-open-mynetworks": ("mailq", r"^[0-9A-F]+!"),
    "exim-open-nets": ("exim -bp", r"\*\*\* frozen \*\*\*"),
}
PATIENCE = 20  # seconds until a burst stands in the queue


class Abused:
    """A server whose queue is full of a stranger's messages."""

    def __init__(self, lab, case):
        self.case, self.mender = case, Mender(lab, case)
        self.abuser = f"abused@{case.name}.hosted.example"
        self.list_queue, self.held = SERVERS[case.name]
        for sender in [self.abuser] * BURST + [HONEST]:
            one = Envelope(outcome=Outcome.KEPT, reverse_path=sender)
            assert swaks.send(rooms.inside(lab.stranger), case, one, "burst").accepted
        deadline = time.monotonic() + PATIENCE
        while self.queued() != (BURST, 1):
            assert time.monotonic() < deadline, self.queue()
            time.sleep(0.2)

    def queue(self):
        return self.mender.say(self.list_queue)

    def queued(self):
        """Return how many messages of the abuser, and of the honest one, stand in the queue."""
        return self.queue().count(self.abuser), self.queue().count(HONEST)

    def held_messages(self):
        return len(re.findall(self.held, self.queue(), re.MULTILINE))

    def carry_out(self, phase):
        """Carry out a phase's steps, with a message of the queue where a step speaks of one."""
        guide = load_catalogue().guide(self.case.software)
        remedy = next(remedy for remedy in guide.remedy if "RW-1034" in remedy.advisories)
        return "".join(
            self.mender.carry_out(self._named(step)) for step in remedy.step if step.phase is phase
        )

    def _named(self, step):
        if not re.search(r"QUEUE_ID|MESSAGE_ID", " ".join(step.commands)):
            return step
        head = next(line for line in self.queue().splitlines() if self.abuser in line)
        message = re.search(r"\w{6}-\w+-\w+|^\w+", head)[0]
        commands = [re.sub("QUEUE_ID|MESSAGE_ID", message, command) for command in step.commands]
        return msgspec.structs.replace(step, commands=tuple(commands))


@pytest.fixture(scope="module")
def abused():
    if reason := missing():
        pytest.skip(reason)
    with world([granted(case) for case in chosen(tuple(SERVERS))]) as lab:
        assert not lab.fallen
        yield {case.name: Abused(lab, case) for case in lab.cases}


@pytest.mark.parametrize("name", SERVERS)
def test_the_abuse_is_held_found_and_purged_and_honest_mail_stays(abused, name):
    server = abused[name]
    server.carry_out(Phase.STOP)
    server.carry_out(Phase.HOLD)
    assert BURST + 1 == server.held_messages(), server.queue()
    found = server.carry_out(Phase.FIND)
    assert re.search(rf"^ *{BURST} <?{re.escape(server.abuser)}>?$", found, re.MULTILINE), found
    assert "203.0.113.10" in found  # the client that it came from
    server.carry_out(Phase.PURGE)
    assert (0, 1) == server.queued(), server.queue()
    server.carry_out(Phase.CLOSE)
    assert (0, 0) == (server.queued()[0], server.held_messages()), server.queue()
