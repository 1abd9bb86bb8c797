"""The emergency remedy of a proxy does what it says while strangers are at it, phase by phase, as its data says.

Strangers have pages and mail ports fetched through an open Squid, and one of them holds a tunnel.
"""

import re
import subprocess
import time

import pytest
from tests.interop.lab import plan, rooms
from tests.interop.lab.cases import chosen
from tests.interop.lab.world import missing, world
from tests.interop.mend_names import granted
from tests.interop.mend_room import Mender
from tests.interop.mend_users import Neighbourhood, Use

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.advice.vocabulary import Phase

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

PROXY = "curl -4 -sSv -m 4 -x http://proxy.example.org:3128"
PAGE = f"{PROXY} http://canary.elsewhere.example/WORD"
MAIL = f"{PROXY} -p smtp://canary.elsewhere.example:25/WORD"
BURST = 3
STANDING_TUNNELS = "ss -Htn state established '( sport = :3128 )'"


class Abused:
    """An open Squid whose log and connections are full of strangers."""

    def __init__(self, lab, case):
        self.case, self.mender, self.around = case, Mender(lab, case), Neighbourhood(lab)
        guide = load_catalogue().guide(case.software)
        self.emergency, self.cure = (
            next(remedy for remedy in guide.remedy if advisory in remedy.advisories)
            for advisory in ("RW-2034", "RW-2001")
        )
        self._inside_the_stranger = rooms.inside(lab.stranger)

    def tries(self, line, *, had, outside=True):
        """Hold that a line gets what it asks for, or doesn't."""
        assert "" == self.around.miss(self.case, Use(line, had=had, outside=outside))

    def holds_a_tunnel(self):
        """Open a tunnel as a stranger and leave it open."""
        at = f"{plan.host_name(self.case)}:3128"
        words = ["ncat", "-4", "--proxy", at, "--proxy-type", "http", plan.SINK, "25"]
        process = subprocess.Popen(
            [*self._inside_the_stranger, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout.readline().startswith(b"220 ")
        return process

    def tunnels_of_strangers(self):
        return self.mender.say(STANDING_TUNNELS).count(plan.STRANGER)

    def carry_out(self, phase):
        """Carry out the steps of a phase; ``relaywatch`` isn't on the proxy's host."""
        steps = [step for step in self.emergency.step if step.phase is phase]
        return "".join(self.mender.carry_out(step) for step in steps)


@pytest.fixture(scope="module")
def abused():
    if reason := missing():
        pytest.skip(reason)
    with world([granted(case) for case in chosen(("squid-open",))]) as lab:
        assert not lab.fallen
        made = Abused(lab, lab.cases[0])
        with made.around.site(), lab.recorder(), lab.witness():
            yield made


def test_the_door_is_shut_the_strangers_are_found_and_own_users_go_on(abused):
    for _ in range(BURST):
        abused.tries(PAGE, had=True)
        abused.tries(MAIL, had=True)
    with abused.holds_a_tunnel() as tunnel:
        assert 1 == abused.tunnels_of_strangers()
        abused.carry_out(Phase.STOP)
        abused.tries(PAGE, had=False)
        abused.tries(PAGE, had=True, outside=False)
        abused.carry_out(Phase.HOLD)
        assert plan.STRANGER in abused.mender.say("cat /root/proxy-connections.evidence")
        assert plan.STRANGER in abused.mender.say("cat /root/squid-log.evidence/access.log")
        found = abused.carry_out(Phase.FIND)
        assert re.search(rf"^ *{2 * BURST} {re.escape(plan.STRANGER)}$", found, re.MULTILINE), found
        assert re.search(rf"^ *{BURST} 25$", found, re.MULTILINE), found
        assert re.search(rf"^ *{BURST} {re.escape(plan.CANARY)}:25$", found, re.MULTILINE), found
        abused.carry_out(Phase.PURGE)
        deadline = time.monotonic() + 10
        while abused.tunnels_of_strangers() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert 0 == abused.tunnels_of_strangers()
        tunnel.kill()
    abused.carry_out(Phase.CLOSE)
    abused.mender.apply(abused.cure)
    abused.mender.say("nft delete table inet proxy_stop")
    abused.tries(PAGE, had=False)
    abused.tries(PAGE, had=True, outside=False)
