"""What a conversation needs for proxies: octets, channels, datagrams, our canary's answers, SSH."""

import pytest
from tests.notation import PROXY, PROXY_BRIEF
from tests.playbook import MismatchError, play_conversation, read_conversation
from tests.scripted import OctetServer, Partner, play

from relaywatch.model.canary import canary_words, read_canary_answer
from relaywatch.model.errors import ConnectRefusedError, NotPermittedError, ReadTimeoutError, UnreachableError
from relaywatch.model.evidence import Fact, Observation
from relaywatch.model.places import Endpoint, Family, parse_address
from relaywatch.script import ops
from relaywatch.script.link import DatagramLink

HERE = Endpoint(parse_address("192.0.2.7"), 1234)
CANARY = Endpoint(parse_address("203.0.113.25"), 443)


def perform(text, script, **options):
    play_conversation(read_conversation(text + "= note\n", "octets.txt", PROXY), script, **options)


def noting(script):
    """The script, and a note at its end, so that there is something to expect."""

    async def noted(link, brief):
        await script(link, brief)
        await link.report(Observation(fact=Fact.NOTE))

    return noted


class TestOctets:
    @staticmethod
    def says(octets):
        @noting
        async def script(link, _brief):
            await link.connect()
            await link.send(octets)

        return script

    @pytest.mark.parametrize(
        ("written", "octets"),
        [
            ("05 01 00", b"\x05\x01\x00"),
            ('05 "a b" 00', b"\x05a b\x00"),
            (r'"a\r\n\"\\"', b'a\r\n"\\'),
            ("0501 203.0.113.25 :443", bytes.fromhex("0501cb00711901bb")),
            ("04 2001:db8:113::25 :25", b"\x04" + parse_address("2001:db8:113::25").packed + b"\x00\x19"),
            ("05 .. 00", b"\x05\n\x00"),
            ("05 ... ff", b"\x05 whatever \xff"),
            ("05 ...", b"\x05"),
            ("{token:address-443} 00", PROXY_BRIEF.token("address-443").encode() + b"\x00"),
            ('"<{token:address-443}>"', f"<{PROXY_BRIEF.token('address-443')}>".encode()),
        ],
    )
    def test_as_written(self, written, octets):
        perform(f"* connect\nC< {written}\n", self.says(octets))
        with pytest.raises(MismatchError, match=r"octets.txt:2: the script sends"):
            perform(f"* connect\nC< {written}\n", self.says(b"\x01" + octets))

    @pytest.mark.parametrize("written", ["0g", "5", '"open', "{nothing:x}", ":port", "1.2.3", "{token:a"])
    def test_not_understood(self, written):
        with pytest.raises(MismatchError, match=r"octets.txt:1: not understood"):
            perform(f"C< {written}\n", self.says(b""))

    def test_what_was_sent_comes_back(self):
        @noting
        async def script(link, _brief):
            await link.connect()
            await link.send(b"\x00\x01abcdef")
            assert await link.read_exactly(4) == b"\x01cde"

        perform("* connect\nC< ...\nS< 01 {sent:4+3}\n", script)
        with pytest.raises(AssertionError, match="only 8 octets were sent"):
            perform("* connect\nC< ...\nS< 01 {sent:4+5}\n", script)

    def test_an_empty_line_parts_two_writes(self):
        @noting
        async def script(link, _brief):
            await link.connect()
            await link.send(b"a\r\n")
            await link.send(b"b\r\n")

        perform("* connect\nC: a\n\nC: b\n", script)
        with pytest.raises(MismatchError, match=r"octets.txt:2: the script sends"):
            perform("* connect\nC: a\nC: b\n", script)


class TestCanaries:
    def test_answers_are_our_canarys(self):
        @noting
        async def script(link, brief):
            await link.connect()
            token = brief.token("address-443")
            await link.send(canary_words(token) + b"\r\n")
            said = (await link.read_line(limit=200)).decode()
            assert read_canary_answer(brief.mint.key, token, said) == parse_address("192.0.2.8")

        perform(
            "* connect\nC: relaywatch {token:address-443}\nS: {answer:address-443 from 192.0.2.8}\n", script
        )

    def test_places(self):
        text = (
            "% door 1080 tls\n% canary-addresses 203.0.113.26\n% canary-ports 1 2\n% canary-smtp-ports\n"
            "% canary-udp-port\n% canary-dead-port 7\n% canary-name\n% canary-zone z.example\n"
            "% second-source 198.51.100.77\n= note\n"
        )
        brief = read_conversation(text, given=PROXY).brief
        places = brief.canaries

        assert (1080, "tls") == (brief.door.port, brief.door.transport)
        assert [parse_address("203.0.113.26")] == list(places.addresses)
        assert ((1, 2), (), None, 7) == (
            places.ports,
            places.smtp_ports,
            places.udp_port,
            places.dead_port,
        )
        assert (None, "z.example", parse_address("198.51.100.77")) == (
            places.name,
            places.zone,
            places.second_source(Family.IPV4),
        )
        assert read_conversation("% second-source\n= note", given=PROXY).brief.canaries.second_sources == ()

    @pytest.mark.parametrize(
        ("mark", "kind", "came_from"),
        [
            ("arrival address-443", "tcp", None),
            ("arrival address-443 dns", "dns", None),
            ("arrival address-443 udp from 192.0.2.8", "udp", parse_address("192.0.2.8")),
            ("arrival address-443 from 192.0.2.8", "tcp", parse_address("192.0.2.8")),
        ],
    )
    def test_arrivals(self, mark, kind, came_from):
        @noting
        async def script(link, brief):
            arrival = await link.await_arrival(brief.token("address-443"))
            assert (kind, came_from) == (arrival.kind, arrival.came_from and arrival.came_from.address)

        perform(f"* {mark}\n", script)

    def test_ports_of_the_sink(self):
        @noting
        async def script(_link, brief):
            assert await ops.OpenPort(brief.token("a")) == CANARY
            assert await ops.OpenPort(brief.token("b")) is None

        text = "* port a at 203.0.113.25:443\n* no port\n"
        perform(text, script)
        with pytest.raises(
            MismatchError, match=r"octets.txt:1: the script opens a port at the sink for another"
        ):
            perform(text.replace("port a", "port b"), script)
        with pytest.raises(MismatchError, match=r"octets.txt:1: the script opens a port"):
            perform(text.replace("port a at 203.0.113.25:443", "silence"), script)


class TestChannels:
    @staticmethod
    @noting
    async def twofold(link, _brief):
        other = link.beside(1)
        await link.connect()
        await other.connect(at=HERE, source=parse_address("198.51.100.9"))
        await link.send(b"a\r\n")
        assert await other.read_line(limit=9) == b"b"
        assert await other.read_some(within=1) == b""
        await other.send(b"lost")
        assert await link.read_line(limit=9) == b"c"
        assert await link.has_early_octets() is False
        await other.close()

    TEXT = "* connect\n* connect[1] at 192.0.2.7:1234 from 198.51.100.9\nC: a\nS[1]: b\n* server[1] closes\nS: c\n"

    def test_each_has_its_own_lines(self):
        perform(self.TEXT, self.twofold)
        perform(self.TEXT, self.twofold, chop=iter([1] * 20))

    @pytest.mark.parametrize(
        ("instead_of", "written", "says"),
        [
            ("connect[1] at", "connect at", "octets.txt:2: the script connects at 192.0.2.7:1234 from"),
            ("at 192.0.2.7:1234", "at 192.0.2.7:1235", "octets.txt:2: the script connects at"),
            (" from 198.51.100.9", "", "octets.txt:2: the script connects at"),
            ("connect[1]", "udp[1]", "octets.txt:2: the script connects at"),
            ("C: a", "C[1]: a", r"octets.txt:3: the script sends b'a"),
            ("S[1]: b", "S: b", "octets.txt:4: the script waits for the server on channel 1"),
            ("* server[1] closes", "S: early\n* server[1] closes", "octets.txt:5: the script waits for the"),
        ],
    )
    def test_differences(self, instead_of, written, says):
        with pytest.raises(MismatchError, match=says):
            perform(self.TEXT.replace(instead_of, written, 1), self.twofold)

    @pytest.mark.parametrize(
        ("how", "error"),
        [
            ("refused", ConnectRefusedError),
            ("unreachable", UnreachableError),
            ("not-permitted", NotPermittedError),
        ],
    )
    def test_failures(self, how, error):
        @noting
        async def script(link, _brief):
            with pytest.raises(error):
                await link.beside(1).connect(at=HERE)

        perform(f"* connect[1] at 192.0.2.7:1234 {how}\n", script)

    def test_a_failure_that_ends_the_script(self):
        async def script(link, _brief):
            await link.connect(at=HERE)

        play_conversation(
            read_conversation("* connect at 192.0.2.7:1234 not-permitted\n* ends not-permitted\n"), script
        )

    def test_what_comes_too_much_in_one_piece_need_not_be_heard(self):
        @noting
        async def script(link, _brief):
            await link.connect()
            await link.read_line(limit=9)
            await link.close()

        perform("* connect\nS: a\nS: b\n", script, chop=iter([1] * 9))
        with pytest.raises(MismatchError, match=r"octets.txt:4: the script hung up before it read this"):
            perform("* connect\nS: a\n\nS: b\n", script)


class TestDatagrams:
    @staticmethod
    @noting
    async def asking(_link, _brief):
        link = DatagramLink(1)
        await link.connect()
        await link.send(b"a")
        began = await ops.Now()
        assert await link.read(within=1.5) is None
        assert await link.read(within=1.5) is None
        assert await ops.Now() == began + 3
        assert await link.read(within=1.5) == b"b"
        assert await link.read(within=1.5) == b"c"
        assert began + 3 < await ops.Now() < began + 3.1
        with pytest.raises(ConnectRefusedError):
            await link.read(within=1.5)
        await link.close()

    TEXT = '* udp[1]\nC[1]< "a"\n* silence[1] 3\nS[1]< "b"\n\nS[1]< "c"\n* icmp[1] refused\n'

    def test_as_written(self):
        perform(self.TEXT, self.asking)
        perform(self.TEXT, self.asking, chop=iter([]))  # datagrams aren't chopped
        perform(self.TEXT.replace("silence[1] 3", "silence[1]\n* silence[1]"), self.asking)

    @pytest.mark.parametrize(
        ("instead_of", "written", "says"),
        [
            ("udp[1]", "connect[1]", "octets.txt:1: the script opens a UDP channel on channel 1"),
            ("silence[1] 3", "silence[1] 1.5", "assert b'b' is None"),
            ("\n\nS[1]", "\nS[1]", "assert b'bc' == b'b'"),
            ("icmp[1] refused", "icmp[1] unreachable", "unreachable|UnreachableError"),
        ],
    )
    def test_differences(self, instead_of, written, says):
        with pytest.raises((AssertionError, UnreachableError), match=says) as raised:
            perform(self.TEXT.replace(instead_of, written, 1), self.asking)

        assert raised.value

    def test_a_silence_may_last_longer_than_the_script(self):
        @noting
        async def script(_link, _brief):
            link = DatagramLink()
            await link.connect()
            await link.read(within=1.0)

        perform("* udp\n* silence 3\n", script)
        with pytest.raises(MismatchError, match=r"octets.txt:3: the script ended before this"):
            perform("* udp\n* silence\n* silence\n", script)


class TestTLS:
    @staticmethod
    @noting
    async def greeting(link, _brief):
        await link.connect()
        session = await link.start_tls("a.example", alpn=("h2", "http/1.1"))
        assert session.alpn == "h2"

    def test_name_and_protocol(self):
        perform("* connect\n* tls sni=a.example alpn=h2\n", self.greeting)

    @pytest.mark.parametrize(
        ("mark", "says"), [("sni=b.example alpn=h2", "asks for a.example"), ("alpn=h3", "offers")]
    )
    def test_differences(self, mark, says):
        with pytest.raises(MismatchError, match=f"octets.txt:2: the script {says}"):
            perform(f"* connect\n* tls {mark}\n", self.greeting)


class TestSSH:
    @staticmethod
    def forwarding(expected):
        @noting
        async def script(_link, brief):
            words = canary_words(brief.token("a"))
            came = await ops.ForwardBySSH(username="root", to=CANARY, words=words, within=5)
            assert expected == (
                came.is_admitted,
                came.is_opened,
                came.heard.decode(),
                came.methods,
                came.error,
            )

        return script

    @pytest.mark.parametrize(
        ("mark", "expected"),
        [
            ("", (False, False, "", (), "")),
            ('admitted opened heard="a b"', (True, True, "a b", (), "")),
            ("methods=publickey,password", (False, False, "", ("publickey", "password"), "")),
            (
                'admitted error="administratively prohibited"',
                (True, False, "", (), "administratively prohibited"),
            ),
            ('words="relaywatch {token:a}"', (False, False, "", (), "")),
        ],
    )
    def test_what_came_of_it(self, mark, expected):
        perform(f"* ssh root to 203.0.113.25:443 {mark}".strip() + "\n", self.forwarding(expected))

    @pytest.mark.parametrize(
        "mark",
        [
            "ssh guest to 203.0.113.25:443",
            "ssh root to 203.0.113.25:80",
            'ssh root to 203.0.113.25:443 words="b"',
        ],
    )
    def test_differences(self, mark):
        with pytest.raises(MismatchError, match=r"octets.txt:1: the script asks for forwarding as root"):
            perform(f"* {mark}\n", self.forwarding(None))

    def test_failures(self):
        async def script(_link, _brief):
            await ops.ForwardBySSH(username="root", to=CANARY, words=b"", within=5)

        text = "* ssh root to 203.0.113.25:443 refused\n* ends no-listener\n"
        play_conversation(read_conversation(text), script)


class TestStandingAnswers:
    TEXT = (
        '~< greeting -> "hello\\r\\n"\n~< "CONNECT " -> "403\\r\\n"\n~< "CONNECT 2" -> "200 " {sent:8+1} "\\r\\n"\n'
        "~< 05 -> closes\n~< 06 -> silence\n"
    )

    @staticmethod
    @noting
    async def script(link, _brief):
        for asked, answer in (b"CONNECT 1", b"403"), (b"CONNECT 2", b"200 2"):
            await link.connect()
            assert await link.read_line(limit=9) == b"hello"
            await link.send(asked)
            assert await link.read_line(limit=9) == answer
        await link.send(b"\x06")
        with pytest.raises(ReadTimeoutError):
            await link.read_some(within=1)
        await link.send(b"\x05")
        assert await link.read_some(within=1) == b""
        await link.send(b"lost")

    def test_the_longest_beginning_wins(self):
        perform(self.TEXT, self.script)
        perform(self.TEXT, self.script, chop=iter([1] * 99))

    def test_what_has_none(self):
        with pytest.raises(MismatchError, match=r"octets.txt:1: no standing answer to b'CONNECT 1'"):
            perform(self.TEXT.replace('"CONNECT "', '"GET"'), self.script)

    def test_without_a_greeting_the_server_waits(self):
        @noting
        async def script(link, _brief):
            await link.connect()
            await link.send(b"\x01")
            assert await link.read_some(within=1) == b"\x02"

        perform("~< 01 -> 02\n", script)


class TestPastedCaptures:
    """What ``relaywatch check --transcript`` prints, channels and foreign keys included."""

    TEXT = (
        "--- http-connect 192.0.2.9:3128 plain, completed\n"
        "   0.001 *: connected from 203.0.113.9:40000 to 192.0.2.9:3128\n"
        "   0.001 C: relaywatch " + "a" * 32 + "\n"
        "   0.002 *: on channel 1\n"
        "   0.002 *: datagrams from 203.0.113.9:40001 to 192.0.2.9:3128\n"
        "   0.003 C: hello\n"
        "   0.004 S: hello\n"
        "   0.005 *: on channel 0\n"
        "   0.006 S: relaywatch " + "b" * 16 + " 192.0.2.8\n"
    )

    @staticmethod
    @noting
    async def script(link, brief):
        datagrams, token = DatagramLink(1), brief.token("address-443")
        await link.connect()
        await link.send(canary_words(token) + b"\r\n")
        await datagrams.connect()
        await datagrams.send(b"hello\r\n")
        assert await datagrams.read(within=1) == b"hello\r\n"
        said = (await link.read_line(limit=99)).decode()
        assert read_canary_answer(brief.mint.key, token, said) == parse_address("192.0.2.8")

    def test_an_answer_is_made_ours(self):
        perform(self.TEXT, self.script)

    def test_an_answer_to_a_token_of_ours_stays_as_it_is_written(self):
        ours = self.TEXT.replace("a" * 32, "{token:address-443}")

        with pytest.raises(AssertionError, match="None =="):
            perform(ours, self.script)


class TestOctetServer:
    def test_a_channel_of_datagrams_has_no_greeting(self):
        async def script(_link, _brief):
            link = DatagramLink()
            await link.connect()
            assert await link.read(within=1) is None
            await link.send(b"a")
            assert await link.read(within=1) == b"A"

        server = OctetServer(lambda _op: lambda data: data.upper() or b"hello")

        assert ([], None) == play(script, PROXY_BRIEF, server)
        assert [b"a"] == server.writes


class TestPartner:
    """A partner refuses whatever it isn't made for."""

    @pytest.mark.parametrize(
        "op",
        [
            ops.Connect(),
            ops.Pause(1),
            ops.MaySend(),
            ops.AwaitArrival(()),
            ops.OpenPort(PROXY_BRIEF.token("a")),
            ops.ForwardBySSH(username="root", to=CANARY, words=b"", within=1),
        ],
    )
    def test_it_refuses(self, op):
        async def script(_link, _brief):
            await op

        with pytest.raises(AssertionError, match="not expected"):
            play(script, PROXY_BRIEF, Partner())

    @pytest.mark.parametrize(
        ("op", "says"),
        [
            (ops.Send(b"a"), "not expected: b'a' on 0"),
            (ops.Receive(), "nothing comes on 0"),
            (ops.StartTLS(), "not expected: StartTLS"),
        ],
    )
    def test_it_refuses_on_a_channel(self, op, says):
        class Deaf(Partner):
            def connect(self, op):
                pass

        async def script(_link, _brief):
            assert await ops.Peek() == b""
            await ops.Connect()
            assert await ops.Peek() == b""
            await op

        with pytest.raises(AssertionError, match=says):
            play(script, PROXY_BRIEF, Deaf())

    def test_no_datagram(self):
        class Deaf(Partner):
            def connect(self, op):
                pass

        async def script(_link, _brief):
            link = DatagramLink()
            await link.connect()
            await link.read(within=1)

        with pytest.raises(AssertionError, match="no datagram comes on 0 within 1"):
            play(script, PROXY_BRIEF, Deaf())
