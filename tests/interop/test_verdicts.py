"""What ``relaywatch check`` says of each server of the lab is what its case expects."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import all_cases

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1200)]

RELAYWATCH = Path(sys.executable).with_name("relaywatch")
EXIT_CODES = {"open": {1}, "accepting": {1}, "closed": {0}, "inconclusive": {3, 4}, "absent": {3}}
PATIENCE = 600  # seconds: greylisting and slow greetings are waited for

SCOPE = """\
[[permission]]
networks = ["{address}/32", "{address_6}/128"]
domains = ["{host}", "{hosted}"]
owner = "the lab"
contact = "postmaster@stranger.example"
until = 2100-01-01
local_reverse_paths = true
local_mailboxes = true
"""


def scope_of(case, folder):
    home = plan.home(case)
    path = folder / "scope.toml"
    path.write_text(
        SCOPE.format(
            address=home.address,
            address_6=home.address_6,
            host=plan.host_name(case),
            hosted=plan.hosted_domain(case),
        )
    )
    return path


def check(lab, case, folder):
    """Run the command as the stranger; return its exit code, its open-relay line and what it said."""
    command = [*lab.as_stranger(), RELAYWATCH, "check", plan.host_name(case), "--format", "json"]
    command += ["--scope", scope_of(case, folder), "--ehlo-name", "stranger.example"]
    command += ["--sink-address", plan.SINK, "--sink-domain", plan.SINK_DOMAIN, *case.expect.options]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    relay = [line for line in lines if line["weakness"] == "open-relay"]
    assert 1 == len(relay), f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.returncode, relay[0], done.stderr


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_verdict_is_the_one_expected(lab, case, tmp_path):
    assert case.name not in lab.fallen, lab.fallen[case.name]
    code, line, said = check(lab, case, tmp_path)
    evidence = f"{json.dumps(line, indent=2)}\n{said}"
    expect = case.expect
    assert expect.verdict == line["verdict"], evidence
    assert code in EXIT_CODES[expect.verdict], evidence
    if expect.verdict == "open":
        proved = {found["advisory"] for found in line["findings"] if found["proof"] == "delivered"}
        assert proved & set(expect.advisories), evidence
    if expect.reasons:
        assert set(expect.reasons) & set(line["reasons"]), evidence
