import pytest
from tests.cli.samples import door, line

from relaywatch.cli.exit_codes import exit_code
from relaywatch.model.verdicts import Verdict

OPEN, ACCEPTING, CLOSED = line(Verdict.OPEN), line(Verdict.ACCEPTING), line(Verdict.CLOSED)
ABSENT, INCONCLUSIVE = line(Verdict.ABSENT), line(Verdict.INCONCLUSIVE)
HALF = line(Verdict.INCONCLUSIVE, doors=(door(Verdict.CLOSED), door(Verdict.INCONCLUSIVE, port=587)))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([CLOSED], 0),
        ([CLOSED, ABSENT], 0),
        ([OPEN], 1),
        ([ACCEPTING], 1),
        ([OPEN, INCONCLUSIVE, ABSENT], 1),
        ([ABSENT], 3),
        ([ABSENT, ABSENT], 3),
        ([INCONCLUSIVE], 3),
        ([INCONCLUSIVE, ABSENT], 3),
        ([], 3),
        ([CLOSED, INCONCLUSIVE], 4),
        ([HALF], 4),
    ],
)
def test_precedence(lines, expected):
    assert expected == exit_code(lines)
    assert expected == exit_code(reversed(lines))


@pytest.mark.parametrize(
    ("lines", "expected"), [([], 2), ([OPEN], 1), ([CLOSED], 4), ([ABSENT], 3), ([INCONCLUSIVE], 3)]
)
def test_with_targets_that_were_refused(lines, expected):
    assert expected == exit_code(lines, skipped=1)


@pytest.mark.parametrize(("lines", "expected"), [([], 4), ([OPEN], 1), ([CLOSED], 4), ([ABSENT], 4)])
def test_interrupted(lines, expected):
    assert expected == exit_code(lines, is_interrupted=True)
