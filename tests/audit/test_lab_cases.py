"""The lab's servers: what the audit reads in their files against what each one really does, as the lab has proven it.

The truth of a case is asked of the running server by `tests/interop`, without our probes. Here only its files are
read, as they lie in the case; what a case makes only when it starts isn't there, and is explained below.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from relaywatch.audit.auditing import report, setups
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.mending import mended
from relaywatch.audit.trees import open_tree

CASES = Path(__file__).parents[1] / "interop" / "servers"
THROUGH = {AuditVerdict.OPEN, AuditVerdict.OPEN_IF}
EXPLAINED = {
    "squid-exits-elsewhere": "its cache_peer is added when it starts; without one never_direct leads nowhere",
    "tinyproxy-password": "its BasicAuth is added when it starts",
}
"""Why the files say otherwise than the running server."""


def cases() -> list[tuple[str, str]]:
    """Each case that can be told by its files: its name, and the state that was proven."""
    found = []
    for case in sorted(CASES.glob("*/case.toml")):
        told = tomllib.loads(case.read_text())
        if (case.parent / "root").is_dir() and told["truth"]["state"] in {"open", "closed", "elsewhere"}:
            found.append((case.parent.name, told["truth"]["state"]))
    return found


def reports_of(case: str) -> list[ServerReport]:
    software = tomllib.loads((CASES / case / "case.toml").read_text())["software"]
    found = setups(open_tree(CASES / case / "root"))
    return [report(server, setup) for setup, server in found if server.name == software]


@pytest.mark.parametrize(("case", "state"), cases())
def test_the_files_say_what_the_running_server_does(case, state):
    for told in reports_of(case):
        assert told.error is None
        if told.verdict is AuditVerdict.UNKNOWN:
            assert told.gaps or any(finding.gaps for finding in told.findings)
        elif case in EXPLAINED:
            assert (told.verdict in THROUGH) is not (state == "open"), "no longer to be explained"
        else:
            assert (told.verdict in THROUGH) is (state == "open")


def test_most_of_them_are_told():
    verdicts = [told.verdict for case, _ in cases() for told in reports_of(case)]
    told = [verdict for verdict in verdicts if verdict is not AuditVerdict.UNKNOWN]
    assert len(told) >= 45
    assert len(told) >= 0.75 * len(verdicts)


def test_mending_leaves_nothing_open_but_what_no_program_mends():
    left, mended_to = [], Counter()
    for case in (case for case, state in cases() if state == "open"):
        for setup, server in setups(open_tree(CASES / case / "root")):
            if report(server, setup).verdict in THROUGH:
                outcome = mended(server, setup)
                mended_to[outcome.report.verdict] += 1
                left += [case] if outcome.report.verdict in THROUGH else []
    assert mended_to[AuditVerdict.CLOSED] >= 20
    assert len(left) <= 3, left
