"""TCP canaries over real sockets: words, HTTP, TLS, and peers that misbehave."""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
import struct
import subprocess
import time
import warnings

import pytest
from tests.sink.canaries import (
    STRANGE_WORDS,
    WORDS,
    connect,
    make_canaries,
    seen_from,
    talk,
    tls,
)
from tests.sink.loopback import IPV4, IPV6, deliver_async, token, until
from tests.sink.test_flood import resident

from relaywatch.model.evidence import ArrivalKind
from relaywatch.sink import doorkeeper as doorkeeper_module
from relaywatch.sink.certificate import make_certificate
from relaywatch.sink.journal import Journal
from relaywatch.sink.settings import Limits

GET = f"GET /c/{token()} HTTP/1.1\r\nHost: sink.test\r\nVia: 1.1 proxy.test\r\n\r\n".encode()
ALLOWED_GROWTH = 24 * 1024 * 1024


@pytest.fixture
def quick_sweep(monkeypatch):
    """Looks at the clock often."""
    monkeypatch.setattr(doorkeeper_module, "_SWEEP", 0.05)


async def still_answers(sink):
    heard = await talk(sink.canary_endpoints[0], f"relaywatch {token(99)}\r\n".encode())
    assert "127.0.0.1" == seen_from(heard, 99)


# --- what it is for ----------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("said", "kind"), [(WORDS, ArrivalKind.TCP), (GET, ArrivalKind.HTTP)])
def test_a_token_of_ours_is_noted_and_answered(run, tmp_path, endpoint, has_tls, said, kind):
    arrivals = []

    async def scene():
        async with make_canaries(arrivals, canary_listen=(endpoint,), journal=tmp_path) as sink:
            heard = await talk(sink.canary_endpoints[0], said, ssl=tls() if has_tls else None)
            return heard, sink.canary_endpoints[0].port, list(sink.journal.read_all())

    heard, port, (record,) = run(scene())

    assert str(endpoint.address) == seen_from(heard)
    (arrival,) = arrivals
    assert (token(), kind, endpoint.address, port) == (
        arrival.token,
        arrival.kind,
        arrival.came_from.address,
        arrival.port,
    )
    assert arrival.came_from.port > 0
    assert port == record.port
    assert has_tls == record.tls.startswith("TLSv1.")
    assert (kind is ArrivalKind.HTTP) == (("Via", "1.1 proxy.test") in record.fields)


@pytest.mark.parametrize("said", [WORDS, GET])
def test_who_speaks_and_goes_is_noted_and_troubles_nobody(run, said):
    arrivals, troubles = [], []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
        async with make_canaries(arrivals) as sink:
            where = sink.canary_endpoints[0]
            for number in range(1, 6):
                with socket.create_connection((str(where.address), where.port)) as peer:
                    peer.sendall(said)
                await until(lambda number=number: len(arrivals) == number)
            await asyncio.sleep(0.05)
        gc.collect()  # a task's error is told when the task goes

    run(scene())

    assert [] == troubles


def test_who_runs_this_is_said_in_one_line(run):
    async def scene():
        async with make_canaries(operator="the tests") as sink:
            return await talk(sink.canary_endpoints[0], WORDS)

    _, notice, end = run(scene()).decode().split("\r\n")

    assert "Run by the tests. Questions: abuse@sink.test" in notice
    assert "" == end


def test_curl_reads_the_answer(run):
    def curl(url, *options):
        done = subprocess.run(
            ["curl", "-sk", "--noproxy", "*", "--max-time", "10", *options, url],
            capture_output=True,
            check=True,
        )
        return done.stdout

    async def scene():
        async with make_canaries() as sink:
            where = sink.canary_endpoints[0]
            words = f"relaywatch {token()}"
            return [
                await asyncio.to_thread(curl, f"http://{where}/c/{token()}"),
                await asyncio.to_thread(curl, f"https://{where}/c/{token()}"),
                await asyncio.to_thread(curl, f"http://{where}/c/{token()}", "--head"),
                await asyncio.to_thread(curl, f"http://{where}/", "--data", words),
                await asyncio.to_thread(curl, f"http://{where}/", "--request", "PUT", "--data", words),
                await asyncio.to_thread(curl, f"https://{where}/", "--http1.0", "--data", words),
                await asyncio.to_thread(curl, f"http://{where}/", "-d", words, "-H", "Expect: 100-continue"),
            ]

    assert ["127.0.0.1"] * 7 == [seen_from(heard) for heard in run(scene())]


def test_the_page_for_people_is_at_the_root_and_elsewhere_a_line(run):
    async def scene():
        async with make_canaries() as sink:
            where = sink.canary_endpoints[0]
            return (
                await talk(where, b"GET / HTTP/1.0\r\n\r\n"),
                await talk(where, b"GET /favicon.ico HTTP/1.0\r\n\r\n", ssl=tls()),
                sink.counters.arrivals,
            )

    page, line, arrivals = run(scene())

    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/html" in page
    assert "프록시".encode() in page
    assert b"A check of a proxy asks it to lead here" in page
    assert line.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"abuse@sink.test" in line
    assert 0 == arrivals


def test_several_ports_wait_in_the_order_in_which_they_were_wanted(run):
    async def scene():
        async with make_canaries(canary_listen=(IPV4, IPV6)) as sink:
            more = await sink.listen_canaries_at([IPV4])
            await talk(more[0], WORDS)
            assert more == sink.canary_endpoints[2:]
            return sink.canary_endpoints, sink.counters.arrivals

    endpoints, arrivals = run(scene())

    assert ["127.0.0.1", "::1", "127.0.0.1"] == [str(endpoint.address) for endpoint in endpoints]
    assert 1 == arrivals


# --- what is noted -----------------------------------------------------------------------------


def test_it_is_on_disk_before_the_answer(run, tmp_path, monkeypatch):
    order = []
    real = os.fsync

    def fsync(descriptor):
        order.append("disk")
        real(descriptor)

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", fsync)
            assert seen_from(await talk(sink.canary_endpoints[0], WORDS))
            order.append("answer")

    run(scene())
    assert ["disk", "answer"] == order


def test_what_cannot_be_written_down_is_not_answered(run, tmp_path, monkeypatch, caplog):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full_disk)
                assert b"" == await talk(sink.canary_endpoints[0], WORDS)
            assert 1 == sink.counters.failures
            assert seen_from(await talk(sink.canary_endpoints[0], WORDS))
            return [record.sequence for record in sink.journal.read_all()]

    assert [1] == run(scene())
    assert "No space left" in caplog.text


def test_a_token_noted_often_enough_is_answered_still_and_each_kind_counts_for_itself(run, tmp_path):
    arrivals = []
    options = {"journal": tmp_path, "limits": Limits(arrivals_per_token=2)}

    async def scene():
        async with make_canaries(arrivals, **options) as sink:
            answers = [await talk(sink.canary_endpoints[0], WORDS) for _ in range(4)]
            answers.append(await talk(sink.canary_endpoints[0], GET))
            await deliver_async(sink.addresses[0], [f"{token()}@sink.test"])
        async with make_canaries(arrivals, **options) as sink:  # counted over a restart too
            answers.append(await talk(sink.canary_endpoints[0], WORDS))
            return answers, sink.counters.repeated

    answers, repeated = run(scene())

    assert ["127.0.0.1"] * 6 == [seen_from(heard) for heard in answers]
    assert 1 == repeated
    assert ["tcp", "tcp", "http", "mail"] == [arrival.kind for arrival in arrivals]


def test_a_journal_of_before_the_canaries_is_read_and_gone_on_with(run, tmp_path):
    tmp_path.joinpath("identity").write_text("0" * 32 + "\n")
    tmp_path.joinpath("arrivals-0000000000000001.jsonl").write_text(
        f'{{"sequence":1,"at":"2026-01-01T00:00:00Z","token":"{token(7)}","kind":"mail",'
        '"source_address":"192.0.2.1","source_port":25,"forward_path":"x@sink.test"}\n'
    )

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            await talk(sink.canary_endpoints[0], WORDS)

    run(scene())
    journal = Journal(tmp_path)
    old, new = (record.arrival() for record in journal.read_all())
    journal.close()

    assert (token(7), ArrivalKind.MAIL, 0) == (old.token, old.kind, old.port)
    assert (token(), ArrivalKind.TCP) == (new.token, new.kind)
    assert new.port > 0


def test_strangers_leave_nothing(run, tmp_path):
    arrivals = []

    async def scene():
        async with make_canaries(arrivals, journal=tmp_path, limits=Limits(canary_idle=0.2)) as sink:
            where = sink.canary_endpoints[0]
            heard = [
                await talk(where, STRANGE_WORDS * 200),
                await talk(where, b"x" * 5000),
                await talk(where, STRANGE_WORDS * 200, ssl=tls()),
            ]
            return heard, sink.counters.arrivals

    assert ([b"", b"", b""], 0) == run(scene())
    assert [] == arrivals
    assert 0 == sum(path.stat().st_size for path in tmp_path.glob("arrivals-*"))


# --- TLS ---------------------------------------------------------------------------------------


def test_the_sinks_own_certificate_is_shown_and_http_1_1_agreed_on(run):
    certificate = make_certificate(["sink.test"])

    async def scene():
        async with make_canaries(certificate=certificate) as sink:
            context = tls()
            context.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await connect(sink.canary_endpoints[0], ssl=context, server_hostname="any.test")
            shown = writer.get_extra_info("ssl_object")
            writer.close()
            return ssl.DER_cert_to_PEM_cert(
                shown.getpeercert(binary_form=True)
            ), shown.selected_alpn_protocol()

    shown, agreed = run(scene())

    assert shown.split() == certificate.chain.decode().split()
    assert "http/1.1" == agreed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_old_tls_is_spoken_too(run, tmp_path, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = tls()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            heard = await talk(sink.canary_endpoints[0], WORDS, ssl=context)
            return heard, [record.tls.replace(".", "_") for record in sink.journal.read_all()]

    heard, versions = run(scene())

    assert seen_from(heard)
    assert [version.name] == versions


def test_a_handshake_that_comes_octet_by_octet_is_one(run):
    async def scene():
        async with make_canaries() as sink:
            reader, writer = await connect(sink.canary_endpoints[0])
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = tls().wrap_bio(incoming, outgoing, server_hostname="sink.test")
            for act in (client.do_handshake, lambda: client.write(WORDS), client.read):
                while True:
                    try:
                        result = act()
                    except ssl.SSLWantReadError:
                        await drip(writer, outgoing.read())
                        incoming.write(await reader.read(4096))
                    else:
                        await drip(writer, outgoing.read())
                        break
            writer.close()
            return result

    async def drip(writer, octets):
        for octet in octets:
            writer.write(bytes([octet]))
            await writer.drain()

    assert seen_from(run(scene()))


@pytest.mark.parametrize(
    "hello",
    [
        b"\x16\x03\x01\x00\x05aaaaa",
        b"\x16" + b"not TLS at all\r\n" * 10,
        b"\x16\x03\x01\xff\xff" + b"\0" * 70_000,
        b"\x16\x03",
    ],
)
def test_a_broken_handshake_is_forgotten(run, quick_sweep, hello):
    async def scene():
        async with make_canaries(limits=Limits(canary_idle=0.3)) as sink:
            with contextlib.suppress(ConnectionError):
                await talk(sink.canary_endpoints[0], hello)
            await until(lambda: not sink.counters.open_connections)
            await still_answers(sink)
            return sink.counters.arrivals

    assert 1 == run(scene())


def test_half_a_handshake_is_ended_by_the_clock_and_by_the_peer(run, quick_sweep):
    async def scene():
        async with make_canaries(limits=Limits(canary_idle=0.3)) as sink:
            outgoing = ssl.MemoryBIO()
            client = tls().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="sink.test")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            hello = outgoing.read()
            _, leaving = await connect(sink.canary_endpoints[0])
            leaving.write(hello)
            leaving.close()
            reader, staying = await connect(sink.canary_endpoints[0])
            staying.write(hello)
            assert (await reader.read(1)) == b"\x16"
            await until(lambda: sink.counters.connections == 2 and not sink.counters.open_connections)
            staying.close()
            return sink.counters.timed_out

    assert 1 == run(scene())


def test_there_is_no_second_tls_inside_of_tls(run, quick_sweep):
    async def scene():
        async with make_canaries(limits=Limits(canary_idle=0.3)) as sink:
            return await talk(sink.canary_endpoints[0], b"\x16\x03\x01\x00\x05hello" * 800, ssl=tls())

    assert b"" == run(scene())


def test_a_peer_that_ends_tls_and_stays_is_let_go(run):
    async def scene():
        async with make_canaries() as sink:
            reader, writer = await connect(sink.canary_endpoints[0], ssl=tls())
            writer.write(GET[:20])
            writer.close()
            await until(lambda: not sink.counters.open_connections)
            return await reader.read()

    assert b"" == run(scene())


# --- peers that misbehave ----------------------------------------------------------------------


def test_a_half_close_right_behind_the_words_costs_no_answer(run, tmp_path):
    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            answers = []
            for said in (WORDS, WORDS.strip(), GET):
                reader, writer = await connect(sink.canary_endpoints[0])
                writer.write(said)
                writer.write_eof()
                answers.append(await reader.read())
                writer.close()
            await until(lambda: not sink.counters.open_connections)
            return answers

    assert ["127.0.0.1"] * 3 == [seen_from(heard) for heard in run(scene())]


def test_octets_behind_the_words_do_not_take_the_answer_away(run, tmp_path):
    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            reader, writer = await connect(sink.canary_endpoints[0])
            writer.write(WORDS + b"x" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.1)
            for _ in range(10):
                writer.write(b"y" * 10_000)  # a server that had closed would reset now
                await writer.drain()
            heard = await reader.read()
            writer.close()
            return heard

    assert seen_from(run(scene()))


def test_whoever_goes_on_for_ever_is_dropped(run):
    async def scene():
        async with make_canaries() as sink:
            _, writer = await connect(sink.canary_endpoints[0])
            writer.write(WORDS)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 10_000_000:
                    writer.write(b"y" * 65_536)
                    await writer.drain()
                    sent += 65_536
                    await asyncio.sleep(0.01)
            writer.close()
            await until(lambda: not sink.counters.open_connections)
            return sent

    assert run(scene()) < 10_000_000


@pytest.mark.parametrize("said", [b"", b"relaywatch ", GET[:30], WORDS, GET])
def test_a_reset_at_any_step_is_forgotten(run, tmp_path, said):
    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            _, writer = await connect(sink.canary_endpoints[0])
            writer.write(said)
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            await until(lambda: sink.counters.connections == 1 and not sink.counters.open_connections)
            await still_answers(sink)

    run(scene())


def test_octets_that_complete_nothing_do_not_prolong_a_connection(run, quick_sweep):
    async def scene():
        async with make_canaries(limits=Limits(canary_idle=0.4)) as sink:
            reader, writer = await connect(sink.canary_endpoints[0])
            began = time.monotonic()
            dripping = asyncio.create_task(drip(writer))
            try:
                heard = await reader.read()
            except ConnectionError:
                heard = b""
            dripping.cancel()
            writer.close()
            return heard, time.monotonic() - began, sink.counters.timed_out

    async def drip(writer):
        for _ in range(1000):
            writer.write(b"G")
            await asyncio.sleep(0.02)

    heard, seconds, timed_out = run(scene())

    assert b"" == heard
    assert 0.3 < seconds < 3
    assert 1 == timed_out


def test_whoever_does_not_go_after_the_answer_is_dropped(run, quick_sweep, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.guests._LINGER", 0.2)

    async def scene():
        async with make_canaries() as sink:
            _, writer = await connect(sink.canary_endpoints[0])
            writer.write(WORDS)
            await until(lambda: sink.counters.arrivals)
            await until(lambda: not sink.counters.open_connections)
            writer.close()

    run(scene())


def test_too_many_connections_are_turned_away_and_mail_comes_in_still(run):
    arrivals = []

    async def scene():
        async with make_canaries(arrivals, limits=Limits(canary_connections=3)) as sink:
            where = sink.canary_endpoints[0]
            sitting = [(await connect(where))[1] for _ in range(3)]
            await until(lambda: sink.counters.open_connections == 3)
            try:
                late = await talk(where, WORDS)
            except ConnectionError:
                late = b""
            await deliver_async(sink.addresses[0], [f"{token(1)}@sink.test"])
            for writer in sitting:
                writer.close()
            await until(lambda: not sink.counters.open_connections)
            await still_answers(sink)
            return late, sink.counters.turned_away

    assert (b"", 1) == run(scene())
    assert [token(1), token(99)] == [arrival.token for arrival in arrivals]


@pytest.mark.parametrize(
    "said", [WORDS, STRANGE_WORDS, GET, b"GET / HTTP/1.0\r\n\r\n"], ids=["ours", "strange", "http", "page"]
)
def test_a_flood_leaves_memory_and_journal_small(run, tmp_path, said, record_property):
    answered = 0

    async def one(sink, number):
        nonlocal answered
        reader, writer = await connect(
            sink.canary_endpoints[0], local_addr=(f"127.0.{number % 20}.{1 + number % 250}", 0)
        )
        try:
            writer.write(said)
            writer.write_eof()
            heard = await reader.read()
            answered += bool(heard)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def flood(sink, count):
        for begin in range(0, count, 100):
            await asyncio.gather(*(one(sink, number) for number in range(begin, begin + 100)))

    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            await flood(sink, 500)
            before = resident()
            began = time.monotonic()
            await flood(sink, 3000)
            rate = 3000 / (time.monotonic() - began)
            return resident() - before, rate, sink.counters.arrivals

    grown, rate, arrivals = run(scene())

    record_property("connections_a_second", round(rate))
    assert grown < ALLOWED_GROWTH
    assert arrivals <= 10
    assert (3500 if said != STRANGE_WORDS else 0) == answered


def test_leaving_the_sink_hangs_up_on_everybody(run):
    async def scene():
        async with make_canaries() as sink:
            peers = [await connect(sink.canary_endpoints[0]) for _ in range(3)]
            await until(lambda: sink.counters.open_connections == 3)
        rests = []
        for reader, writer in peers:
            try:
                rests.append(await reader.read())
            except ConnectionResetError:
                rests.append(b"")
            writer.close()
        return rests

    assert [b"", b"", b""] == run(scene())


# --- SMTP, whose server is a canary too --------------------------------------------------------


@pytest.mark.parametrize(
    "said", [token(), token().upper(), f"<{token()}@sink.test>", f"relaywatch {token()}"]
)
def test_the_smtp_server_answers_who_verifies_a_token(run, tmp_path, said):
    arrivals = []

    async def scene():
        async with make_canaries(arrivals, journal=tmp_path) as sink:
            heard = await talk(sink.addresses[0], f"VRFY {said}\r\nVRFY user\r\nQUIT\r\n".encode())
            return heard, sink.addresses[0].port

    heard, port = run(scene())

    _, ours, other, _ = heard.decode().splitlines()
    assert ours.startswith("252 2.0.0 relaywatch ")
    assert "127.0.0.1" == seen_from(ours.encode())
    assert "252 2.5.0 Send it and see" == other
    assert [(token(), ArrivalKind.TCP, port)] == [(one.token, one.kind, one.port) for one in arrivals]


def test_the_smtp_server_says_try_later_if_a_token_cannot_be_written_down(run, tmp_path, monkeypatch):
    async def scene():
        async with make_canaries(journal=tmp_path) as sink:
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
            return await talk(sink.addresses[0], f"VRFY {token()}\r\nQUIT\r\n".encode())

    assert b"\r\n451 4.3.0 " in run(scene())
