from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import BRIEF

from relaywatch.model.places import Door, Endpoint, Transport, parse_address
from relaywatch.model.tokens import TOKEN_PATTERN
from relaywatch.probes.smtp_relay.cases import Case, Names, expand, gather_names, write
from relaywatch.probes.smtp_relay.forms import FORWARD_PATHS, HELO_FORMS, REVERSE_PATHS
from relaywatch.script.brief import SinkNames
from relaywatch.script.smtp import Helo
from relaywatch.wire.smtp import encode_command

FORWARD = {row.name: row for row in FORWARD_PATHS}
REVERSE = {row.name: row for row in REVERSE_PATHS}
HELO = {row.name: row for row in HELO_FORMS}
SINK = SinkNames(
    domain="sink.test",
    addresses=(parse_address("198.51.100.9"), parse_address("2001:db8::9")),
    second_domain="second.test",
    mx_pointing_domain="pointing.test",
)
KNOWING = replace(BRIEF, sink=SINK, target_names=("mail.example.test",), local_domains=("example.test",))
NAMES = gather_names(KNOWING)


def case(forward="plain", reverse="ours", helo="own", **names):
    return Case(FORWARD[forward], REVERSE[reverse], HELO[helo], **names)


class TestNames:
    @pytest.mark.parametrize(
        ("one", "name"),
        [
            (case(), "plain"),
            (case("percent-hack"), "percent-hack"),
            (case(reverse="null"), "plain+from-null"),
            (case(helo="localhost"), "plain+helo-localhost"),
            (case("percent-hack", "null"), "percent-hack+from-null"),
            (case("quoted", "null", "helo"), "quoted+from-null+helo-helo"),
            (case("percent-hack", t="mx.test", is_alternate=True), "percent-hack+for-mx.test"),
            (
                case("mixed-bang-at", "target-name", t="mx.test", l="a.test", is_alternate=True),
                "mixed-bang-at+from-target-name+for-mx.test-a.test",
            ),
        ],
    )
    def test_stable_names(self, one, name):
        assert name == one.name

    @pytest.mark.parametrize(
        ("one", "advisory"),
        [
            (case(), "RW-1001"),
            (case("percent-hack"), "RW-1005"),
            (case("percent-hack", "null", "localhost"), "RW-1005"),
            (case(reverse="null"), "RW-1003"),
            (case(reverse="null", helo="localhost"), "RW-1003"),
            (case(helo="localhost"), "RW-1004"),
            (case(reverse="second-domain", helo="localhost"), "RW-1004"),
            (case(reverse="second-domain"), "RW-1001"),
            (case(helo="helo"), "RW-1017"),
        ],
    )
    def test_the_most_particular_form_names_the_advisory(self, one, advisory):
        assert advisory == one.advisory

    @pytest.mark.parametrize(
        ("one", "strains"),
        [
            (case(), False),
            (case("no-brackets"), True),
            (case(reverse="literal"), True),
            (case(reverse="no-brackets"), True),
            (case(reverse="space-after-colon"), True),
            (case(reverse="unqualified"), False),
            (case(helo="target-literal"), False),
        ],
    )
    def test_what_strains_syntax(self, one, strains):
        assert strains == one.strains_syntax


class TestGathering:
    def test_all_that_the_brief_knows(self):
        assert ("mail.example.test",) == NAMES.targets
        assert ("example.test",) == NAMES.hosted
        assert {
            "d": "sink.test", "n": "sink.test", "d_encapsulated": "sink+2etest", "d2": "second.test",
            "x": "pointing.test", "i": "[192.0.2.7]", "literal": "[198.51.100.9]", "number": "198.51.100.9",
            "ehlo_name": "probe.test",
        } == dict(NAMES.fields)  # fmt: skip

    def test_every_form_can_be_written_then(self):
        rows = (*FORWARD_PATHS, *REVERSE_PATHS, *HELO_FORMS)

        assert [] == [row.name for row in rows if not row.fields <= NAMES.known()]

    def test_nothing_but_the_sink_and_the_address_is_known_of_a_stranger(self):
        assert {"p", "r", "d", "n", "d_encapsulated", "i", "literal", "number", "ehlo_name"} == set(
            gather_names(BRIEF).known()
        )

    def test_what_the_server_says_of_itself_comes_after_what_we_know_and_its_parent_is_a_guess(self):
        names = gather_names(BRIEF, ["MX.Example.TEST.", "mx.example.test", "other.test"])

        assert ("mx.example.test", "other.test") == names.targets
        assert ("example.test",) == names.hosted

    def test_two_names_are_enough(self):
        brief = replace(BRIEF, target_names=("a.one.test", "b.two.test", "c.three.test"))
        names = gather_names(brief)

        assert ("a.one.test", "b.two.test") == names.targets
        assert ("one.test", "two.test") == names.hosted

    def test_domains_that_the_brief_names_are_all_asked(self):
        domains = tuple(f"d{number}.test" for number in range(5))
        brief = replace(BRIEF, local_domains=domains, target_names=("mail.example.test",))

        assert domains == gather_names(brief).hosted

    def test_a_mailbox_at_a_literal(self):
        """Without a domain of ours, forms that need a name aren't written."""
        names = gather_names(
            replace(BRIEF, sink=SinkNames(domain="[198.51.100.9]", addresses=SINK.addresses))
        )

        assert "[198.51.100.9]" == names.fields["d"]
        assert not {"n", "d_encapsulated", "literal", "number"} & names.known()

    def test_a_target_with_ipv6_is_given_a_literal_of_its_family(self):
        endpoint = Endpoint(parse_address("2001:db8::7"), 25)
        door = Door(25, Transport.PLAIN, endpoint.family)
        names = gather_names(replace(KNOWING, endpoint=endpoint, door=door))

        assert "[IPv6:2001:db8::9]" == names.fields["literal"]
        assert "[IPv6:2001:db8::7]" == names.fields["i"]
        assert "number" not in names.fields

    def test_a_sink_that_a_target_cant_reach_by_its_literal(self):
        names = gather_names(replace(BRIEF, sink=replace(SINK, addresses=(parse_address("2001:db8::9"),))))

        assert "literal" not in names.fields


class TestExpanding:
    NAMES = Names(("a.test", "b.test"), ("x.test", "y.test"), NAMES.fields)

    def test_a_form_without_names_comes_once(self):
        assert [case()] == list(expand(case(), self.NAMES))

    def test_once_for_each_name_that_it_uses(self):
        assert ["percent-hack", "percent-hack+for-b.test"] == [
            one.name for one in expand(case("percent-hack"), self.NAMES)
        ]
        assert ["double-at-hosted", "double-at-hosted+for-y.test"] == [
            one.name for one in expand(case("double-at-hosted"), self.NAMES)
        ]

    def test_once_for_each_pair(self):
        expanded = list(expand(case("double-at-hosted", "target-name"), self.NAMES))

        assert [("a.test", "x.test"), ("a.test", "y.test"), ("b.test", "x.test"), ("b.test", "y.test")] == [
            (one.t, one.l) for one in expanded
        ]
        assert [False, True, True, True] == [one.is_alternate for one in expanded]

    @pytest.mark.parametrize("one", [case("percent-hack"), case(reverse="hosted"), case(helo="target-name")])
    def test_what_cant_be_written_comes_never(self, one):
        assert [] == list(expand(one, gather_names(BRIEF)))


class TestWriting:
    def test_an_envelope(self):
        envelope = write(case(), NAMES, KNOWING)

        assert Helo("EHLO", "probe.test") == envelope.helo
        assert f"<{envelope.return_token}@sink.test>" == envelope.mail
        assert f"<{envelope.token}@sink.test>" == envelope.rcpt
        assert "" == envelope.control
        assert (
            f"EHLO probe.test / MAIL FROM:<{envelope.return_token}@sink.test> / "
            f"RCPT TO:<{envelope.token}@sink.test>"
        ) == envelope.command

    def test_the_same_case_gives_the_same_envelope(self):
        """A greylist must see the same three again."""
        assert write(case(), NAMES, KNOWING) == write(case(), NAMES, KNOWING)

    def test_cases_that_share_a_reverse_path_share_its_canary(self):
        one, other = (write(case(name), NAMES, KNOWING) for name in ("plain", "quoted"))

        assert one.mail == other.mail
        assert one.token != other.token

    @pytest.mark.parametrize("row", REVERSE_PATHS, ids=lambda row: row.name)
    def test_a_canary_goes_only_where_a_bounce_comes_home(self, row):
        one = next(expand(Case(reverse=row), NAMES))
        envelope = write(one, NAMES, KNOWING)

        assert (envelope.return_token is not None) == bool(TOKEN_PATTERN.search(envelope.mail))
        assert (envelope.return_token is not None) == (row.is_ours and row.name != "null")

    @pytest.mark.parametrize(
        ("forward", "control"),
        [
            ("plain", ""),
            ("source-route", ""),
            ("percent-hack", "<{}@mail.example.test>"),
            ("percent-hack-literal", "<{}@[192.0.2.7]>"),
            ("percent-hack-hosted", "<{}@example.test>"),
            ("percent-hack-unqualified", "<{}>"),
            ("quoted", "<{}>"),
            ("quoted-list", "<{}@example.test>"),
            ("bang-path", "<{}>"),
            ("bang-path-two-hops", "<{}>"),
            ("mixed-at-percent", "<{}@example.test>"),
            ("mixed-bang-percent", "<{}>"),
            ("mixed-bang-percent-hosted", "<{}@example.test>"),
            ("mixed-bang-at", ""),
            ("comment", "<{}>"),
        ],
    )
    def test_the_control_ends_where_the_form_does(self, forward, control):
        envelope = write(next(expand(case(forward), NAMES)), NAMES, KNOWING)

        assert control.format(KNOWING.mint.random_local_part("catch-all")) == envelope.control

    def test_parameters_stand_behind_the_path(self):
        envelope = write(case("orcpt-parameter", t="mail.example.test"), NAMES, KNOWING)

        assert re_ends(envelope.rcpt, "> ORCPT=rfc822;", "@mail.example.test")

    @given(st.sampled_from(FORWARD_PATHS), st.sampled_from(REVERSE_PATHS), st.sampled_from(HELO_FORMS))
    def test_every_case_becomes_commands_without_control_characters(self, forward, reverse, helo):
        for one in expand(Case(forward, reverse, helo), NAMES):
            envelope = write(one, NAMES, KNOWING)
            for line in (
                encode_command(envelope.helo.verb, envelope.helo.argument),
                encode_command("MAIL", f"FROM:{envelope.mail}"),
                encode_command("RCPT", f"TO:{envelope.rcpt}"),
            ):
                assert line.endswith(b"\r\n")
                assert line[:-2].isascii()
                assert len(line) <= 512  # RFC 5321 section 4.5.3.1.4
            assert envelope.token in envelope.rcpt


def re_ends(text, middle, end):
    return middle in text and text.endswith(end)
