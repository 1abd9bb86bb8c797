"""A long proof: whatever is asked of a server that doesn't relay, it is never called open (``make long``).

Every forward-path with every reverse-path at port 25, some six hundred cases a door. The suite's own
instance is the standard plan of test_verdicts.
"""

import pytest
from tests.interop.lab import plan
from tests.interop.lab.cases import State, all_cases
from tests.interop.test_verdicts import AT_ONCE, open_relay_lines, relaywatch

pytestmark = [pytest.mark.interop, pytest.mark.long, pytest.mark.timeout(5400)]

INNOCENT = [case for case in all_cases() if not case.is_proxy and case.truth.state is not State.OPEN]


@pytest.fixture(scope="module")
def lines(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exhaustive")
    standing = [case for case in INNOCENT if case.name not in lab.fallen]
    (folder / "targets").write_text("".join(f"{plan.host_name(case)}\n" for case in standing))
    output = folder / "results.jsonl"
    words = ["scan", "targets", "--output", output, "--exhaustive", "--port", "25"]
    done = relaywatch(lab, standing, folder, *words, "--concurrency", str(AT_ONCE))
    assert done.returncode in {0, 1, 3, 4}, done.stderr
    return open_relay_lines(output.read_text())


@pytest.mark.parametrize("case", INNOCENT, ids=lambda case: case.name)
def test_it_is_never_called_open(lab, lines, case):
    assert case.name not in lab.fallen, lab.fallen[case.name]
    line = lines[plan.host_name(case)]

    assert "open" != line["verdict"], line["findings"]
    assert max(door["asked"] for door in line["doors"]) > 0 or line["reasons"], line
