"""Several channels at once, other addresses that the target announced, and other links."""

import time
from ipaddress import ip_address

import pytest

from relaywatch.engine.announced import permitted
from relaywatch.model import errors
from relaywatch.model.evidence import AttemptStatus, Direction, Fact, Observation
from relaywatch.model.places import Endpoint
from relaywatch.script import ops
from relaywatch.script.link import Link

from .conftest import Run
from .hostile import deaf, nobody, reset, saying, serving, serving_each, silent
from .scripts import greet

OTHER = ip_address("127.0.0.2")


def saying_whence(connection, over):
    """Tell callers their own address, and nothing more until they close."""
    connection.sendall(f"{connection.getpeername()[0]}\n".encode())
    connection.recv(1)


class TestChannels:
    def test_each_has_its_own_octets_errors_and_end(self, attempt):
        heard = []

        async def script(link, brief):
            beside = link.beside(1)
            await link.connect()
            await beside.connect(at=Endpoint(brief.endpoint.address, other.port))
            heard.append(await beside.read_line(limit=100))
            heard.append(await link.read_line(limit=100))
            await beside.send(b"x\n")
            with pytest.raises(errors.PeerClosedError):
                await beside.read_line(limit=100)
            await beside.close()
            await link.send(b"QUIT\r\n")
            heard.append(await link.read_line(limit=100))

        def behave(connection, over):
            connection.sendall(b"beside\n")
            connection.recv(10)
            reset(connection)

        with serving(saying(b"220 hello\r\n", b"221 bye\r\n")) as endpoint, serving(behave) as other:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [b"beside", b"220 hello", b"221 bye"] == heard

    def test_the_transcript_tells_them_apart(self, attempt):
        async def script(link, brief):
            beside = link.beside(3)
            await link.connect()
            await link.read_line(limit=100)
            await beside.connect()
            await beside.read_line(limit=100)
            await link.send(b"one\n")
            await beside.send(b"two\n")

        def behave(connection, over):
            connection.sendall(b"half")
            time.sleep(0.05)
            connection.sendall(b" and half\n")
            connection.recv(1)

        with serving_each(behave) as endpoint:
            outcome = attempt(script, endpoint)

        spoken = [
            (entry.direction, entry.data)
            for entry in outcome.transcript
            if not entry.data.startswith(b"connected from")
        ]
        assert [
            (Direction.SERVER, b"half and half\n"),
            (Direction.NOTE, b"on channel 3"),
            (Direction.SERVER, b"half and half\n"),
            (Direction.NOTE, b"on channel 0"),
            (Direction.CLIENT, b"one\n"),
            (Direction.NOTE, b"on channel 3"),
            (Direction.CLIENT, b"two\n"),
            (Direction.NOTE, b"on channel 0"),
            (Direction.NOTE, b"closed by us"),
            (Direction.NOTE, b"on channel 3"),
            (Direction.NOTE, b"closed by us"),
        ] == spoken

    def test_the_end_of_the_attempt_closes_all(self, attempt):
        ends = []

        def behave(connection, over):
            connection.sendall(b"x")
            ends.append(connection.recv(100))

        async def script(link, brief):
            for number in range(3):
                await ops.Connect(channel=number)
                await ops.Receive(channel=number)
            raise ValueError("and a fault")

        with serving_each(behave) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.BUG == outcome.status
        assert [b""] * 3 == ends

    def test_too_many_at_once_meet_a_limit(self, attempt):
        opened = []

        async def script(link, brief):
            for number in range(9):
                await ops.Connect(channel=number, carrier=ops.Carrier.UDP)
                await ops.Close(channel=number)  # those that are closed don't count
            for number in range(9):
                await ops.Connect(channel=number, carrier=ops.Carrier.UDP)
                opened.append(number)

        with nobody() as endpoint:
            outcome = attempt(script, endpoint, max_channels=4)

        assert (AttemptStatus.LIMIT, "more than 4 channels") == (outcome.status, outcome.error)
        assert [0, 1, 2, 3] == opened

    @pytest.mark.parametrize(
        ("op", "text"),
        [
            (ops.Send(b"x", 1), "there is no connection"),
            (ops.Receive(channel=1), "there is no connection"),
            (ops.StartTLS(channel=1), "there is no connection"),
            (ops.ReceiveDatagram(1, 1), "there is no connection"),
            (ops.ReceiveDatagram(1), "there are no datagrams in a stream"),
            (ops.Receive(channel=2), "there is no stream in datagrams"),
            (ops.StartTLS(channel=2), "there is no stream in datagrams"),
        ],
    )
    def test_an_operation_on_the_wrong_channel_is_a_bug(self, attempt, op, text):
        async def script(link, brief):
            await link.connect()
            await ops.Connect(channel=2, carrier=ops.Carrier.UDP)
            await op

        with serving(silent) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.BUG == outcome.status
        assert text in outcome.error

    def test_peeking_and_closing_where_nothing_is_open_is_no_fault(self, attempt):
        peeked = []

        async def script(link, brief):
            await ops.Close(5)
            peeked.append(await ops.Peek(5))

        with nobody() as endpoint:
            assert AttemptStatus.COMPLETED == attempt(script, endpoint).status
        assert [b""] == peeked

    def test_octets_of_all_channels_count_together(self, attempt):
        def behave(connection, over):
            connection.sendall(bytes(600))
            connection.recv(1)

        async def script(link, brief):
            for number in range(2):
                await ops.Connect(channel=number)
                while await ops.Receive(channel=number, within=0.2):
                    pass

        async def patient(link, brief):
            try:
                await script(link, brief)
            except errors.ReadTimeoutError:
                await ops.Connect(channel=1)
                await ops.Receive(channel=1)
                await ops.Receive(channel=1)

        with serving_each(behave) as endpoint:
            outcome = attempt(patient, endpoint, max_octets_in=1000)

        assert (AttemptStatus.LIMIT, "more than 1000 octets came") == (outcome.status, outcome.error)

    def test_a_wait_of_the_scripts_own(self, attempt):
        async def script(link, brief):
            await link.connect(within=0.2)

        with deaf() as endpoint:
            outcome = attempt(script, endpoint)

        assert (AttemptStatus.NO_ANSWER, "nothing answered in 0.2 s") == (outcome.status, outcome.error)
        assert outcome.seconds < 3

    def test_another_source_is_that_channels_alone(self, attempt):
        heard = []

        async def script(link, brief):
            await link.connect()
            heard.append(await link.read_line(limit=100))
            beside = link.beside(1)
            await beside.connect(source=ip_address("127.0.0.5"))
            heard.append(await beside.read_line(limit=100))

        with serving_each(saying_whence) as endpoint:
            outcome = attempt(script, endpoint, sources=[ip_address("127.0.0.9")])

        assert [b"127.0.0.9", b"127.0.0.5"] == heard
        assert "127.0.0.9" == outcome.source

    @pytest.mark.parametrize("carrier", ops.Carrier)
    @pytest.mark.parametrize("source", ["192.0.2.1", "::1"])
    def test_a_source_that_can_not_be_leaves_no_way(self, attempt, carrier, source):
        async def script(link, brief):
            await ops.Connect(source=ip_address(source), carrier=carrier)

        with serving(silent) as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.UNREACHABLE == outcome.status

    def test_the_clock_never_goes_back(self, attempt):
        times = []

        async def script(link, brief):
            times.append(await ops.Now())
            await link.pause(0.05)
            times.append(await ops.Now())

        with nobody() as endpoint:
            attempt(script, endpoint)

        assert 0.05 <= times[1] - times[0] < 3


class TestAnnouncedAddresses:
    @pytest.mark.parametrize("carrier", ops.Carrier)
    def test_a_permitted_one_is_connected_to_and_paced(self, attempt, carrier):
        surroundings = Run(permitted=(OTHER,))

        async def script(link, brief):
            await ops.Connect(at=other, carrier=carrier)

        with nobody() as endpoint, serving(silent, str(OTHER)) as other:
            outcome = attempt(script, endpoint, surroundings)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert [OTHER] == surroundings.asked_for == surroundings.admitted
        assert f"to {other}" in outcome.transcript[0].data.decode()
        assert "" == outcome.source  # of what the target has seen

    @pytest.mark.parametrize("carrier", ops.Carrier)
    def test_one_that_is_not_never_sees_a_packet(self, attempt, carrier):
        surroundings = Run()
        callers = []

        async def script(link, brief):
            await ops.Connect(at=other, carrier=carrier)

        with nobody() as endpoint, serving(lambda peer, over: callers.append(peer), str(OTHER)) as other:
            outcome = attempt(script, endpoint, surroundings)
            time.sleep(0.05)

        words = f"the target led us to {other}, which no permission covers"
        assert (AttemptStatus.LIMIT, words) == (outcome.status, outcome.error)
        assert [words.encode()] == [entry.data for entry in outcome.transcript]
        assert ([], []) == (callers, surroundings.admitted)

    def test_the_targets_own_needs_no_leave_and_is_paced(self, attempt):
        surroundings = Run()

        async def script(link, brief):
            mapped = ip_address(f"::ffff:{brief.endpoint.address}")
            await link.connect(at=Endpoint(mapped, other.port))
            assert b"127.0.0.1" == await link.read_line(limit=100)

        with nobody() as endpoint, serving(saying_whence) as other:
            outcome = attempt(script, endpoint, surroundings)

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert ([], [endpoint.address]) == (surroundings.asked_for, surroundings.admitted)

    def test_a_script_may_go_on_without(self, attempt):
        async def script(link, brief):
            with pytest.raises(errors.NotPermittedError):
                await link.connect(at=Endpoint(OTHER, 25))
            await link.report(Observation(fact=Fact.NOTE, detail="went on"))

        with nobody() as endpoint:
            outcome = attempt(script, endpoint)

        assert AttemptStatus.COMPLETED == outcome.status
        assert ["went on"] == [observation.detail for observation in outcome.observations]

    @pytest.mark.parametrize(
        ("address", "port"),
        [
            ("0.0.0.0", 80),
            ("::", 80),
            ("::ffff:0.0.0.0", 80),
            ("64:ff9b::", 80),
            ("64:ff9b::e000:1", 80),
            ("2002:e000:1::", 80),
            ("224.0.0.1", 80),
            ("ff02::1", 80),
            ("::ffff:224.0.0.1", 80),
            ("255.255.255.255", 80),
            ("fe80::1%eth0", 80),
            ("192.0.2.7", 0),
            ("192.0.2.7", 65536),
            ("192.0.2.7", -1),
        ],
    )
    def test_what_is_no_host_is_refused_whoever_permits_it(self, address, port):
        class Generous(Run):
            def permits(self, address):
                return True

        with pytest.raises(errors.NotPermittedError):
            permitted(Endpoint(ip_address(address), port), ip_address("192.0.2.7"), Generous())

    @pytest.mark.parametrize(
        ("announced", "own"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "::ffff:192.0.2.7"),
            ("2001:db8::7", "2001:DB8:0::7"),
        ],
    )
    def test_however_it_is_written_the_target_is_itself(self, announced, own):
        found = permitted(Endpoint(ip_address(announced), 80), ip_address(own), Run())

        assert found.address in {ip_address("192.0.2.7"), ip_address("2001:db8::7")}

    @pytest.mark.parametrize("announced", ["::192.0.2.7", "64:ff9b::192.0.2.7", "2002:c000:207::"])
    def test_a_translated_address_is_another_and_the_runs_to_permit(self, announced):
        surroundings = Run()

        with pytest.raises(errors.NotPermittedError):
            permitted(Endpoint(ip_address(announced), 80), ip_address("192.0.2.7"), surroundings)

        assert [ip_address(announced)] == surroundings.asked_for


class TestOtherLinks:
    def test_a_script_runs_on_the_link_that_it_is_given(self, attempt):
        class Prefaced(Link):
            async def connect(self, *, at=None, source=None, within=None):
                await super().connect()
                await self.send(b"PREFACE\r\n")
                await self.read_line(limit=100)

        with serving(saying(b"", b"preface heard\r\n220 hello\r\n", b"221 bye\r\n")) as endpoint:
            outcome = attempt(greet, endpoint, link=Prefaced())

        assert (AttemptStatus.COMPLETED, "") == (outcome.status, outcome.error)
        assert ["220 hello"] == [observation.reply for observation in outcome.observations]
