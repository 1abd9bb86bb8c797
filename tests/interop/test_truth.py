"""Each server of the lab is what its case says: shown by swaks, curl and others and by arrivals, without relaywatch."""

import pytest
from tests.interop.lab.cases import all_cases

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def recorded_lab(lab):
    with lab.recorder(), lab.witness():
        yield lab


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_server_is_what_its_case_says(recorded_lab, case):
    findings = recorded_lab.prove(case)
    assert findings
    assert [] == [f"{finding}\n{finding.dialogue}" for finding in findings if not finding.holds]
