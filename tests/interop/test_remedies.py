"""Every remedy that is called live closes the open mail servers of the lab that it names, by its own steps.

Proxies have theirs in ``test_proxy_remedies``.

Each server is asked by our checker, mended as the remedy's data says, and asked again; what was taken before
has to be refused, and mail for the domain that the server hosts still has to be taken. One scan before and one
after serve all servers, as in ``test_verdicts``.
"""

import contextlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from tests.interop.lab import plan, rooms, swaks
from tests.interop.lab.cases import Envelope, Outcome, chosen
from tests.interop.lab.errors import LabError
from tests.interop.lab.world import missing, world
from tests.interop.mend_names import granted
from tests.interop.mend_room import Mender
from tests.interop.test_verdicts import AT_ONCE, open_relay_lines, relaywatch

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.advice.vocabulary import Standing

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

REMEDIES = [
    (remedy, case)
    for guide in load_catalogue().guides.values()
    for remedy in guide.remedy
    if remedy.standing is Standing.LIVE
    for case in map(granted, chosen(remedy.lab_cases))
    if not case.is_proxy
]
EACH = pytest.mark.parametrize(
    ("remedy", "server"), REMEDIES, ids=[f"{remedy.id}-{case.name}" for remedy, case in REMEDIES]
)
MENDED_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a server: its result lines before and after, and what went wrong in between."""

    before: dict
    trouble: str
    after: dict
    refusal: str  # of a recipient of its own domain


def open_doors(line):
    return [door_of(door) for door in line["doors"] if door["verdict"] == "open"]


def refusing_doors(line):
    """Return the doors that refuse: each is closed, or it speaks behind STARTTLS only and is closed there."""
    verdicts = {door_of(door): (door["verdict"], door["reasons"]) for door in line["doors"]}
    closed = {door for door, (verdict, _) in verdicts.items() if verdict == "closed"}
    wants_tls = {door for door, (_, reasons) in verdicts.items() if reasons == ["tls-required"]}
    return closed | {
        (*door, way, family) for *door, way, family in wants_tls if (*door, "starttls", family) in closed
    }


def door_of(door):
    return door["port"], door["transport"], door["family"]


def told(line):
    """Say a result line in few words: what was found, and each door that answered."""
    cases = [f"{found['case']} {found['advisory']} {found['proof']}" for found in line["findings"]]
    answering = [door for door in line["doors"] if door["verdict"] != "absent"]
    keys = ("port", "transport", "family", "verdict", "reasons", "asked", "planned")
    return "\n".join([line["verdict"], *cases, *(str([door[key] for key in keys]) for door in answering)])


def scan(lab, cases, folder):
    """Return the line of each server by its name, of one scan over all."""
    folder.mkdir()
    (folder / "targets").write_text("".join(f"{plan.host_name(case)}\n" for case in cases))
    output = folder / "results.jsonl"
    words = ["scan", "targets", "--output", output, "--log", folder / "dialogues"]
    done = relaywatch(lab, cases, folder, *words, "--concurrency", str(AT_ONCE))
    assert done.returncode in {0, 1, 3, 4}, done.stderr
    assert output.exists(), done.stderr
    return open_relay_lines(output.read_text())


def mend(lab, remedy, case):
    """Carry out a remedy; return what went wrong, "" if nothing did."""
    try:
        Mender(lab, case).apply(remedy)
    except LabError as error:
        return str(error)
    return ""


def refuses_own_mail(lab, case):
    """Return the dialogue in which it refuses a recipient of the domain that it hosts, "" if it takes him.

    Whoever wants TLS is asked behind STARTTLS. No message is sent: not every server of the lab has a place for it.
    """
    for transport in ("plain", "starttls"):
        own = Envelope(outcome=Outcome.KEPT, forward_path="postmaster@{hosted}", transport=transport)
        command = [*rooms.inside(lab.stranger), *swaks.command(case, own, "own"), "--quit-after", "RCPT"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            return ""
    return done.stdout + done.stderr


@contextlib.contextmanager
def standing(request, remedies, parameter):
    """Bring up what the tests that were chosen mend; give the lab, and each remedy with its case that stands."""
    if reason := missing():
        pytest.skip(reason)
    asked = {
        item.callspec.params[parameter].name
        for item in request.session.items
        if "mended" in item.fixturenames and parameter in item.callspec.params
    }
    pairs = [(remedy, case) for remedy, case in remedies if case.name in asked]
    with world([case for _, case in pairs]) as lab:
        yield lab, [(remedy, case) for remedy, case in pairs if case.name not in lab.fallen]


@pytest.fixture(scope="module")
def mended(request, tmp_path_factory):
    """Each server of the tests that were chosen, by its name: asked, mended, asked again."""
    folder = tmp_path_factory.mktemp("remedies")
    with standing(request, REMEDIES, "server") as (lab, stand):
        cases = [case for _, case in stand]
        before = scan(lab, cases, folder / "before")
        with ThreadPoolExecutor(MENDED_AT_ONCE) as pool:
            troubles = list(pool.map(lambda pair: mend(lab, *pair), stand))
            refusals = list(pool.map(lambda case: refuses_own_mail(lab, case), cases))
        after = scan(lab, cases, folder / "after")
        names = [plan.host_name(case) for case in cases]
        yield {
            case.name: Mended(before[name], trouble, after[name], refusal)
            for case, name, trouble, refusal in zip(cases, names, troubles, refusals, strict=True)
        } | {name: Mended({}, reason, {}, "") for name, reason in lab.fallen.items()}


@EACH
def test_the_remedy_closes_the_server(mended, remedy, server):
    found = mended[server.name]
    assert "" == found.trouble
    proved = [finding for finding in found.before["findings"] if finding["proof"] == "delivered"]
    assert {finding["advisory"] for finding in proved} & set(remedy.advisories), told(found.before)
    assert "closed" == found.after["verdict"], told(found.after)
    assert set(open_doors(found.before)) <= refusing_doors(found.after), told(found.after)


@EACH
def test_the_mended_server_still_takes_its_own_mail(mended, remedy, server):
    found = mended[server.name]
    assert ("", "") == (found.trouble, found.refusal), remedy.id
