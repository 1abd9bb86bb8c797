"""The verdict on a target, with its findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network

from relaywatch.model.evidence import Arrival, Attempt, Fact, Weakness
from relaywatch.model.places import SUBMISSION_PORTS, Address, Door, Family, Transport, parse_address
from relaywatch.model.verdicts import Finding, Judgement, Proof, Reason

from .cases import CaseJudgement, CaseState, judge_cases
from .doors import judge_door, judge_proxies, judge_target
from .silence import families_that_fell_silent, was_heard

PLAIN_RELAY = "RW-1001"
STARTTLS_ONLY = "RW-1020"
SUBMISSION_WITHOUT_AUTH = "RW-1021"
IPV6_ONLY = "RW-1022"
HIDDEN_CLIENT = "RW-1023"
BACKSCATTER = "RW-1030"
ACCEPT_THEN_DROP = "RW-1031"
ACCEPTS_ANY_RECIPIENT = "RW-1032"
CHAINED_RELAY = "RW-2020"
LETS_MAIL_THROUGH = "RW-2021"
DECEPTIVE = "RW-2030"

_MAIL_PORTS = frozenset({25, 587})

_ADDRESS_IN_RECEIVED = re.compile(r"\[(?:IPv6:)?([0-9a-fA-F:.]+)\]|\((?:[\w.-]+ )?([0-9]+(?:\.[0-9]+){3})\)")

_INNER_NETWORKS = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "::1/128"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # RFC 1918, RFC 4193
        *("169.254.0.0/16", "fe80::/10", "100.64.0.0/10"),  # RFC 3927, RFC 4291, RFC 6598
    )
)
"""Where front ends stand; not `is_private`, which holds the documentation's addresses as well."""


def judge(weakness: Weakness, attempts: Iterable[Attempt], arrivals: Iterable[Arrival]) -> Judgement:
    """Judge a target by all attempts at its doors and all arrivals at our sink, in any order of either.

    Attempts for another weakness say no more than whether the target is there at all.

    *open* only if something of ours arrived; *accepting* if the target said yes and nothing has;
    *closed* only if every planned attempt completed and was refused; *absent* if nobody speaks the
    protocol; otherwise *inconclusive*, with reasons.  More evidence never turns *open* into anything
    else.
    """
    of_target = list(attempts)
    gathered = [attempt for attempt in of_target if attempt.weakness is weakness]
    cases = judge_cases(gathered, arrivals)
    doors = tuple(
        judge_door(
            door,
            [attempt for attempt in gathered if attempt.door == door],
            [case for case in cases if case.door == door],
        )
        for door in sorted({attempt.door for attempt in gathered})
    )
    if weakness is Weakness.OPEN_PROXY:
        is_alive = any(map(was_heard, of_target))
        blocked = families_that_fell_silent(of_target)
        verdict, reasons = judge_proxies(doors, is_alive=is_alive, blocked=blocked)
        findings = proxy_findings(cases)
    else:
        verdict, reasons = judge_target(doors)
        findings = _findings(cases, _doors_that_want_tls(gathered))
    return Judgement(
        weakness=weakness,
        verdict=verdict,
        reasons=tuple(sorted(reasons)),
        findings=findings,
        doors=doors,
        software=_software(_telling(gathered, findings)),
        advisories=_side_advisories(gathered, cases),
    )


def _doors_that_want_tls(attempts: Iterable[Attempt]) -> set[Door]:
    """Doors that refuse everything in the clear."""
    return {a.door for a in attempts if any(seen.fact is Fact.TLS_REQUIRED for seen in a.observations)}


def _findings(cases: Sequence[CaseJudgement], wants_tls: set[Door]) -> tuple[Finding, ...]:
    """The holes: proven ones if there are any, otherwise what said yes."""
    proven = [case for case in cases if case.state is CaseState.OPEN]
    shown = proven or [case for case in cases if case.state is CaseState.ACCEPTING]
    ranked = sorted(shown, key=lambda case: (case.case != "plain", case.door, case.case))
    return tuple(_finding(case, _advisory(case, cases, wants_tls)) for case in ranked)


def proxy_findings(cases: Sequence[CaseJudgement]) -> tuple[Finding, ...]:
    """The open proxies: one for each door, probe and advisory, with every destination port that it let through."""
    proven = [case for case in cases if case.state is CaseState.OPEN]
    shown = proven or [case for case in cases if case.state is CaseState.ACCEPTING]
    groups: dict[tuple[Door, str, str], list[CaseJudgement]] = {}
    for case in shown:
        groups.setdefault((case.door, case.probe, case.shown_by.advisory), []).append(case)
    return tuple(
        replace(
            _finding(group[0], group[0].shown_by.advisory), destination_ports=_ports(group) if proven else ()
        )
        for _, group in sorted(groups.items(), key=lambda item: item[0])
    )


def _ports(cases: Iterable[CaseJudgement]) -> tuple[int, ...]:
    return tuple(sorted({port for case in cases if (port := case.destination_port) is not None}))


def _finding(case: CaseJudgement, advisory: str) -> Finding:
    return Finding(
        advisory=advisory,
        probe=case.probe,
        case=case.case,
        door=case.door,
        proof=case.proof,
        reply=case.shown_by.reply,
        command=case.shown_by.command,
        exit_address=case.exit_address,
        via=case.door.via or None,
        token=case.shown_by.token,
    )


def _advisory(case: CaseJudgement, cases: Sequence[CaseJudgement], wants_tls: set[Door]) -> str:
    """The advisory: the case's own, unless the door or the route explains more than the form does."""
    if case.door.via:
        return CHAINED_RELAY
    if case.shown_by.advisory != PLAIN_RELAY:
        return case.shown_by.advisory
    refused_at = {
        other.door
        for other in cases
        if other.case == case.case and other.state in {CaseState.REFUSED, CaseState.REFUTED}
    }
    return _door_advisory(case.door, refused_at | wants_tls) or (
        HIDDEN_CLIENT if _hides_client(case) else case.shown_by.advisory
    )


def _door_advisory(door: Door, refused_at: set[Door]) -> str | None:
    """What explains that this door says yes to what others refuse."""
    plain_twin = Door(door.port, Transport.PLAIN, door.family)
    if door.transport is Transport.STARTTLS and plain_twin in refused_at:
        return STARTTLS_ONLY
    if door.family is Family.IPV6 and Door(door.port, door.transport, Family.IPV4) in refused_at:
        return IPV6_ONLY
    other_ports = {refused for refused in refused_at if refused.port not in {door.port, *SUBMISSION_PORTS}}
    if door.port in SUBMISSION_PORTS and other_ports:
        return SUBMISSION_WITHOUT_AUTH
    return None


def _hides_client(case: CaseJudgement) -> bool:
    """Whether the target's first server saw a loopback or private client in our place: a front end hid us.

    Filters behind the server hand mail on from loopback as well, so that the earliest client decides.
    """
    if case.arrival is None or not case.source:
        return False
    named = [address for line in case.arrival.received for address in _clients(line)]
    return bool(named) and _read_address(case.source) not in named and _is_inner(named[-1])


def _clients(received: str) -> list[Address]:
    """The addresses in the ``from`` clause of a Received field (RFC 5321 section 4.4)."""
    clause = re.split(r"\sby\s", received, maxsplit=1)[0]
    found = (_read_address(bracketed or bare) for bracketed, bare in _ADDRESS_IN_RECEIVED.findall(clause))
    return [address for address in found if address is not None]


def _read_address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None


def _is_inner(address: Address) -> bool:
    return any(address in network for network in _INNER_NETWORKS if network.version == address.version)


def _telling(attempts: Iterable[Attempt], findings: Sequence[Finding]) -> list[Attempt]:
    """The attempts that tell which software is at fault: at an open proxy's port, others have nothing to say."""
    ports = {finding.door.port for finding in findings}
    return [
        attempt
        for attempt in attempts
        if not ports or attempt.weakness is not Weakness.OPEN_PROXY or attempt.door.port in ports
    ]


def _software(attempts: Iterable[Attempt]) -> str | None:
    """The software that most attempts give away, with its version where one is told."""
    said = Counter(seen.detail for a in attempts for seen in a.observations if seen.fact is Fact.SOFTWARE)
    names: Counter[str] = Counter()
    for detail, count in said.items():
        names[detail.partition(" ")[0]] += count
    if not said:
        return None
    most = min(names, key=lambda name: (-names[name], name))
    of_it = (detail for detail in said if detail.partition(" ")[0] == most)
    return min(of_it, key=lambda detail: (detail == most, -said[detail], detail))


def _side_advisories(attempts: Iterable[Attempt], cases: Sequence[CaseJudgement]) -> tuple[str, ...]:
    found = {
        seen.advisory
        for attempt in attempts
        for seen in attempt.observations
        if seen.fact is Fact.NOTE and seen.advisory
    }
    if any(case.state is CaseState.REFUTED for case in cases):
        found.add(BACKSCATTER)
    if any(case.state is CaseState.VOID and case.reason is not None for case in cases):
        found.add(ACCEPTS_ANY_RECIPIENT)
    proxied = {case.destination_port for case in cases if case.state is CaseState.OPEN}
    if not proxied.isdisjoint(_MAIL_PORTS):
        found.add(LETS_MAIL_THROUGH)
    if any(seen.fact is Fact.DECEPTIVE for attempt in attempts for seen in attempt.observations):
        found.add(DECEPTIVE)
    accepting = [case for case in cases if case.state is CaseState.ACCEPTING]
    is_open = any(case.state is CaseState.OPEN for case in cases)
    if not is_open and any(
        case.proof is Proof.QUEUED and case.reason is Reason.NOT_DELIVERED for case in accepting
    ):
        found.add(ACCEPT_THEN_DROP)
    return tuple(sorted(found))
