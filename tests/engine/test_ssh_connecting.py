"""An SSH forwarding that gets no connection ends as any other attempt would."""

from ipaddress import ip_address

from relaywatch.model.evidence import AttemptStatus
from relaywatch.model.places import Endpoint
from relaywatch.script import ops

from .conftest import Run
from .hostile import deaf, nobody

CANARY = Endpoint(ip_address("203.0.113.25"), 443)


async def forward(_link, _brief):
    await ops.ForwardBySSH(username="anonymous", to=CANARY, words=b"relaywatch", within=1.0)


def test_nobody_listens(attempt):
    with nobody() as endpoint:
        outcome = attempt(forward, endpoint, Run(canaries=(CANARY,)))

    assert (AttemptStatus.NO_LISTENER, "nobody listens there") == (outcome.status, outcome.error)


def test_nothing_answers(attempt):
    with deaf() as endpoint:
        outcome = attempt(forward, endpoint, Run(canaries=(CANARY,)))

    assert (AttemptStatus.NO_ANSWER, "not done in 1 s") == (outcome.status, outcome.error)
