"""Which answers are a proxy's that may lead home although it doesn't lead to us."""

from ipaddress import ip_address

import pytest

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact, Observation, Weakness
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.rules.homebound import may_lead_home


def attempt(*observations, status=AttemptStatus.COMPLETED):
    return Attempt(
        probe="http-connect",
        weakness=Weakness.OPEN_PROXY,
        endpoint=Endpoint(ip_address("192.0.2.7"), 3128),
        door=Door(3128, Transport.PLAIN, Family.IPV4),
        status=status,
        observations=(Observation(fact=Fact.PLANNED, count=6), *observations),
    )


TALKS = Observation(fact=Fact.TALKS)


def refused(reply, case="address-443", **more):
    return Observation(fact=Fact.REFUSED, case=case, reply=reply, **more)


@pytest.mark.parametrize(
    "seen",
    [
        refused("HTTP/1.1 403 Forbidden"),
        refused("HTTP/2 403"),
        refused("REP 0x02 not allowed by ruleset"),
        refused("CD 91 rejected"),
        Observation(fact=Fact.FAILED, case="address-443", reply="HTTP/1.1 503 Service Unavailable"),
        Observation(fact=Fact.FAILED, case="address-443", reply="REP 0x04 host unreachable"),
        Observation(fact=Fact.ACCEPTED, case="address-443", reply="HTTP/1.1 200 Connection established"),
    ],
)
def test_a_destination_that_is_refused_or_out_of_reach_is_a_proxys_answer(seen):
    assert may_lead_home(attempt(TALKS, seen))


@pytest.mark.parametrize(
    "seen",
    [
        refused("HTTP/1.1 405 Method Not Allowed"),
        refused("HTTP/1.1 400 Bad Request"),
        refused("HTTP/1.1 404 Not Found"),
        refused("HTTP/1.1 501 Not Implemented"),
        refused("HTTP/1.1 302 Found"),
        refused("REP 0x07 command not supported"),
        refused("HTTP/1.1 403 Forbidden", case=""),
        Observation(fact=Fact.UNANSWERED, case="address-443"),
    ],
)
def test_a_request_that_is_refused_may_be_any_servers_answer(seen):
    assert not may_lead_home(attempt(TALKS, seen))


@pytest.mark.parametrize(
    "also",
    [
        Observation(fact=Fact.CANARY_REACHED, case="address-80"),
        Observation(fact=Fact.DECEPTIVE),
        Observation(fact=Fact.AUTH_REQUIRED),
        Observation(fact=Fact.RATE_LIMITED),
        Observation(fact=Fact.NOT_THIS_PROTOCOL),
        Observation(fact=Fact.NOTE, advisory="RW-2031"),
    ],
)
def test_who_is_open_or_deceives_or_wants_credentials_is_left_alone(also):
    assert not may_lead_home(attempt(TALKS, refused("HTTP/1.1 403 Forbidden"), also))


@pytest.mark.parametrize(
    ("status", "seen", "may"),
    [
        (AttemptStatus.TIMEOUT, (), True),
        (AttemptStatus.TIMEOUT, (TALKS,), False),
        (AttemptStatus.CUT_SHORT, (), False),
    ],
)
def test_silence_throughout_is_what_a_firewall_makes_of_a_proxy(status, seen, may):
    assert may is may_lead_home(attempt(*seen, status=status))
