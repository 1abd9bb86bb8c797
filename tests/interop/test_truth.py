"""Each server of the lab is what its case says: shown by swaks, curl and others and by arrivals, without relaywatch."""

import pytest
from tests.interop.lab.cases import all_cases
from tests.interop.lab.errors import LabError

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def proofs(lab):
    """What became of each case that stands, by its name; all are proved at the same time."""
    with lab.recorder(), lab.witness():
        found = list(lab.prove_all(lab.cases))
    return {case.name: findings for case, findings in zip(lab.cases, found, strict=True)}


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_server_is_what_its_case_says(proofs, case):
    findings = proofs[case.name]
    if isinstance(findings, LabError):
        raise findings
    assert findings
    assert [] == [f"{finding}\n{finding.dialogue}" for finding in findings if not finding.holds]
