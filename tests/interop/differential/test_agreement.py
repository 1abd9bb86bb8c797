"""The audit says of generated configurations what the running servers do.

A few of each server in every run, always the same ones; some hundreds by `make audit-agreement`, and as long proofs.
"""

import pytest
from tests.interop.differential.agreement import Outcome, compared, jobs_here, table
from tests.interop.differential.drafts import drafts
from tests.interop.differential.kit import load_kits
from tests.interop.differential.running import Doing, claimed_by

from relaywatch.audit.claims import ClaimKind

KITS = load_kits()
SERVERS = [
    "apache",
    "dante",
    "exim",
    "nginx",
    "opensmtpd",
    "postfix",
    "privoxy",
    "sendmail",
    "squid",
    "tinyproxy",
]
FEW, MANY, SEED = 5, 32, 4
MOST_UNKNOWN, MOST_UNTESTED = 0.1, 0.15

pytestmark = pytest.mark.interop


def disagreements(row):
    return "\n".join(map(str, row.unexplained))


def test_each_server_has_its_strategy():
    assert sorted(KITS) == SERVERS


@pytest.mark.parametrize("server", SERVERS)
def test_a_seed_names_the_same_configurations_of_more_than_one_verdict(server):
    first, again = (drafts(KITS[server], FEW, SEED) for _ in range(2))
    assert [one.files for one in first] == [one.files for one in again]
    assert len({tuple(one.files.items()) for one in first}) == FEW
    assert len({one.told.verdict for one in first}) > 1


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        ("plain", set()),
        ("bdat", set()),
        ("plain+from-second-domain", set()),
        ("plain+helo-helo", set()),
        ("plain+from-null", {ClaimKind.REVERSE_PATH}),
        ("percent-hack+helo-localhost", {ClaimKind.FORWARD_PATH, ClaimKind.HELO}),
        ("plain+helo-xclient-login", {ClaimKind.XCLIENT}),
        ("plain+from-hosted+for-own.example", {ClaimKind.REVERSE_PATH}),
    ],
)
def test_what_a_case_claims_by_its_form(case, kinds):
    assert claimed_by(case) == kinds


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_a_few_configurations_are_judged_as_the_running_server_behaves(server, a_place_for_the_lab):
    row = compared(KITS[server], FEW, SEED, jobs_here())
    assert len(row.trials) == FEW
    assert row.count(Outcome.AGREES)
    assert {trial.seen.doing for trial in row.trials} & {Doing.OPEN, Doing.OPEN_IF}
    assert not row.unexplained, disagreements(row)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("server", SERVERS)
def test_many_are(server, a_place_for_the_lab, capsys):
    row = compared(KITS[server], MANY, SEED, jobs_here())
    with capsys.disabled():
        print("", *table([row]), sep="\n")  # noqa: T201 -- the figure is what it is run for
    assert len(row.trials) == MANY
    assert row.count(Outcome.UNKNOWN) <= MOST_UNKNOWN * MANY
    assert row.count(Outcome.UNTESTED) <= MOST_UNTESTED * MANY
    assert not row.unexplained, disagreements(row)
