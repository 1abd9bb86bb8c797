"""Proxies that don't lead out to us, and may lead home all the same: to their own host's loopback."""

from __future__ import annotations

import re

from relaywatch.model.evidence import Attempt, AttemptStatus, Fact, Observation

_DESTINATION_REFUSED = re.compile(r"HTTP/\S+ 403\b|REP 0x02\b|CD 91\b")
"""How a proxy says no to a destination and not to the request: forbidden (RFC 9110 section 15.5.4), not allowed by
ruleset (RFC 1928 section 6), rejected or failed (SOCKS4). A web server says 400, 404, 405 or 501."""
_WE_STOP = frozenset(
    {Fact.CANARY_REACHED, Fact.DECEPTIVE, Fact.AUTH_REQUIRED, Fact.RATE_LIMITED, Fact.NOT_THIS_PROTOCOL}
)
"""It is open, or worth nothing, or wants credentials, or a rest, or isn't a proxy of this kind."""
_A_PAGE = "RW-2031"


def may_lead_home(attempt: Attempt) -> bool:
    """Whether a proxy answered that won't, or can't, lead us to our canary.

    Silence throughout is what a proxy says whose way out is cut by a firewall; who speaks the protocol at
    all is for whoever asks to know.
    """
    seen = attempt.observations
    if any(one.fact in _WE_STOP or one.advisory == _A_PAGE for one in seen):
        return False
    if any(map(_is_a_proxys, seen)):
        return True
    return attempt.status is AttemptStatus.TIMEOUT and not any(one.fact is Fact.TALKS for one in seen)


def _is_a_proxys(seen: Observation) -> bool:
    """Whether it tried in vain, said a yes that led nowhere, or refused the destination."""
    if seen.fact is Fact.REFUSED:
        return bool(seen.case) and _DESTINATION_REFUSED.match(seen.reply) is not None
    return seen.fact in {Fact.FAILED, Fact.ACCEPTED}
