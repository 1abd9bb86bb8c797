"""What each of the world's servers should be found as: known to whoever compares, and to nobody who checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Proof, Reason, Verdict

_PROVEN = frozenset({Proof.DELIVERED, Proof.CANARY_REACHED})


@dataclass(frozen=True, slots=True)
class Expectation:
    """A verdict; the advisory that must be named, where one is due; a reason that must be among those given."""

    verdict: Verdict
    advisory: str = ""
    reason: Reason | None = None

    def is_met_by(self, line: ResultLine) -> bool:
        """Whether the result says so. An open server must be found for its own hole and for no other."""
        named = {finding.advisory for finding in line.findings}
        if self.verdict is Verdict.OPEN:
            proven = all(finding.proof in _PROVEN for finding in line.findings)
            return line.verdict is Verdict.OPEN and proven and named == {self.advisory}
        return (
            line.verdict is self.verdict
            and (not self.advisory or self.advisory in named | set(line.advisories))
            and (self.reason is None or self.reason in line.reasons)
        )

    def __str__(self) -> str:
        return " ".join(filter(None, (self.verdict, self.advisory, self.reason)))


def _open(advisory: str) -> Expectation:
    return Expectation(Verdict.OPEN, advisory)


_CLOSED = Expectation(Verdict.CLOSED)


def _inconclusive(reason: Reason) -> Expectation:
    return Expectation(Verdict.INCONCLUSIVE, reason=reason)


EXPECTATIONS: Mapping[str, Expectation] = MappingProxyType(
    {
        "open": _open("RW-1001"),
        "trusts-reverse-path": _open("RW-1002"),
        "trusts-helo": _open("RW-1004"),
        "null-reverse-path": _open("RW-1003"),
        "percent-hack": _open("RW-1005"),
        "source-route": _open("RW-1007"),
        "bang-path": _open("RW-1008"),
        "quoted-local-part": _open("RW-1006"),
        "second-at": _open("RW-1009"),
        "encapsulated": _open("RW-1010"),
        "lax-syntax": _open("RW-1013"),
        "second-recipient": _open("RW-1016"),
        "bdat": _open("RW-1017"),
        "late-hole": _open("RW-1011"),
        "starttls-only": _open("RW-1020"),
        "backup-mx": _open("RW-1014"),
        "implicit-tls": _open("RW-1001"),
        "ipv6-only": _open("RW-1022"),
        "greylisting-open": _open("RW-1001"),
        "closed": _CLOSED,
        "postfix-like": _CLOSED,
        "exim-like": _CLOSED,
        "sendmail-like": _CLOSED,
        "refuses-at-data": _CLOSED,
        "slow-greeting": _CLOSED,
        "drops-after-errors": _CLOSED,
        "greylisting-closed": _CLOSED,
        "tls-required": _CLOSED,
        "catch-all": Expectation(Verdict.CLOSED, "RW-1032"),
        "accept-then-drop": Expectation(Verdict.ACCEPTING, "RW-1031", Reason.NOT_DELIVERED),
        "accept-then-bounce": Expectation(Verdict.ACCEPTING, "RW-1030", Reason.BACKSCATTER),
        "qmail-like": Expectation(Verdict.CLOSED, "RW-1030"),
        "yes-to-everything": Expectation(Verdict.ACCEPTING, reason=Reason.NOT_SENT),
        "auth-required": _inconclusive(Reason.AUTH_REQUIRED),
        "blocks-client": _inconclusive(Reason.CLIENT_BLOCKED),
        "too-many-connections": _inconclusive(Reason.RATE_LIMITED),
        "tarpit": _inconclusive(Reason.TARPIT),
        "garbage": _inconclusive(Reason.PROTOCOL_ERROR),
        "endless-greeting": _inconclusive(Reason.PROTOCOL_ERROR),
        "silent": _inconclusive(Reason.TIMEOUT),
        "resets": _inconclusive(Reason.CUT_SHORT),
        "dead-port": Expectation(Verdict.ABSENT),
        "behind-proxy": _CLOSED,
        "chain": _open("RW-2020"),
        "proxy": _open("RW-2001"),
        "connect-only": _open("RW-2001"),
        "forward-only": _open("RW-2005"),
        "odd-line-ends": _open("RW-2002"),
        "misrouting": _open("RW-2006"),
        "socks": _open("RW-2008"),
        "telnet-gateway": _open("RW-2012"),
        "proxy-for-users": Expectation(Verdict.CLOSED, reason=Reason.AUTH_REQUIRED),
        "socks-for-users": Expectation(Verdict.CLOSED, reason=Reason.AUTH_REQUIRED),
        "web-server": _CLOSED,
        "welcomes-all": Expectation(Verdict.CLOSED, "RW-2031"),
        "captive-portal": _CLOSED,
        "tunnel-to-nowhere": Expectation(Verdict.ACCEPTING, "RW-2030", Reason.DECEPTIVE),
        "socks-to-nowhere": Expectation(Verdict.ACCEPTING, "RW-2030", Reason.DECEPTIVE),
    }
)
"""By the name that the world gives its servers."""
