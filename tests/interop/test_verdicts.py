"""What relaywatch says of each server of the lab is what its case expects.

One scan asks all servers at once, as one sink serves them all; ``check`` is asked about a few beside it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import chosen, mail_cases

pytestmark = [pytest.mark.interop, pytest.mark.timeout(2400)]

RELAYWATCH = Path(sys.executable).with_name("relaywatch")
AT_ONCE = 24  # servers; each is asked four connections a second
WAIT = 15  # seconds for arrivals; the slowest delivery in the lab takes three
PATIENCE = 1800  # seconds; greylisting and slow greetings are waited for

PERMISSION = """\
[[permission]]
networks = ["{address}/32", "{address_6}/128"]
domains = ["{host}", "{hosted}"]
owner = "the lab"
contact = "postmaster@stranger.example"
until = 2100-01-01
local_reverse_paths = true
local_mailboxes = true
rate = 1000.0
"""


def permission(case):
    home, host, hosted = plan.home(case), plan.host_name(case), plan.hosted_domain(case)
    return PERMISSION.format(address=home.address, address_6=home.address_6, host=host, hosted=hosted)


def relaywatch(lab, cases, folder, *words, permission=permission):
    """Run a command as the stranger, with leave to ask these servers everything."""
    scope = folder / "scope.toml"
    scope.write_text("\n".join(map(permission, cases)))
    options = ["--scope", scope, "--ehlo-name", "stranger.example", "--wait", str(WAIT)]
    options += ["--contact", "postmaster@stranger.example", "--operator", "the lab's stranger"]
    options += ["--greylist-wait", "20"]  # the lab's greylists want three seconds, and say nothing of it
    options += ["--sink-address", plan.SINK, "--sink-domain", plan.SINK_DOMAIN]
    options += ["--second-domain", plan.SECOND_SINK_DOMAIN, "--mx-pointing-domain", plan.POINTING_DOMAIN]
    return subprocess.run(
        [*lab.as_stranger(), RELAYWATCH, *words, *options],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def open_relay_lines(text):
    lines = map(json.loads, text.splitlines())
    return {line["name"]: line for line in lines if line["weakness"] == "open-relay"}


@pytest.fixture(scope="module")
def lines(lab, tmp_path_factory):
    """The line of each server, by its name, of one scan over all that stand."""
    folder = tmp_path_factory.mktemp("verdicts")
    cases = [case for case in lab.cases if case.name not in lab.fallen and not case.is_proxy]
    (folder / "targets").write_text("".join(f"{plan.host_name(case)}\n" for case in cases))
    output, log = folder / "results.jsonl", folder / "dialogues"
    words = ["scan", "targets", "--output", output, "--log", log, "--concurrency", str(AT_ONCE)]
    done = relaywatch(lab, cases, folder, *words)
    assert done.returncode in {0, 1, 3, 4}, done.stderr
    return open_relay_lines(output.read_text())


@pytest.mark.parametrize("case", mail_cases(), ids=lambda case: case.name)
def test_the_verdict_is_the_one_expected(lab, lines, case):
    assert case.name not in lab.fallen, lab.fallen[case.name]
    line = lines[plan.host_name(case)]
    evidence = json.dumps(line, indent=2)
    expect = case.expect
    assert expect.verdict == line["verdict"], evidence
    if expect.verdict == "open":
        proved = {found["advisory"] for found in line["findings"] if found["proof"] == "delivered"}
        assert proved & set(expect.advisories), evidence
    if expect.reasons:
        assert set(expect.reasons) & set(line["reasons"]), evidence


@pytest.mark.parametrize(
    ("case", "code"),
    [(case, code) for name, code in (("exim-closed", 0), ("exim-open-nets", 1)) for case in chosen((name,))],
    ids=lambda value: getattr(value, "name", None),
)
def test_check_says_the_same_and_ends_with_its_code(lab, case, code, tmp_path):
    done = relaywatch(lab, [case], tmp_path, "check", plan.host_name(case), "--format", "json")
    line = open_relay_lines(done.stdout)[plan.host_name(case)]
    assert (code, case.expect.verdict) == (done.returncode, line["verdict"]), done.stderr
