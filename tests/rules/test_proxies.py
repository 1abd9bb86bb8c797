"""Open proxies: what proves one, what only looks like one, and what silence means among many ports."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from tests.rules.evidence import NOON, RELAY, TALKS, TARGET, US, arrival, attempt, planned, refused, seen

from relaywatch.model.evidence import ArrivalKind, AttemptStatus, Fact, Weakness
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.model.verdicts import Proof, Reason, Verdict
from relaywatch.rules.explain import explain
from relaywatch.rules.judge import judge
from relaywatch.rules.silence import families_that_fell_silent, to_ask_again

PROXY = Weakness.OPEN_PROXY
SQUID = Door(3128, Transport.PLAIN, Family.IPV4)
SOCKS = Door(1080, Transport.PLAIN, Family.IPV4)
EXIT = "192.0.2.7"


def proxied(*observations, door=SQUID, probe="http-connect", **more):
    return attempt(*observations, door=door, probe=probe, weakness=PROXY, **more)


def case(fact, port, way="address", **more):
    given = {"advisory": "RW-2001", "token": f"{way}{port}", "destination": f"203.0.113.25:{port}"} | more
    return seen(fact, f"{way}-{port}", **given)


def reached(port, way="address", **more):
    return case(Fact.CANARY_REACHED, port, way, **({"exit_address": EXIT} | more))


def judged(*attempts, arrivals=()):
    return judge(PROXY, attempts, arrivals)


def test_a_canary_that_answered_proves_with_every_port_that_was_let_through():
    judgement = judged(
        proxied(
            TALKS, planned(3), case(Fact.REFUSED, 40025), reached(443), reached(25), case(Fact.REFUSED, 80)
        )
    )

    (finding,) = judgement.findings
    assert Verdict.OPEN is judgement.verdict
    assert ("RW-2001", "http-connect", Proof.CANARY_REACHED, EXIT) == (
        finding.advisory,
        finding.probe,
        finding.proof,
        finding.exit_address,
    )
    assert (25, 443) == finding.destination_ports
    assert ("RW-2021",) == judgement.advisories


def test_ports_that_are_asked_for_since_one_is_let_through_count_as_planned():
    judgement = judged(proxied(TALKS, planned(2), reached(443), reached(80), reached(6667)))

    assert [(3, 3)] == [(door.asked, door.planned) for door in judgement.doors]


def test_an_open_proxy_that_lets_no_mail_through_has_no_word_of_mail():
    assert () == judged(proxied(TALKS, planned(1), reached(443))).advisories


@pytest.mark.parametrize("waited_for", ["203.0.113.25", "0.0.0.0", "[2001:db8:113::25]", "[::]"])
def test_a_proxy_that_waits_for_connections_lets_none_of_our_ports_through(waited_for):
    bind = {"door": SOCKS, "probe": "socks5-bind"}

    (finding,) = judged(
        proxied(TALKS, planned(1), reached(0, advisory="RW-2009", destination=waited_for), **bind)
    ).findings
    accepting = judged(proxied(TALKS, planned(1), case(Fact.ACCEPTED, 0, destination=waited_for), **bind))

    assert () == finding.destination_ports
    assert (Reason.NOT_REACHED,) == accepting.reasons


def test_each_door_and_each_weakness_of_it_is_a_finding():
    odd = reached(443, "leading-line-end", advisory="RW-2002")
    judgement = judged(
        proxied(TALKS, planned(2), reached(443), odd),
        proxied(TALKS, planned(1), reached(80, advisory="RW-2008"), door=SOCKS, probe="socks5-connect"),
    )

    assert [(1080, "RW-2008"), (3128, "RW-2001"), (3128, "RW-2002")] == [
        (finding.door.port, finding.advisory) for finding in judgement.findings
    ]


@pytest.mark.parametrize("kind", [ArrivalKind.TCP, ArrivalKind.HTTP, ArrivalKind.UDP])
def test_an_arrival_alone_proves_as_well(kind):
    came_from = Endpoint(ip_address("198.51.100.9"), 4000)
    judgement = judged(
        proxied(TALKS, planned(1), case(Fact.ACCEPTED, 80)),
        arrivals=[arrival("address80", kind, came_from=came_from)],
    )

    assert (Verdict.OPEN, Proof.CANARY_REACHED) == (judgement.verdict, judgement.findings[0].proof)
    assert "198.51.100.9" == judgement.findings[0].exit_address


def test_a_look_up_of_our_name_proves_nothing():
    judgement = judged(
        proxied(TALKS, planned(1), case(Fact.ACCEPTED, 80)),
        arrivals=[arrival("address80", ArrivalKind.DNS)],
    )

    assert (Verdict.ACCEPTING, (Reason.NOT_REACHED,)) == (judgement.verdict, judgement.reasons)
    assert () == judgement.findings[0].destination_ports


def test_a_yes_that_leads_nowhere_is_accepting_and_deceptive_if_the_dead_canary_got_one_too():
    yes = (TALKS, planned(1), case(Fact.ACCEPTED, 80))
    deceptive = judged(proxied(*yes, seen(Fact.DECEPTIVE)))

    assert (Reason.NOT_REACHED,) == judged(proxied(*yes)).reasons
    assert (Reason.DECEPTIVE, Reason.NOT_REACHED) == deceptive.reasons
    assert (Verdict.ACCEPTING, ("RW-2030",)) == (deceptive.verdict, deceptive.advisories)


def test_a_yes_while_our_canaries_are_unproved_says_so():
    judgement = judged(proxied(TALKS, planned(1), case(Fact.ACCEPTED, 80, detail="sink-unproved")))

    assert (Verdict.ACCEPTING, (Reason.SINK_UNPROVED,)) == (judgement.verdict, judgement.reasons)


@pytest.mark.parametrize(
    ("fact", "reason"), [(Fact.FAILED, Reason.CANT_CONNECT), (Fact.UNANSWERED, Reason.TIMEOUT)]
)
def test_a_try_that_failed_or_was_not_answered_leaves_it_open(fact, reason):
    judgement = judged(proxied(TALKS, planned(2), case(Fact.REFUSED, 80), case(fact, 443)))

    assert (Verdict.INCONCLUSIVE, (reason,)) == (judgement.verdict, judgement.reasons)


def test_refusals_of_all_cases_close_and_so_does_a_demand_for_credentials():
    asked = (TALKS, planned(1), case(Fact.REFUSED, 80))
    demanding = judged(proxied(*asked, seen(Fact.AUTH_REQUIRED)))

    assert (Verdict.CLOSED, ()) == (judged(proxied(*asked)).verdict, judged(proxied(*asked)).reasons)
    assert (Verdict.CLOSED, (Reason.AUTH_REQUIRED,)) == (demanding.verdict, demanding.reasons)
    assert "RFC 9110 section 11.7" in {told.reference for told in explain(demanding)}


def test_what_our_own_way_answers_is_not_the_targets():
    ours = reached(80, exit_address=US)

    judgement = judged(proxied(TALKS, planned(1), ours))

    assert (Verdict.INCONCLUSIVE, (Reason.INTERCEPTED,)) == (judgement.verdict, judgement.reasons)
    assert Verdict.OPEN is judged(proxied(TALKS, planned(1), ours, source="")).verdict
    assert Verdict.OPEN is judged(proxied(TALKS, planned(1), ours, source="203.0.113.6")).verdict


@pytest.mark.parametrize("source", ["10.0.0.5", ""], ids=["behind NAT", "unknown"])
def test_nor_what_comes_from_where_our_sink_sees_us(source):
    seen_from = (ip_address("203.0.113.77"), ip_address("203.0.113.78"))
    asked = proxied(TALKS, planned(1), reached(80, exit_address="203.0.113.78"), source=source)

    judgement = judged(replace(asked, seen_from=seen_from))

    assert (Verdict.INCONCLUSIVE, (Reason.INTERCEPTED,)) == (judgement.verdict, judgement.reasons)
    assert Verdict.OPEN is judged(replace(asked, seen_from=seen_from[:1])).verdict


@pytest.mark.parametrize("fact", [Fact.REFUSED, Fact.FAILED, Fact.UNANSWERED])
def test_who_reads_our_words_in_a_log_and_follows_them_proves_nothing(fact):
    """The attempt took 3 s; whoever fetches the address later, and isn't the target, may be anybody."""
    asked = replace(proxied(TALKS, planned(1), case(fact, 80)), began=NOON, seconds=3)
    stranger = Endpoint(ip_address("198.51.100.200"), 4000)

    def judged_with(**more):
        return judged(asked, arrivals=[arrival("address80", ArrivalKind.HTTP, **more)])

    late = judged_with(after=300, came_from=stranger)
    assert (Verdict.INCONCLUSIVE, (Reason.REACHED_LATER,)) == (late.verdict, late.reasons)
    assert Reason.REACHED_LATER in judged_with(after=300, came_from=None).reasons
    assert Verdict.OPEN is judged_with(after=2, came_from=stranger).verdict
    assert Verdict.OPEN is judged_with(after=300, came_from=TARGET).verdict
    both = [arrival("address80", ArrivalKind.HTTP, after=s, came_from=stranger) for s in (2, 300)]
    assert Verdict.OPEN is judged(asked, arrivals=both).verdict


def test_a_yes_that_was_reached_later_from_elsewhere_stays_a_yes():
    asked = replace(proxied(TALKS, planned(1), case(Fact.ACCEPTED, 80)), began=NOON, seconds=3)
    stranger = Endpoint(ip_address("198.51.100.200"), 4000)
    judgement = judged(asked, arrivals=[arrival("address80", ArrivalKind.TCP, after=300, came_from=stranger)])

    assert (Verdict.ACCEPTING, (Reason.NOT_REACHED,)) == (judgement.verdict, judgement.reasons)


def test_mail_proves_no_tunnel():
    asked = proxied(TALKS, planned(1), case(Fact.REFUSED, 80))

    assert Verdict.CLOSED is judged(asked, arrivals=[arrival("address80", ArrivalKind.MAIL)]).verdict


def test_on_this_machine_our_own_address_is_the_targets():
    here = proxied(TALKS, planned(1), reached(80, exit_address="127.0.0.1"), source="127.0.0.1")
    loopback = replace(here, endpoint=Endpoint(ip_address("127.0.0.1"), 3128))
    own = replace(
        proxied(TALKS, planned(1), reached(80, exit_address=US), source=US),
        endpoint=Endpoint(ip_address(US), 3128),
    )

    assert Verdict.OPEN is judged(loopback).verdict
    assert Verdict.OPEN is judged(own).verdict


def test_a_door_that_speaks_what_no_probe_asks_is_absent():
    judgement = judged(proxied(seen(Fact.SPEAKS, detail="other"), probe="recognition"))

    assert Verdict.ABSENT is judgement.verdict


def test_what_a_door_speaks_is_no_answer_to_a_probe():
    judgement = judged(
        proxied(seen(Fact.SPEAKS, detail="http"), probe="recognition"),
        proxied(TALKS, planned(1), case(Fact.REFUSED, 80)),
    )

    assert Verdict.CLOSED is judgement.verdict


def test_a_probe_that_we_could_not_ask_adds_nothing():
    helpless = proxied(planned(0), seen(Fact.NOTE, detail="no name of ours"), probe="sni-proxy")
    closed = proxied(TALKS, planned(1), case(Fact.REFUSED, 80))

    assert Verdict.CLOSED is judged(closed, helpless).verdict
    assert (Verdict.INCONCLUSIVE, (Reason.INCOMPLETE,)) == (
        judged(helpless).verdict,
        judged(helpless).reasons,
    )


class TestSilence:
    """Ports of the plan that are silent at a host which is heard elsewhere are as good as none."""

    SILENT = proxied(status=AttemptStatus.NO_ANSWER, probe="recognition", door=SOCKS)

    def test_silence_at_all_ports_can_not_be_told(self):
        judgement = judged(self.SILENT)

        assert (Verdict.INCONCLUSIVE, (Reason.NO_ANSWER,)) == (judgement.verdict, judgement.reasons)

    def test_silence_beside_a_reset_is_absent(self):
        reset = proxied(status=AttemptStatus.NO_LISTENER, probe="recognition")

        assert (Verdict.ABSENT, ()) == (
            judged(self.SILENT, reset).verdict,
            judged(self.SILENT, reset).reasons,
        )

    def test_a_door_that_nobody_is_at_is_absent_whatever_we_meant_to_ask(self):
        turn = proxied(planned(2), status=AttemptStatus.NO_LISTENER, probe="turn-udp")

        assert (Verdict.ABSENT, ()) == (judged(turn).verdict, judged(turn).reasons)

    def test_silence_beside_mail_is_absent(self):
        mail = attempt(TALKS, planned(1), refused("plain"))

        assert Verdict.ABSENT is judged(self.SILENT, mail).verdict
        assert Verdict.CLOSED is judge(RELAY, [self.SILENT, mail], []).verdict

    @pytest.mark.parametrize("status", [AttemptStatus.BUG, AttemptStatus.INTERRUPTED])
    def test_silence_beside_what_went_wrong_with_us_can_not_be_told(self, status):
        assert Verdict.INCONCLUSIVE is judged(self.SILENT, attempt(status=status)).verdict
        assert Verdict.ABSENT is judged(self.SILENT, attempt(TALKS, status=status)).verdict

    def test_silence_beside_a_closed_proxy_is_closed(self):
        closed = proxied(TALKS, planned(1), case(Fact.REFUSED, 80))

        assert Verdict.CLOSED is judged(self.SILENT, closed).verdict

    def test_silence_in_an_open_connection_is_more_than_silence(self):
        mute = proxied(status=AttemptStatus.TIMEOUT, door=SQUID)

        assert (Verdict.INCONCLUSIVE, (Reason.TIMEOUT,)) == (
            judged(self.SILENT, mute).verdict,
            judged(self.SILENT, mute).reasons,
        )


class TestChains:
    """Through an open proxy to a mail server that trusts it."""

    VIA = Door(25, Transport.PLAIN, Family.IPV4, via="http-connect", through="3128 to 127.0.0.1")

    def test_a_relay_behind_a_proxy_is_told_by_the_way_there(self):
        chained = attempt(
            TALKS, planned(1), seen(Fact.QUEUED, "plain", advisory="RW-1001", token="to"), door=self.VIA
        )
        direct = attempt(TALKS, planned(1), refused("plain"))

        judgement = judge(RELAY, [direct, chained], [arrival("to", came_from=TARGET)])

        (finding,) = judgement.findings
        assert (Verdict.OPEN, "RW-2020", "http-connect", Proof.DELIVERED) == (
            judgement.verdict,
            finding.advisory,
            finding.via,
            finding.proof,
        )

    def test_a_closed_chain_does_not_speak_for_doors_that_are_silent(self):
        chained = attempt(TALKS, planned(1), refused("plain"), door=self.VIA)
        silent = attempt(door=Door(587, Transport.PLAIN, Family.IPV4), status=AttemptStatus.NO_ANSWER)

        assert Verdict.INCONCLUSIVE is judge(RELAY, [chained, silent], []).verdict


@given(...)
def test_findings_of_proxies_stand_in_one_order(backwards: bool):
    attempts = [
        proxied(TALKS, planned(1), reached(443)),
        proxied(TALKS, planned(1), reached(80, advisory="RW-2005"), probe="http-forward"),
    ]

    assert judged(*attempts) == judged(*(reversed(attempts) if backwards else attempts))


class TestFallenSilent:
    """Where a port was heard at one time and is silent at another, we are blocked, and silence says nothing."""

    SILENT = proxied(status=AttemptStatus.NO_ANSWER, probe="recognition", door=SOCKS)
    HEARD = proxied(seen(Fact.SPEAKS, detail="other"), probe="recognition")
    LOST = proxied(planned(0), status=AttemptStatus.NO_ANSWER, probe="presence")
    STILL_THERE = proxied(planned(0), probe="presence")
    BLOCKED = (Verdict.INCONCLUSIVE, (Reason.CLIENT_BLOCKED,))

    @staticmethod
    def told(*attempts):
        judgement = judged(*attempts)
        return judgement.verdict, judgement.reasons

    def test_silent_doors_are_blocked_ones(self):
        assert self.BLOCKED == self.told(self.SILENT, self.HEARD, self.LOST)
        assert self.BLOCKED == self.told(self.LOST, self.SILENT, self.HEARD)

    def test_who_is_heard_again_has_not_blocked_us(self):
        assert (Verdict.ABSENT, ()) == self.told(self.SILENT, self.HEARD, self.STILL_THERE)

    def test_a_loss_alone_makes_no_silence_of_doors_that_answered(self):
        assert (Verdict.ABSENT, ()) == self.told(self.HEARD, self.LOST)

    def test_a_door_that_fell_silent_between_its_cases_is_no_absent_one(self):
        lost = proxied(TALKS, planned(2), case(Fact.REFUSED, 80), status=AttemptStatus.NO_ANSWER)

        assert self.BLOCKED == self.told(lost)

    def test_what_we_meant_to_ask_is_nothing_heard(self):
        lost = proxied(planned(2), status=AttemptStatus.NO_ANSWER)

        assert (Verdict.INCONCLUSIVE, (Reason.INCOMPLETE, Reason.NO_ANSWER)) == self.told(lost)

    def test_silence_to_a_probe_that_is_tried_unheard_is_as_good_as_nobody(self):
        quic = proxied(
            planned(2), status=AttemptStatus.NO_ANSWER, door=replace(SQUID, transport=Transport.QUIC)
        )

        assert (Verdict.ABSENT, ()) == self.told(quic, self.HEARD)

    def test_an_open_door_is_open(self):
        reached_one = proxied(TALKS, planned(1), reached(443), door=replace(SQUID, port=8080))

        assert (Verdict.OPEN, ()) == self.told(self.SILENT, self.HEARD, self.LOST, reached_one)

    def test_a_mail_port_that_fell_silent_tells_too(self):
        mail = attempt(TALKS, planned(1), refused("plain"))
        lost = attempt(status=AttemptStatus.NO_ANSWER)

        assert self.BLOCKED == self.told(self.SILENT, mail, lost)

    @pytest.mark.parametrize(
        "elsewhere",
        [
            replace(SQUID, transport=Transport.QUIC),
            replace(SQUID, via="http-connect", through="3128 to 127.0.0.1"),
        ],
    )
    def test_neither_datagrams_nor_what_is_behind_a_proxy_tell_of_us(self, elsewhere):
        lost = replace(self.LOST, door=elsewhere)

        assert frozenset() == families_that_fell_silent([self.SILENT, self.HEARD, lost])
        assert {Family.IPV4} == families_that_fell_silent([self.SILENT, self.HEARD, self.LOST])

    def test_families_are_apart(self):
        silent_6 = replace(self.SILENT, door=replace(SOCKS, family=Family.IPV6))

        assert (Verdict.ABSENT, ()) == self.told(silent_6, self.HEARD, self.LOST)


class TestToAskAgain:
    """One that was heard, if silence came after it."""

    HERE = ip_address("192.0.2.7")

    @staticmethod
    def at(second, port, status=AttemptStatus.COMPLETED, **more):
        began = NOON + timedelta(seconds=second)
        return proxied(door=replace(SQUID, port=port), status=status, **({"began": began} | more))

    def test_the_first_that_was_heard(self):
        silent = self.at(9, 1080, AttemptStatus.NO_ANSWER)
        first = self.at(2, 23, AttemptStatus.NO_LISTENER)

        assert first is to_ask_again([silent, self.at(3, 80), first, self.at(4, 443)], self.HERE)
        assert None is to_ask_again([silent, first], ip_address("192.0.2.8"))

    @pytest.mark.parametrize(
        "attempts",
        [
            [],
            [at(1, 80)],
            [at(1, 80, AttemptStatus.UNREACHABLE)],
            [at(1, 80, AttemptStatus.NO_ANSWER), at(2, 443)],
            [at(1, 80), at(2, 443, AttemptStatus.INTERRUPTED)],
            [at(1, 80), at(2, 443, AttemptStatus.NO_ANSWER, began=None)],
        ],
    )
    def test_nobody_where_no_silence_came_after(self, attempts):
        assert None is to_ask_again(attempts, self.HERE)


def test_at_an_open_port_the_software_of_other_ports_says_nothing():
    ssh = replace(SQUID, port=22)
    names = [seen(Fact.SOFTWARE, detail="openssh 9.2p1")] * 3

    assert (
        "squid 5.7"
        == judged(
            proxied(TALKS, planned(1), seen(Fact.SOFTWARE, detail="squid 5.7"), reached(443)),
            proxied(*names, door=ssh),
        ).software
    )
    assert judged(proxied(TALKS, planned(1), reached(443)), proxied(*names, door=ssh)).software is None
    assert "openssh 9.2p1" == judged(proxied(*names, door=ssh)).software
