"""The course of a door; what it says in all its forms stands in tests/transcripts/http-connect."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import PROXY_BRIEF
from tests.scripted import OctetServer, play

from relaywatch.model.canary import canary_answer
from relaywatch.model.errors import (
    ConnectRefusedError,
    InterruptedRunError,
    PeerClosedError,
    ReadTimeoutError,
    RemoteProtocolError,
)
from relaywatch.model.evidence import Fact
from relaywatch.model.places import Family, Transport, parse_address
from relaywatch.script.asking import CanaryKind
from relaywatch.script.brief import CanaryPlaces, Depth
from relaywatch.script.tunnels import (
    Answer,
    Opening,
    Way,
    dead_destination,
    destinations,
    open_link,
    survey,
)

V4, V6 = PROXY_BRIEF.canaries.addresses
PLACES = PROXY_BRIEF.canaries
ALONE = replace(PROXY_BRIEF, canaries=replace(PLACES, ports=(443,), smtp_ports=()))
TWO = replace(PROXY_BRIEF, canaries=replace(PLACES, ports=(443, 80), smtp_ports=()))
AT_IPV6 = replace(PROXY_BRIEF, door=replace(PROXY_BRIEF.door, family=Family.IPV6))


def way(ask=None, **given):
    return Way(
        **{"name": "way", "advisory": "RW-2001", "ask": ask or answers(Opening(answer=Answer.NO)), **given}
    )


def answers(*openings):
    """Asking gets these answers in turn, the last again and again; an error is raised."""
    rest = list(openings)

    async def ask(link, _brief, destination, _token):
        said = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(said, Exception):
            raise said
        return replace(said, command=f"ask {destination}")

    return ask


def perform(*ways, brief=ALONE, said=lambda _said: b"", arrive=lambda _tokens: None):
    """Survey the ways at a server that answers what is written so."""
    waited = []

    def arrived(tokens):
        waited.extend(tokens)
        return arrive(tokens)

    result = []

    async def script(link, brief):
        result.append(await survey(link, brief, ways))

    server = OctetServer(lambda _op: said, arrived)
    observations, error = play(script, brief, server)
    return observations, error, result, waited


def facts(observations):
    return [(seen.fact, seen.case) for seen in observations if seen.fact is not Fact.PLANNED]


class TestDestinations:
    @staticmethod
    def ports(places, **given):
        brief = replace(PROXY_BRIEF, canaries=replace(PLACES, **places))
        return [where.port for where in destinations(brief, way(**given))]

    def test_three_ports_then_mail_then_the_rest(self):
        places = {"ports": (40025, 443, 80, 6667), "smtp_ports": (25, 587)}

        assert [40025, 443, 80, 25, 587, 6667] == self.ports(places)
        assert [40025, 443, 80, 6667] == self.ports(places, takes_smtp=False)

    def test_what_waits_there(self):
        kinds = {where.port: where.kind for where in destinations(PROXY_BRIEF, way())}

        assert {
            40025: CanaryKind.WORDS,
            443: CanaryKind.WORDS,
            80: CanaryKind.WORDS,
            25: CanaryKind.SMTP,
        } == kinds

    def test_datagrams_have_one_port(self):
        assert [40026] == self.ports({}, kind=CanaryKind.DATAGRAMS)
        assert [] == self.ports({"udp_port": None}, kind=CanaryKind.DATAGRAMS)

    @pytest.mark.parametrize(
        ("name", "zone", "asked"),
        [("a.example", "z.example", "a.example"), (None, "z.example", "z.example"), (None, None, None)],
    )
    def test_names(self, name, zone, asked):
        brief = replace(ALONE, canaries=replace(ALONE.canaries, name=name, zone=zone))

        assert ([asked] if asked else []) == [where.name for where in destinations(brief, way(by_name=True))]

    @pytest.mark.parametrize(
        ("door", "addresses", "to", "asked"),
        [
            (Family.IPV4, (V4, V6), None, V4),
            (Family.IPV6, (V4, V6), None, V6),
            (Family.IPV6, (V4,), None, V4),
            (Family.IPV4, (V6,), None, V6),
            (Family.IPV4, (V4, V6), Family.IPV6, V6),
            (Family.IPV6, (V4, V6), Family.IPV4, V4),
            (Family.IPV4, (V4, V6), Family.IPV4, None),
            (Family.IPV6, (V4,), Family.IPV4, None),
            (Family.IPV4, (V4,), Family.IPV6, None),
            (Family.IPV4, (), None, None),
        ],
    )
    def test_families(self, door, addresses, to, asked):
        """No way asks for what another asks for already, and none is lost where we have one family alone."""
        brief = replace(
            ALONE,
            door=replace(ALONE.door, family=door),
            canaries=replace(ALONE.canaries, addresses=addresses),
        )
        dead = dead_destination(brief, way(to=to))

        assert ([asked] if asked else []) == [where.address for where in destinations(brief, way(to=to))]
        assert asked == (dead and dead.address)


class TestTheDeadCanary:
    def test_nothing_listens_there(self):
        dead = dead_destination(PROXY_BRIEF, way())

        assert ("203.0.113.25:9", CanaryKind.NOTHING) == (str(dead), dead.kind)

    def test_by_name_it_is_one_that_cant_exist(self):
        dead = dead_destination(PROXY_BRIEF, way(by_name=True))

        assert f"{PROXY_BRIEF.mint.random_local_part('dead')}.invalid" == dead.name

    def test_of_datagrams_there_is_none_nor_without_a_port(self):
        assert dead_destination(PROXY_BRIEF, way(kind=CanaryKind.DATAGRAMS)) is None
        assert dead_destination(replace(PROXY_BRIEF, canaries=replace(PLACES, dead_port=None)), way()) is None


class TestOpening:
    @pytest.mark.parametrize(
        ("transport", "writes"),
        [
            (Transport.PLAIN, ["connect"]),
            (Transport.TLS, ["connect", "tls"]),
            (Transport.UDP, []),
            (Transport.QUIC, []),
        ],
    )
    def test_as_the_door_wants_it(self, transport, writes):
        seen = []

        class Server(OctetServer):
            def connect(self, op):
                seen.append("connect")
                super().connect(op)

            def start_tls(self, op):
                seen.append("tls")
                assert (op.server_name, op.alpn) == ("a.example", ("h2",))
                return super().start_tls(op)

        async def script(link, brief):
            await open_link(link, brief, alpn=("h2",))

        brief = replace(
            PROXY_BRIEF, door=replace(PROXY_BRIEF.door, transport=transport), target_names=("a.example",)
        )

        assert ([], None) == play(script, brief, Server(lambda _op: lambda _said: b""))
        assert writes == seen


class TestWithoutACanary:
    def test_nothing_is_planned_and_that_is_said(self):
        brief = replace(PROXY_BRIEF, canaries=CanaryPlaces())
        observations, error, result, _ = perform(way(), brief=brief)

        assert (None, [False]) == (error, result)
        assert [(Fact.PLANNED, 0), (Fact.NOTE, 0)] == [(seen.fact, seen.count) for seen in observations]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "came"),
        [
            (Answer.NO, [(Fact.REFUSED, "way-443")]),
            (Answer.FAILED, [(Fact.FAILED, "way-443")]),
            (Answer.CREDENTIALS, [(Fact.REFUSED, "way-443"), (Fact.AUTH_REQUIRED, "")]),
            (Answer.TOO_MANY, [(Fact.DEFERRED, "way-443"), (Fact.RATE_LIMITED, "")]),
            (Answer.PAGE, [(Fact.REFUSED, "way-443"), (Fact.NOTE, "")]),
        ],
    )
    def test_what_each_comes_to(self, answer, came):
        observations, error, result, _ = perform(way(answers(Opening(answer=answer, reply="words"))))

        assert (None, [False]) == (error, result)
        assert [(Fact.TALKS, ""), *came] == facts(observations)
        case = observations[2]
        assert ("RW-2001", "203.0.113.25:443") == (case.advisory, case.destination)
        assert ("words", "ask 203.0.113.25:443", ALONE.token("way-443")) == (
            case.reply,
            case.command,
            case.token,
        )

    def test_other_words_than_the_protocols_at_once(self):
        observations, error, _, _ = perform(way(answers(Opening(answer=Answer.FOREIGN))), brief=TWO)

        assert error is None
        assert [(Fact.NOT_THIS_PROTOCOL, "")] == facts(observations)

    @pytest.mark.parametrize(
        "later", [Opening(answer=Answer.FOREIGN), RemoteProtocolError("rubbish"), PeerClosedError("gone")]
    )
    def test_other_words_later_are_a_refusal(self, later):
        observations, _, _, _ = perform(way(answers(Opening(answer=Answer.NO), later)), brief=TWO)

        assert [(Fact.TALKS, ""), (Fact.REFUSED, "way-443"), (Fact.REFUSED, "way-80")] == facts(observations)


class TestBeforeItEverTalks:
    """A first question that isn't answered tells little: many a proxy reaches one of our ports alone."""

    SILENCE, GONE = ReadTimeoutError("silence"), PeerClosedError("gone")
    NO = Opening(answer=Answer.NO)

    @pytest.mark.parametrize(
        ("first", "fact", "detail"), [(SILENCE, Fact.UNANSWERED, ""), (GONE, Fact.REFUSED, "gone")]
    )
    def test_the_next_port_may_be_answered(self, first, fact, detail):
        observations, error, _, _ = perform(way(answers(first, self.NO)), brief=TWO)

        assert error is None
        assert [(Fact.TALKS, ""), (fact, "way-443"), (Fact.REFUSED, "way-80")] == facts(observations)
        assert detail == observations[2].detail

    @pytest.mark.parametrize("said", [(SILENCE,), (SILENCE, GONE), (GONE, SILENCE)])
    def test_silence_at_every_port_ends_it(self, said):
        observations, error, _, _ = perform(way(answers(*said)), way(name="other"), brief=TWO)

        assert error is self.SILENCE
        assert [] == facts(observations)

    def test_hanging_up_at_every_port_is_no_word_of_the_protocol(self):
        observations, error, _, _ = perform(way(answers(self.GONE)), way(name="other"), brief=TWO)

        assert error is None
        assert [(Fact.NOT_THIS_PROTOCOL, "")] == facts(observations)

    def test_silence_and_then_foreign_words(self):
        observations, error, _, _ = perform(
            way(answers(self.SILENCE, Opening(answer=Answer.FOREIGN))), brief=TWO
        )

        assert error is None
        assert [(Fact.NOT_THIS_PROTOCOL, "")] == facts(observations)

    def test_no_connection_ends_it(self):
        async def script(link, brief):
            await survey(link, brief, [way()], opener=refusing)

        async def refusing(_link, _brief):
            raise ConnectRefusedError("refused")

        observations, error = play(script, ALONE, OctetServer(lambda _op: lambda _said: b""))

        assert isinstance(error, ConnectRefusedError)
        assert [] == facts(observations)


class TestYes:
    @staticmethod
    def heard(text):
        return answers(Opening(answer=Answer.YES, reply="yes", heard=text))

    ANSWER = canary_answer(PROXY_BRIEF.mint.key, PROXY_BRIEF.token("way-443"), parse_address("192.0.2.8"))
    ANSWER_80 = canary_answer(PROXY_BRIEF.mint.key, PROXY_BRIEF.token("way-80"), parse_address("192.0.2.8"))

    def test_our_canary_was_reached_where_the_request_carried_the_words(self):
        observations, _, result, waited = perform(way(self.heard(self.ANSWER)), way(name="other"))

        assert ([True], []) == (result, waited)
        assert [(Fact.TALKS, ""), (Fact.CANARY_REACHED, "way-443")] == facts(observations)
        assert "192.0.2.8" == observations[2].exit_address

    def test_at_the_greatest_depth_it_goes_on(self):
        brief = replace(ALONE, depth=Depth.EXHAUSTIVE)
        observations, _, result, _ = perform(way(self.heard(self.ANSWER)), way(name="other"), brief=brief)

        assert [True] == result
        assert (Fact.REFUSED, "other-443") in facts(observations)

    @pytest.mark.parametrize(("depth", "count"), [(Depth.STANDARD, 1), (Depth.EXHAUSTIVE, 3)])
    def test_as_many_ports_are_planned_as_are_asked_of_a_door_that_says_no(self, depth, count):
        places = replace(ALONE.canaries, ports=(443, 80, 23))
        brief = replace(ALONE, depth=depth, canaries=places)
        observations, _, _, _ = perform(way(ports=1), brief=brief)

        assert [count] == [seen.count for seen in observations if seen.fact is Fact.PLANNED]
        assert count == sum(seen.fact is Fact.REFUSED for seen in observations)

    def test_the_dead_canary_is_asked_for_and_after_a_yes_to_that_nothing_is_waited_for(self):
        observations, _, _, waited = perform(way(self.heard("")))

        assert [] == waited
        assert [(Fact.TALKS, ""), (Fact.ACCEPTED, "way-443"), (Fact.DECEPTIVE, "")] == facts(observations)
        assert "203.0.113.25:9" == observations[3].destination

    def test_the_dead_canary_is_asked_for_in_the_first_way_that_got_a_yes_and_no_other_way_after_it(self):
        observations, _, _, _ = perform(
            way(), way(self.heard(""), name="named", by_name=True), way(self.heard(""), name="other")
        )

        assert [True] == [
            seen.destination.endswith(".invalid:9") for seen in observations if seen.fact is Fact.DECEPTIVE
        ]
        assert {"way-443", "named-443"} == {seen.case for seen in observations if seen.case}

    def test_a_proxy_that_says_yes_before_it_has_tried_is_found_at_the_port_that_it_lets_through(self):
        canary = canary_answer(PROXY_BRIEF.mint.key, PROXY_BRIEF.token("way-80"), parse_address("192.0.2.8"))
        yes, reached = Opening(answer=Answer.YES), Opening(answer=Answer.YES, heard=canary)
        observations, _, result, _ = perform(way(answers(yes, yes, reached)), brief=TWO)

        assert [True] == result
        assert [Fact.TALKS, Fact.ACCEPTED, Fact.DECEPTIVE, Fact.CANARY_REACHED] == [
            fact for fact, _ in facts(observations)
        ]

    def test_whoever_says_yes_to_nothing_or_gives_a_page_is_heard_less_patiently(self):
        waits = []

        class Deaf:
            async def send(self, _data):
                pass

            async def read_some(self, *, within):
                waits.append(within)
                raise ReadTimeoutError("silence")

        perform(way(answers(Opening(answer=Answer.YES, stream=Deaf()))), brief=TWO)
        perform(way(answers(Opening(answer=Answer.PAGE, stream=Deaf()))))

        assert [ALONE.patience.canary, ALONE.patience.first_words, ALONE.patience.first_words] == waits

    def test_the_dead_canary_is_asked_for_once(self):
        asked = []

        async def ask(_link, _brief, destination, _token):
            asked.append(str(destination))
            return Opening(answer=Answer.NO if destination.kind is CanaryKind.NOTHING else Answer.YES)

        _, _, _, waited = perform(way(), way(ask, name="named", by_name=True), way(ask, name="other"))
        dead = f"{ALONE.mint.random_local_part('dead')}.invalid:9"

        assert [ALONE.token("named-443"), ALONE.token("other-443")] == waited
        assert ["canary.sink.example:443", dead, "203.0.113.25:443"] == asked

    def test_a_yes_that_led_nowhere_is_awaited_at_the_sink(self):
        _, _, _, waited = perform(way(answers(Opening(answer=Answer.YES), Opening(answer=Answer.NO))))

        assert [ALONE.token("way-443")] == waited

    @pytest.mark.parametrize(
        "dead",
        [
            Opening(answer=Answer.NO),
            PeerClosedError("gone"),
            ReadTimeoutError("silence"),
            RemoteProtocolError("x"),
        ],
    )
    def test_a_dead_canary_that_gets_no_yes(self, dead):
        observations, error, _, waited = perform(way(answers(Opening(answer=Answer.YES), dead)))

        assert (None, 1) == (error, len(waited))
        assert [(Fact.TALKS, ""), (Fact.ACCEPTED, "way-443")] == facts(observations)

    def test_once_reached_yeses_that_led_nowhere_are_of_no_interest(self):
        heard = answers(Opening(answer=Answer.YES, heard=self.ANSWER), Opening(answer=Answer.YES))
        observations, _, result, waited = perform(way(heard), brief=TWO)

        assert ([True], []) == (result, waited)
        assert [(Fact.TALKS, ""), (Fact.CANARY_REACHED, "way-443"), (Fact.ACCEPTED, "way-80")] == facts(
            observations
        )

    def test_where_our_sink_is_unproved_that_is_said(self):
        brief = replace(ALONE, canaries=replace(ALONE.canaries, is_proved=False))
        observations, _, _, _ = perform(way(self.heard("")), brief=brief)

        assert "sink-unproved" == observations[2].detail

    @pytest.mark.parametrize("page", ["HTTP/1.1 400 Bad", "\n<!DOCTYPE html>", "<HTML>"])
    def test_a_page_is_no_tunnel(self, page):
        observations, _, _, waited = perform(way(self.heard(page)))

        assert [] == waited
        assert [(Fact.TALKS, ""), (Fact.REFUSED, "way-443"), (Fact.NOTE, "")] == facts(observations)
        assert ("page", "RW-2031") == (observations[2].detail, observations[3].advisory)

    def test_other_words_are_shown_and_cut(self):
        observations, _, _, _ = perform(way(self.heard("x" * 1000)))

        assert (Fact.NOTE, "way-443", "x" * 300) == (
            observations[3].fact,
            observations[3].case,
            observations[3].reply,
        )


class Broken:
    """A tunnel that breaks when words are said to it."""

    def __init__(self, error):
        self.error = error

    async def send(self, _data):
        raise self.error

    async def read_some(self, *, within):
        raise self.error


class TestTunnelsThatBreak:
    @pytest.mark.parametrize(
        "error", [PeerClosedError("gone"), ConnectRefusedError("icmp"), RemoteProtocolError("x")]
    )
    def test_the_yes_stays_and_our_own_words_are_not_taken_for_the_targets(self, error):
        ask = answers(Opening(answer=Answer.YES, stream=Broken(error)), Opening(answer=Answer.NO))
        observations, failure, _, _ = perform(way(ask), brief=TWO)

        assert failure is None
        assert [(Fact.TALKS, ""), (Fact.ACCEPTED, "way-443"), (Fact.REFUSED, "way-80")] == facts(observations)

    @pytest.mark.parametrize(
        ("answer", "came"), [(Answer.YES, [(Fact.ACCEPTED, "way-443")]), (Answer.PAGE, [])]
    )
    def test_when_we_are_told_to_stop_a_yes_is_kept(self, answer, came):
        stop = InterruptedRunError("stop")
        observations, failure, _, _ = perform(way(answers(Opening(answer=answer, stream=Broken(stop)))))

        assert failure is stop
        assert [(Fact.TALKS, ""), *came] == facts(observations)


class TestReleasing:
    @pytest.mark.parametrize("answer", [Answer.YES, Answer.NO])
    @pytest.mark.parametrize("error", [None, PeerClosedError("gone")])
    def test_what_the_target_holds_is_given_back_each_time(self, answer, error):
        released = []

        async def release():
            released.append(answer)
            if error is not None:
                raise error

        _, failure, _, _ = perform(way(answers(Opening(answer=answer, release=release))), brief=TWO)

        assert failure is None
        assert [answer] * (3 if answer is Answer.YES else 2) == released  # the dead canary's too


PEER = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.text(max_size=80).map(str.encode),
        st.builds(
            "relaywatch {} {}\r\n".format,
            st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16),
            st.ip_addresses(),
        ).map(str.encode),
        st.just(TestYes.ANSWER.encode()[:-1]),
        st.just(None),
    )
)


@given(PEER, st.sampled_from([*Answer]))
def test_no_words_of_a_peers_reach_our_canary_without_the_key(said, answer):
    """Whatever it says, in whatever order; ``None`` says our own words back."""
    rest, last = list(said), [b""]

    class Peer:
        async def send(self, data):
            last[0] = data

        async def read_some(self, *, within):
            piece = rest.pop(0) if rest else b""
            return last[0] if piece is None else piece

    ask = answers(Opening(answer=answer, stream=Peer(), reply="yes"))
    observations, error, result, _ = perform(way(ask), brief=PROXY_BRIEF)

    assert (None, [False]) == (error, result)
    assert Fact.CANARY_REACHED not in {seen.fact for seen in observations}
