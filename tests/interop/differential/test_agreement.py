"""The audit says of generated configurations what the running servers do.

A few of each server, and some hundreds by `make audit-agreement`: long proofs, both.
"""

import pytest
from tests.interop.differential.agreement import compared, jobs_here, table
from tests.interop.differential.kit import generated, load_kits

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
FEW, SEED = 4, 20
MANY, MOST_UNKNOWN = 40, 0.1

pytestmark = pytest.mark.interop


def disagreements(row):
    return "\n".join(map(str, row.unexplained))


def test_each_server_has_its_strategy():
    assert sorted(KITS) == SERVERS


@pytest.mark.parametrize("server", SERVERS)
def test_a_seed_names_the_same_configurations_for_good(server):
    kit = KITS[server]
    first = generated(kit, 12, SEED)
    assert first == generated(kit, 12, SEED)
    assert len({tuple(files.items()) for files in first}) == 12


@pytest.mark.long  # until it has been seen steady on other machines; it is meant for every run
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_a_few_configurations_are_judged_as_the_running_server_behaves(server, a_place_for_the_lab):
    row = compared(KITS[server], FEW, SEED, jobs_here())
    assert len(row.trials) == FEW
    assert not row.unexplained, disagreements(row)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("server", SERVERS)
def test_many_are(server, a_place_for_the_lab, capsys):
    row = compared(KITS[server], MANY, SEED, jobs_here())
    with capsys.disabled():
        print("", *table([row]), sep="\n")  # noqa: T201 -- the figure is what it is run for
    assert len(row.trials) == MANY
    assert row.unknown <= MOST_UNKNOWN * MANY
    assert not row.unexplained, disagreements(row)
