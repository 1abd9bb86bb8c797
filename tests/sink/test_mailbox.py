"""Peers that misbehave, over real sockets."""

import asyncio
import smtplib
import socket
import ssl
import struct
import warnings
from ipaddress import ip_address

import pytest
from tests.sink.loopback import IPV4, IPV6, connect, deliver_async, make_sink, token, until

from relaywatch.sink import doorkeeper as doorkeeper_module
from relaywatch.sink import mailbox as mailbox_module
from relaywatch.sink.settings import Limits

ENVELOPE = f"EHLO relay.test\r\nMAIL FROM:<>\r\nRCPT TO:<{token()}@sink.test>\r\nDATA\r\n".encode()


@pytest.fixture
def quick_sweep(monkeypatch):
    """Looks at the clock often."""
    monkeypatch.setattr(doorkeeper_module, "_SWEEP", 0.05)


async def still_works(sink, arrivals):
    await deliver_async(sink.addresses[0], [f"{token(99)}@sink.test"])
    assert token(99) == arrivals[-1].token


def test_everything_at_once_and_then_a_half_close(run, tmp_path):
    arrivals = []

    async def scene():
        async with make_sink(arrivals, journal=tmp_path) as sink:
            peer = await connect(sink)
            peer.writer.write(ENVELOPE + b"Subject: x\r\n\r\n.\r\nNOOP\r\nQUIT\r\n")
            peer.writer.write_eof()
            return await peer.rest()

    rest = run(scene())

    assert ["250 ", "250 ", "250 ", "354 ", "250 ", "250 ", "221 "] == [
        line[:4] for line in rest.splitlines() if line[3] == " "
    ]
    assert [token()] == [arrival.token for arrival in arrivals]


def test_a_half_close_without_quit_ends_the_connection(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink:
            peer = await connect(sink)
            peer.writer.write(ENVELOPE + b"Subject: x\r\n\r\n.\r\n")
            peer.writer.write_eof()
            return await peer.rest(), sink.counters.arrivals

    rest, arrivals = run(scene())

    assert rest.endswith("250 2.0.0 Noted\r\n")
    assert 1 == arrivals


def test_a_peer_that_leaves_without_a_word_is_forgotten(run):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            for octets in (b"", b"EHLO a\r\n", ENVELOPE, ENVELOPE + b"half a message"):
                peer = await connect(sink)
                peer.writer.write(octets)
                peer.close()
            await until(lambda: sink.counters.connections == 4 and not sink.counters.open_connections)
            await still_works(sink, arrivals)

    run(scene())
    assert [token(99)] == [arrival.token for arrival in arrivals]


@pytest.mark.parametrize("octets", [b"", b"EHLO a\r\n", ENVELOPE, ENVELOPE + b"x\r\n.\r\n", b"STARTTLS\r\n"])
def test_a_reset_at_any_step_is_forgotten(run, octets):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            peer = await connect(sink)
            peer.writer.write(octets)
            await peer.writer.drain()
            linger = struct.pack("ii", 1, 0)
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.writer.transport.abort()
            await until(lambda: sink.counters.connections == 1 and not sink.counters.open_connections)
            await still_works(sink, arrivals)

    run(scene())


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_a_line_without_end_is_hung_up_on(run, size):
    async def scene():
        async with make_sink() as sink:
            peer = await connect(sink)
            peer.writer.write(b"A" * size)
            try:
                rest = await peer.rest()
            except ConnectionError:  # a reset, since we read no more: that is hung up too
                rest = "500 5.5.2 "
            await until(lambda: not sink.counters.open_connections)
            return rest

    assert run(scene()).startswith("500 5.5.2 ")


def test_ten_megabytes_in_a_message_line_are_read_and_refused(run):
    async def scene():
        async with make_sink(limits=Limits(message=2_000_000)) as sink:
            peer = await connect(sink)
            for octets in ENVELOPE.splitlines(keepends=True):
                await peer.say(octets)
            peer.writer.write(b"A" * 10_000_000)
            reply = await peer.say(b"\r\n.\r\n")
            quit_reply = await peer.say(b"QUIT\r\n")
            peer.close()
            return reply, quit_reply

    reply, quit_reply = run(scene())

    assert reply.startswith("552 5.3.4 ")
    assert quit_reply.startswith("221 ")


def test_octets_that_complete_no_command_do_not_prolong_a_connection(run, quick_sweep):
    async def scene():
        async with make_sink(limits=Limits(idle=0.4)) as sink:
            peer = await connect(sink)
            began = asyncio.get_running_loop().time()
            dripping = asyncio.create_task(drip(peer))
            rest = await peer.rest()
            dripping.cancel()
            return rest, asyncio.get_running_loop().time() - began, sink.counters.timed_out

    async def drip(peer):
        for _ in range(1000):
            peer.writer.write(b"x")
            await asyncio.sleep(0.02)

    rest, seconds, timed_out = run(scene())

    assert "421 4.4.2 Time is up\r\n" == rest
    assert 0.3 < seconds < 3
    assert 1 == timed_out


def test_a_session_ends_however_busy_it_is(run, quick_sweep):
    async def scene():
        async with make_sink(limits=Limits(session=0.3)) as sink:
            peer = await connect(sink)
            reply = "250"
            for _ in range(1000):
                if not reply.startswith("250"):
                    break
                reply = await peer.say(b"NOOP\r\n")
                await asyncio.sleep(0.01)
            peer.close()
            return reply

    assert "421 4.4.2 Time is up\r\n" == run(scene())


def test_idle_peers_get_less_time_while_there_are_many(run, quick_sweep):
    async def scene():
        async with make_sink(limits=Limits(connections=4, idle_when_busy=0.2)) as sink:
            peers = [await connect(sink) for _ in range(3)]
            rests = [await peer.rest() for peer in peers[:1]]
            await until(lambda: sink.counters.open_connections <= 2)
            for peer in peers:
                peer.close()
            return rests

    assert ["421 4.4.2 Time is up\r\n"] == run(scene())


def test_a_peer_that_reads_nothing_is_read_no_further_and_dropped(run, quick_sweep):
    async def scene():
        async with make_sink(limits=Limits(idle=0.5, commands=10**9)) as sink:
            endpoint = sink.addresses[0]
            _, writer = await asyncio.open_connection(str(endpoint.address), endpoint.port, limit=1)
            writer.transport.pause_reading()
            sent = stuck = 0
            while not writer.transport.is_closing() and sent < 50_000_000:
                writer.write(b"HELP\r\n" * 5000)
                sent += 30_000
                stuck = max(stuck, writer.transport.get_write_buffer_size())
                await asyncio.sleep(0.002)
            await until(lambda: not sink.counters.open_connections)
            writer.transport.abort()
            return stuck, sink.counters.timed_out

    stuck, timed_out = run(scene())

    assert 1 == timed_out
    assert stuck > 0  # the sink stopped reading long before it had everything


def test_too_many_connections_from_one_address_are_turned_away(run):
    async def scene():
        async with make_sink(limits=Limits(connections_per_source=2)) as sink:
            inside = [await connect(sink) for _ in range(2)]
            outside = await connect(sink)
            elsewhere = await connect(sink, local_addr=("127.0.0.2", 0))
            assert "" == await outside.rest()
            inside[0].close()
            await until(lambda: sink.counters.open_connections == 2)
            again = await connect(sink)
            for peer in (*inside, outside, elsewhere, again):
                peer.close()
            return outside.greeting, elsewhere.greeting, again.greeting, sink.counters.turned_away

    outside, elsewhere, again, turned_away = run(scene())

    assert outside.startswith("421 4.7.0 ")
    assert elsewhere.startswith("220 ")
    assert again.startswith("220 ")
    assert 1 == turned_away


def test_too_many_connections_in_all_are_turned_away(run):
    async def scene():
        async with make_sink(limits=Limits(connections=2), listen=(IPV4, IPV6)) as sink:
            peers = [await connect(sink) for _ in range(3)]
            for peer in peers:
                peer.close()
            await until(lambda: not sink.counters.open_connections)
            return [peer.greeting[:4] for peer in peers]

    assert ["220 ", "220 ", "421 "] == run(scene())


def test_one_ipv6_customer_counts_as_one_source():
    sources = {doorkeeper_module.source_of(ip_address(text)) for text in ("2001:db8::1", "2001:db8::ffff:1")}

    assert {"2001:db8::/64"} == sources
    assert "2001:db8:0:1::/64" == doorkeeper_module.source_of(ip_address("2001:db8:0:1::1"))
    assert "192.0.2.1" == doorkeeper_module.source_of(ip_address("192.0.2.1"))


# --- TLS ---------------------------------------------------------------------------------------


def test_what_was_injected_before_tls_is_dropped(run):
    def smuggle(endpoint):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(str(endpoint.address), endpoint.port, "relay.test", timeout=10) as client:
            client.ehlo()
            # As if somebody on the path had added a command in the clear.
            client.send(b"STARTTLS\r\nMAIL FROM:<evil@relay.test>\r\n")
            go_ahead = client.getreply()
            client.sock = context.wrap_socket(client.sock)
            client.file = None
            return go_ahead, client.docmd("RCPT", f"TO:<{token()}@sink.test>")

    async def scene():
        async with make_sink() as sink:
            return await asyncio.to_thread(smuggle, sink.addresses[0])

    (go_ahead, _), (reply_code, _) = run(scene())

    assert (220, 503) == (go_ahead, reply_code)


@pytest.mark.parametrize("hello", [b"not TLS at all\r\n" * 10, b"\x16\x03\x01\x00\x05aaaaa", b""])
def test_a_broken_handshake_is_forgotten(run, hello):
    arrivals = []

    async def scene():
        async with make_sink(arrivals) as sink:
            peer = await connect(sink)
            await peer.say(b"STARTTLS\r\n")
            peer.writer.write(hello)
            await peer.writer.drain()
            peer.close()
            await until(lambda: not sink.counters.open_connections)
            await still_works(sink, arrivals)

    run(scene())


def test_a_handshake_that_goes_nowhere_is_ended(run, monkeypatch):
    monkeypatch.setattr(mailbox_module, "_HANDSHAKE", 0.2)

    async def scene():
        async with make_sink() as sink:
            peer = await connect(sink)
            await peer.say(b"STARTTLS\r\n")
            await until(lambda: not sink.counters.open_connections)
            peer.close()

    run(scene())


def test_an_old_relay_with_tls_1_0_delivers(run, tmp_path):
    def hand_over(endpoint):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("AES128-SHA:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        with smtplib.SMTP(str(endpoint.address), endpoint.port, "relay.test", timeout=10) as client:
            client.starttls(context=context)
            client.sendmail("s@relay.test", [f"{token()}@sink.test"], "Subject: x\r\n\r\n")

    async def scene():
        async with make_sink(journal=tmp_path) as sink:
            await asyncio.to_thread(hand_over, sink.addresses[0])
            return [record.tls for record in sink.journal.read_all()]

    assert ["TLSv1"] == run(scene())


def test_leaving_the_sink_hangs_up_on_everybody(run):
    async def scene():
        async with make_sink() as sink:
            peers = [await connect(sink) for _ in range(3)]
        rests = []
        for peer in peers:
            try:
                rests.append(await peer.rest())
            except ConnectionResetError:
                rests.append("")
            peer.close()
        return rests

    assert ["", "", ""] == run(scene())


def test_a_peer_that_reads_late_gets_all_its_replies(run):
    async def scene():
        async with make_sink(limits=Limits(commands=10**9)) as sink:
            peer = await connect(sink)
            peer.writer.write(b"HELP\r\n" * 60_000 + b"QUIT\r\n")
            await asyncio.sleep(0.3)  # the sink fills every buffer on the way and stops
            return await peer.rest()

    replies = run(scene()).splitlines()

    assert 60_001 == len(replies)
    assert replies[-1].startswith("221 ")
