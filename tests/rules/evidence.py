"""Evidence to judge: builders for tables, and strategies that build any attempts and arrivals whatever."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from hypothesis import strategies as st

from relaywatch.model.evidence import (
    Arrival,
    ArrivalKind,
    Attempt,
    AttemptStatus,
    Fact,
    Observation,
    Weakness,
)
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.rules.judge import judge

RELAY = Weakness.OPEN_RELAY
PLAIN = Door(25, Transport.PLAIN, Family.IPV4)
STARTTLS = Door(25, Transport.STARTTLS, Family.IPV4)
PLAIN_6 = Door(25, Transport.PLAIN, Family.IPV6)
STARTTLS_6 = Door(25, Transport.STARTTLS, Family.IPV6)
SUBMISSION = Door(587, Transport.PLAIN, Family.IPV4)
SUBMISSIONS = Door(465, Transport.TLS, Family.IPV4)
OTHER_PORT = Door(2525, Transport.PLAIN, Family.IPV4)
OTHER_PORT_TLS = Door(2525, Transport.TLS, Family.IPV4)

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
US = "203.0.113.5"
TARGET = Endpoint(ip_address("192.0.2.7"), 40000)
TALKS = Observation(fact=Fact.TALKS)


def planned(count):
    return Observation(fact=Fact.PLANNED, count=count)


def refused(case, **more):
    return Observation(fact=Fact.REFUSED, case=case, **more)


def queued(case, token="to", return_token="back", **more):
    given = {"advisory": "RW-1001", "count": 1} | more
    return Observation(fact=Fact.QUEUED, case=case, token=token, return_token=return_token, **given)


def accepted(case, **more):
    given = {"advisory": "RW-1001", "detail": "not-sent", "token": "to"} | more
    return Observation(fact=Fact.ACCEPTED, case=case, **given)


def seen(fact, case="", **more):
    return Observation(fact=fact, case=case, **more)


def attempt(*observations, door=PLAIN, status=AttemptStatus.COMPLETED, **more):
    given = {"probe": "smtp-relay", "weakness": RELAY, "source": US} | more
    return Attempt(
        endpoint=Endpoint(ip_address("192.0.2.7"), door.port),
        door=door,
        status=status,
        observations=observations,
        **given,
    )


def closed(door=PLAIN, *cases, **more):
    """An attempt that shows its door closed."""
    asked = cases or ("plain", "percent")
    return attempt(TALKS, planned(len(asked)), *(refused(case) for case in asked), door=door, **more)


def arrival(token="to", kind=ArrivalKind.MAIL, *, after=0.0, **more):
    given = {"came_from": TARGET} | more
    return Arrival(token=token, kind=kind, at=NOON + timedelta(seconds=after), **given)


def bounce(token="back", **more):
    return arrival(token, ArrivalKind.BOUNCE, **more)


def judged(*attempts, arrivals=()):
    return judge(RELAY, attempts, arrivals)


# --- anything -----------------------------------------------------------------------------------

_tokens = st.sampled_from(["a", "b", "c", "d", "e"])
_doors = st.sampled_from(
    [PLAIN, STARTTLS, PLAIN_6, STARTTLS_6, SUBMISSION, SUBMISSIONS, OTHER_PORT, OTHER_PORT_TLS]
)
_words = st.sampled_from(["", "greylisted", "sink-unproved", "not-sent", "postfix", "exim 4.96", "RW"])
_sources = st.sampled_from(["", US, "127.0.0.1", "2001:db8::5", "nonsense"])
_received = st.sampled_from(
    [
        "from relaywatch.invalid (unknown [203.0.113.5]) by mail.example (Postfix) with ESMTP id 4X",
        "from localhost (localhost [127.0.0.1]) by mail.example (Postfix) with ESMTP id 4Y",
        "from x ([IPv6:fd00::1]) by mail.example",
        "from nobody [..] by mail.example",
        "",
    ]
)

observations = st.builds(
    Observation,
    fact=st.sampled_from(list(Fact)),
    case=st.sampled_from(["", "", "plain", "percent", "bang"]),
    advisory=st.sampled_from(["", "RW-1001", "RW-1005"]),
    reply=st.sampled_from(["", "550 no"]),
    detail=_words,
    count=st.integers(0, 3),
    token=st.none() | _tokens,
    return_token=st.none() | _tokens,
)
attempts = st.builds(
    Attempt,
    probe=st.sampled_from(["smtp-relay", "smtp-relay", "other"]),
    weakness=st.sampled_from([RELAY, RELAY, RELAY, Weakness.OPEN_PROXY]),
    endpoint=st.just(TARGET),
    door=_doors,
    status=st.sampled_from([AttemptStatus.COMPLETED] * 6 + list(AttemptStatus)),
    observations=st.lists(observations, max_size=6).map(tuple),
    source=_sources,
)
plausible_attempts = st.builds(
    lambda head, tail, door, status: attempt(*head, *tail, door=door, status=status),
    st.sampled_from([(), (TALKS, planned(1)), (TALKS, planned(2)), (TALKS, planned(3))]),
    st.lists(
        st.builds(
            Observation,
            fact=st.sampled_from([Fact.REFUSED, Fact.REFUSED, Fact.QUEUED, Fact.ACCEPTED, Fact.VOID]),
            case=st.sampled_from(["plain", "percent", "bang"]),
            count=st.integers(0, 1),
            token=_tokens,
            return_token=st.none() | _tokens,
        ),
        max_size=4,
    ),
    _doors,
    st.sampled_from([AttemptStatus.COMPLETED] * 4 + list(AttemptStatus)),
)
"""As a relay probe makes them: these are closed and accepting often enough to tell something."""

arrivals = st.builds(
    Arrival,
    token=_tokens,
    kind=st.sampled_from([ArrivalKind.MAIL, ArrivalKind.BOUNCE]),
    at=st.integers(0, 2).map(lambda seconds: NOON + timedelta(seconds=seconds)),
    came_from=st.none() | st.just(TARGET),
    received=st.lists(_received, max_size=3).map(tuple),
)
evidence = st.tuples(st.lists(attempts | plausible_attempts, max_size=5), st.lists(arrivals, max_size=4))
