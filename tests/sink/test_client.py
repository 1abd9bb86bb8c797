import asyncio
import hashlib
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.sink.canaries import WORDS, make_canaries, talk
from tests.sink.loopback import IPV4, make_sink, token, until
from tests.sink.polling import CERTIFICATE, KEYS, arrive, poll_server, url

from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import ArrivalKind
from relaywatch.model.places import parse_address
from relaywatch.script.brief import CanaryPlaces
from relaywatch.sink import client as client_module
from relaywatch.sink.certificate import make_certificate
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import NoCanariesError, SinkError
from relaywatch.sink.settings import Limits


@pytest.fixture
def hasty(monkeypatch):
    """Tries again soon."""
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.05)


def test_a_remote_sink_tells_of_what_arrives_from_then_on(run, tmp_path):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            await arrive(sink, 0)
            async with RemoteSink(url(server), KEYS, on_arrival=told.append) as remote:
                await arrive(sink, 1)
                await arrive(sink, 2)
                await until(lambda: len(told) == 2)
                return remote.position

    assert 3 == run(scene())
    assert [token(1), token(2)] == [arrival.token for arrival in told]
    assert "relay.test" == told[0].helo


def test_a_remote_sink_goes_on_where_it_was_left(run, tmp_path):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            for number in range(3):
                await arrive(sink, number)
            async with RemoteSink(url(server), KEYS, on_arrival=told.append, after=1):
                await until(lambda: len(told) == 2)

    run(scene())

    assert [token(1), token(2)] == [arrival.token for arrival in told]


def test_whoever_catches_up_is_told_of_all_that_has_arrived(run, tmp_path):
    told = []

    async def scene():
        async with (
            make_sink(journal=tmp_path) as sink,
            poll_server(sink) as server,
            RemoteSink(url(server), KEYS, on_arrival=told.append) as remote,
        ):
            await remote.catch_up()
            assert [] == told
            for number in range(3):
                await arrive(sink, number)
            await remote.catch_up()
            assert 3 == len(told)
            assert "" == remote.trouble

    run(scene())


def test_who_catches_up_with_a_sink_that_is_back_does_not_wait_for_the_next_poll(run, tmp_path):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            address = server.addresses[0]
            remote = RemoteSink(url(server), KEYS, on_arrival=told.append)
            await remote.__aenter__()
        await until(lambda: remote.trouble)
        # The next poll is two seconds away by then.
        await asyncio.sleep(1.5)
        await remote.catch_up()
        assert "connect" in remote.trouble
        async with make_sink(journal=tmp_path) as sink, poll_server(sink, listen=(address,)):
            await arrive(sink, 1)
            async with asyncio.timeout(1):
                await remote.catch_up()
            assert [token(1)] == [arrival.token for arrival in told]
            await remote.__aexit__(None, None, None)

    run(scene())


def test_what_can_not_be_read_in_time_is_trouble(run, tmp_path, monkeypatch):
    ask = RemoteSink._ask

    async def slowly(self, *, after, limit, wait):
        await asyncio.sleep(5 if wait else 0)
        return await ask(self, after=after, limit=limit, wait=wait)

    monkeypatch.setattr(RemoteSink, "_ask", slowly)

    async def scene():
        async with (
            make_sink(journal=tmp_path) as sink,
            poll_server(sink) as server,
            RemoteSink(url(server), KEYS) as remote,
        ):
            await arrive(sink, 0)
            await remote.catch_up(within=0.2)
            assert "can't be read within 0.2 s" in remote.trouble

    run(scene())


def test_a_remote_sink_survives_a_restart(run, tmp_path, hasty):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            address = server.addresses[0]
            remote = RemoteSink(url(server), KEYS, on_arrival=told.append)
            await remote.__aenter__()
            await arrive(sink, 0)
            await until(lambda: told)
        await until(lambda: remote.trouble)
        assert "connect" in remote.trouble or "disconnected" in remote.trouble
        async with make_sink(journal=tmp_path) as sink, poll_server(sink, listen=(address,)):
            await arrive(sink, 1)
            await until(lambda: len(told) == 2)
            assert "" == remote.trouble
            await remote.__aexit__(None, None, None)

    run(scene())

    assert [token(0), token(1)] == [arrival.token for arrival in told]


def test_a_new_journal_is_read_from_its_beginning(run, tmp_path, hasty):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path / "old") as sink, poll_server(sink) as server:
            address = server.addresses[0]
            await arrive(sink, 0)
            remote = RemoteSink(url(server), KEYS, on_arrival=told.append)
            await remote.__aenter__()
        async with make_sink(journal=tmp_path / "new") as sink, poll_server(sink, listen=(address,)):
            await arrive(sink, 1)
            await until(lambda: told)
            await remote.__aexit__(None, None, None)

    run(scene())

    assert [token(1)] == [arrival.token for arrival in told]


def test_arrivals_that_were_deleted_unread_are_said_to_be_lost(run, tmp_path, caplog):
    told = []
    limits = Limits(journal_segment=1, journal_segments=2)

    async def scene():
        async with make_sink(journal=tmp_path, limits=limits) as sink, poll_server(sink) as server:
            for number in range(4):
                await arrive(sink, number)
            async with RemoteSink(url(server), KEYS, on_arrival=told.append, after=0):
                await until(lambda: told)

    run(scene())

    assert [token(3)] == [arrival.token for arrival in told]
    assert "has deleted 3 arrivals before they were read" in caplog.text


def test_a_failing_listener_does_not_end_the_news(run, tmp_path, caplog):
    told = []

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            listeners = [lambda arrival: 1 / 0, told.append]
            async with RemoteSink(url(server), KEYS, on_arrival=listeners):
                await arrive(sink, 0)
                await until(lambda: told)

    run(scene())

    assert "a listener failed at an arrival" in caplog.text


async def enter(remote):
    async with remote:
        pass


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (replace(KEYS, poll_key="q" * 43), "refuses the poll key"),
        (replace(KEYS, certificate_sha256=hashlib.sha256(b"another").hexdigest()), "another certificate"),
        (replace(KEYS, certificate_sha256=""), "no certificate that a certification authority vouches for"),
    ],
    ids=["wrong-key", "wrong-pin", "no-pin"],
)
def test_a_sink_that_is_not_ours_is_refused_at_once(run, tmp_path, keys, complaint):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            with pytest.raises(SinkError, match=complaint):
                await enter(RemoteSink(url(server), keys))

    run(scene())


def test_an_impostor_never_sees_the_poll_key(run):
    heard = []

    async def eavesdrop(reader, writer):
        heard.append(await reader.read())
        writer.close()

    async def scene():
        context = make_certificate(["127.0.0.1"]).server_context()
        server = await asyncio.start_server(eavesdrop, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SinkError, match="another certificate"):
            await enter(RemoteSink(f"https://127.0.0.1:{port}", KEYS))
        await until(lambda: heard)
        server.close()

    run(scene())

    assert [b""] == heard


def test_a_dead_sink_is_named(run):
    with pytest.raises(SinkError, match=r"https://127\.0\.0\.1:1: can't connect"):
        run(enter(RemoteSink("https://127.0.0.1:1", KEYS)))


@pytest.mark.parametrize("answer", [b"[]", b"{", b'{"schema":"relaywatch.arrivals/9"}', b"\xff"])
def test_an_answer_that_is_none_is_an_error_with_words(run, answer):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        writer.close()

    async def scene():
        server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=CERTIFICATE.server_context())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SinkError, match="can't be read"):
            await enter(RemoteSink(f"https://127.0.0.1:{port}", KEYS))
        server.close()

    run(scene())


@pytest.mark.parametrize(
    "text", ["sink.test", "ftp://sink.test", "http://sink.test", "https://", "http://[::1"]
)
def test_a_url_that_would_not_be_safe_is_refused(text):
    with pytest.raises(UsageError):
        RemoteSink(text, KEYS)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8080", "http://[::1]:80", "http://localhost", "https://a.test"]
)
def test_https_and_http_on_loopback_will_do(text):
    assert None is RemoteSink(text, KEYS).position


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the sink answers 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "the sink answers 302"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "Bad status line"),
        (b"", "ServerDisconnectedError"),
    ],
)
def test_other_answers_are_errors_with_words(run, answer, complaint):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def scene():
        server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=CERTIFICATE.server_context())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SinkError, match=complaint):
            await enter(RemoteSink(f"https://127.0.0.1:{port}", KEYS))
        server.close()

    run(scene())


def test_a_sink_that_never_answers_is_given_up(run, monkeypatch):
    monkeypatch.setattr(client_module, "_SLACK", 0.3)
    held = []

    async def hold(reader, writer):
        held.append(writer)
        await reader.read()
        writer.close()

    async def scene():
        server = await asyncio.start_server(hold, "127.0.0.1", 0, ssl=CERTIFICATE.server_context())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SinkError, match="no answer in time"):
            await enter(RemoteSink(f"https://127.0.0.1:{port}", KEYS))
        server.close()
        await asyncio.sleep(0.05)

    run(scene())
    assert 1 == len(held)


# --- canaries ----------------------------------------------------------------------------------


def test_a_remote_sink_says_where_its_canaries_are(run, tmp_path):
    addresses = (parse_address("192.0.2.1"),)

    async def scene():
        async with (
            make_canaries(
                journal=tmp_path, canary_addresses=addresses, canary_zone="c.example", dns_listen=(IPV4,)
            ) as sink,
            poll_server(sink) as server,
        ):
            sink.reserve_dead_port(IPV4.address)
            async with RemoteSink(url(server), KEYS) as remote:
                return await remote.canaries(), sink.canary_places(*addresses, name="sink.test")

    told, places = run(scene())

    assert places == told
    assert (addresses, "sink.test", "c.example") == (told.addresses, told.name, told.zone)
    assert told.ports
    assert told.smtp_ports
    assert None not in {told.udp_port, told.dead_port}


def test_a_remote_sink_tells_of_canaries_that_were_reached(run, tmp_path):
    told = []

    async def scene():
        async with make_canaries(journal=tmp_path) as sink, poll_server(sink) as server:
            async with RemoteSink(url(server), KEYS, on_arrival=told.append):
                await talk(sink.canary_endpoints[0], WORDS)
                await until(lambda: told)
            return sink.canary_endpoints[0].port

    port = run(scene())

    assert [(token(), ArrivalKind.TCP, port)] == [(one.token, one.kind, one.port) for one in told]


@pytest.mark.parametrize(
    ("make", "said"),
    [(make_sink, "runs without canaries"), (make_canaries, "start it with --public-address")],
)
def test_a_remote_sink_without_canaries_says_so(run, tmp_path, make, said):
    async def scene():
        async with (
            make(journal=tmp_path) as sink,
            poll_server(sink) as server,
            RemoteSink(url(server), KEYS) as remote,
        ):
            await remote.canaries()

    with pytest.raises(NoCanariesError, match=said):
        run(scene())


def page(fields):
    return b'{"schema":"relaywatch.canaries/1","is_waiting":true,' + fields + b"}"


async def ask_for_canaries(status, body):
    """Of a sink of another version, which says this."""

    async def arrivals(_):
        page = {"schema": "relaywatch.arrivals/1", "journal": "x", "first": 1, "last": 0, "next_after": 0}
        return web.json_response(page | {"records": []})

    async def canaries(_):
        return web.Response(status=status, body=body)

    application = web.Application()
    application.router.add_get("/v1/arrivals", arrivals)
    application.router.add_get("/v1/canaries", canaries)
    async with TestServer(application) as server:
        keys = replace(KEYS, certificate_sha256="")
        async with RemoteSink(f"http://127.0.0.1:{server.port}", keys) as remote:
            return await remote.canaries()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (404, b"404: Not Found", NoCanariesError, "of a version that has no canaries"),
        (401, b"{}", SinkError, "refuses the poll key"),
        (500, b"", SinkError, "answers 500"),
        (200, b"no JSON", SinkError, "can't be read"),
        (200, b'{"schema":"relaywatch.canaries/2","is_waiting":true}', SinkError, "can't be read"),
        (200, page(b'"ports":["80"]'), SinkError, "can't be read"),
        (200, page(b'"ports":[80],"addresses":["here"]'), SinkError, "can't be read"),
    ],
)
def test_an_answer_that_tells_no_canaries_is_said_clearly(run, status, body, error, said):
    with pytest.raises(error, match=said):
        run(ask_for_canaries(status, body))


def test_a_newer_sink_may_tell_more(run):
    body = page(b'"ports":[80],"addresses":["192.0.2.1"],"more":1')

    assert CanaryPlaces(addresses=(parse_address("192.0.2.1"),), ports=(80,)) == run(
        ask_for_canaries(200, body)
    )
