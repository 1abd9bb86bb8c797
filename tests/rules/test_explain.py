import pytest
from tests.rules.evidence import (
    PLAIN,
    PLAIN_6,
    STARTTLS,
    SUBMISSION,
    TALKS,
    arrival,
    attempt,
    bounce,
    closed,
    judged,
    planned,
    queued,
    refused,
    seen,
)

from relaywatch.model.evidence import Fact
from relaywatch.model.verdicts import Reason
from relaywatch.rules.explain import REFERENCES, Explanation, explain


def test_a_closed_door_states_its_coverage():
    assert (Explanation(code="closed", door=PLAIN, asked=2, planned=2),) == explain(judged(closed()))


def test_a_reason_comes_with_its_door_its_coverage_and_its_source():
    made = judged(attempt(TALKS, planned(9), refused("plain"), seen(Fact.RATE_LIMITED)))

    assert (
        Explanation(code=Reason.INCOMPLETE, door=PLAIN, asked=1, planned=9),
        Explanation(
            code=Reason.RATE_LIMITED, door=PLAIN, reference="RFC 5321 section 3.8", asked=1, planned=9
        ),
    ) == explain(made)


def test_findings_come_first_and_what_is_beside_them_last():
    made = judged(
        attempt(planned(2), queued("plain"), queued("bang", "x", "y"), door=STARTTLS),
        closed(PLAIN),
        attempt(seen(Fact.AUTH_REQUIRED), door=SUBMISSION),
        arrivals=[arrival(), bounce("y")],
    )

    assert [
        ("RW-1020", STARTTLS, "plain"),
        (Reason.AUTH_REQUIRED, SUBMISSION, ""),
        ("closed", PLAIN, ""),
        ("closed", SUBMISSION, ""),
        ("RW-1030", None, ""),
    ] == [(told.code, told.door, told.case) for told in explain(made)]


def test_an_open_door_gives_no_reasons_beside_its_finding():
    made = judged(attempt(planned(9), queued("plain"), door=PLAIN_6), arrivals=[arrival()])

    assert (Explanation(code="RW-1001", door=PLAIN_6, case="plain"),) == explain(made)


def test_an_absent_door_says_nothing():
    assert () == explain(judged(attempt(seen(Fact.NOT_OFFERED))))


@pytest.mark.parametrize("reason", REFERENCES)
def test_a_source_is_a_standard(reason):
    assert REFERENCES[reason].startswith("RFC ")
    assert isinstance(reason, Reason)
