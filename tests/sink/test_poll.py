import asyncio
import hashlib
import json
from dataclasses import replace

import aiohttp
import pytest
from tests.sink.loopback import IPV4, IPV6, KEY, deliver_async, make_sink, token, until

from relaywatch.model.errors import UsageError
from relaywatch.sink import client as client_module
from relaywatch.sink.certificate import make_certificate
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import SinkError
from relaywatch.sink.keys import SinkKeys
from relaywatch.sink.poll import PollServer
from relaywatch.sink.settings import Limits

CERTIFICATE = make_certificate(["127.0.0.1"])
KEYS = SinkKeys(canary_key=KEY, poll_key="p" * 43, certificate_sha256=CERTIFICATE.sha256)


def poll_server(sink, **changes):
    options = {"poll_key": KEYS.poll_key, "listen": (IPV4,), "certificate": CERTIFICATE} | changes
    return PollServer(sink, options["poll_key"], options["listen"], certificate=options["certificate"])


def url(server):
    return f"https://{server.addresses[0]}"


async def get(server, path, *, key=KEYS.poll_key, scheme="https"):
    """One request; status, fields, body."""
    fields = {"Authorization": f"Bearer {key}"} if key is not None else {}
    pin = aiohttp.Fingerprint(bytes.fromhex(CERTIFICATE.sha256))
    async with (
        aiohttp.ClientSession(headers=fields) as session,
        session.get(f"{scheme}://{server.addresses[0]}{path}", ssl=pin) as response,
    ):
        return response.status, response.headers, await response.text()


async def arrive(sink, number):
    await deliver_async(sink.addresses[0], [f"{token(number)}@sink.test"])


def test_arrivals_are_read_page_by_page(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            for number in range(3):
                await arrive(sink, number)
            pages = []
            after = 0
            for _ in range(3):
                _, _, body = await get(server, f"/v1/arrivals?after={after}&limit=2")
                pages.append(json.loads(body))
                after = pages[-1]["next_after"]
            return pages

    first, second, third = run(scene())

    assert [token(0), token(1)] == [record["token"] for record in first["records"]]
    assert [token(2)] == [record["token"] for record in second["records"]]
    assert [] == third["records"]
    assert (1, 3, 3) == (third["first"], third["last"], third["next_after"])
    assert "relaywatch.arrivals/1" == first["schema"]


def test_a_long_poll_is_answered_by_the_next_arrival(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            waiting = asyncio.create_task(get(server, "/v1/arrivals?after=0&wait=20"))
            await until(lambda: sink._listeners)
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await arrive(sink, 7)
            return json.loads((await waiting)[2])

    assert [token(7)] == [record["token"] for record in run(scene())["records"]]


def test_a_long_poll_ends_with_an_empty_page(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            return json.loads((await get(server, "/v1/arrivals?wait=0.05"))[2])

    assert [] == run(scene())["records"]


@pytest.mark.parametrize("key", [None, "", "q" * 43, "p" * 42, "ü"])
def test_whoever_has_another_key_reads_nothing(run, tmp_path, key):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            await arrive(sink, 0)
            return await get(server, "/v1/arrivals", key=key)

    status, fields, body = run(scene())

    assert 401 == status
    assert "Bearer" == fields["WWW-Authenticate"]
    assert token(0) not in body


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=x", "wait=nan", "wait=-1"])
def test_a_number_that_is_none_is_named(run, tmp_path, query):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            return await get(server, f"/v1/arrivals?{query}")

    status, _, body = run(scene())

    assert 400 == status
    assert query.partition("=")[0] in json.loads(body)["error"]


def test_anybody_may_read_health_and_the_page_and_finds_no_secret(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path, operator="<b>KrCERT</b>") as sink, poll_server(sink) as server:
            await arrive(sink, 0)
            return [await get(server, path, key=None) for path in ("/v1/health", "/")]

    (health_status, _, health), (page_status, fields, page) = run(scene())

    assert [200, 200] == [health_status, page_status]
    assert 1 == json.loads(health)["arrivals"]
    assert "&lt;b&gt;KrCERT&lt;/b&gt;" in page
    assert "abuse@sink.test" in page
    assert 'lang="ko"' in page
    assert "default-src 'none'" in fields["Content-Security-Policy"]
    for secret in (token(0), KEYS.poll_key, KEY.hex()):
        assert secret not in health + page


def test_the_page_alone_needs_neither_key_nor_journal_and_shows_no_arrivals(run):
    async def scene():
        async with (
            make_sink() as sink,
            poll_server(sink, poll_key=None, certificate=None, listen=(IPV4, IPV6)) as server,
        ):
            return [(await get(server, path, key="", scheme="http"))[0] for path in ("/", "/v1/arrivals")]

    assert [200, 404] == run(scene())


def test_a_polled_sink_needs_a_journal_and_a_key(tmp_path):
    with pytest.raises(UsageError, match="journal"):
        poll_server(make_sink())
    with pytest.raises(UsageError, match="empty poll key"):
        poll_server(make_sink(journal=tmp_path), poll_key="")


def test_https_connections_without_a_request_are_few_and_short(run, tmp_path, monkeypatch):
    monkeypatch.setattr("relaywatch.sink.poll._IDLE", 0.2)
    monkeypatch.setattr("relaywatch.sink.poll._CONNECTIONS", 3)

    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink, certificate=None) as server:
            endpoint = server.addresses[0]
            silent = [await asyncio.open_connection(str(endpoint.address), endpoint.port) for _ in range(5)]
            over = [await asyncio.wait_for(reader.read(), 5) for reader, _ in silent[3:]]
            status, _, _ = await get_when_free(server)
            for _, writer in silent:
                writer.close()
            return over, status

    async def get_when_free(server):
        while True:
            try:
                return await get(server, "/v1/health", scheme="http")
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

    assert ([b"", b""], 200) == run(scene())


# --- the checker's end -------------------------------------------------------------------------


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


def test_a_port_in_use_is_named(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink, poll_server(sink) as server:
            with pytest.raises(UsageError, match=f"can't listen on {server.addresses[0]}"):
                async with poll_server(sink, listen=server.addresses):
                    pass
            return (await get(server, "/v1/health"))[0]

    assert 200 == run(scene())


def test_a_sink_that_closes_answers_its_long_polls(run, tmp_path):
    async def scene():
        async with make_sink(journal=tmp_path) as sink:
            async with poll_server(sink) as server:
                waiting = asyncio.create_task(get(server, "/v1/arrivals?wait=30"))
                await asyncio.sleep(0.2)
            return (await waiting)[0]

    assert 200 == run(scene())
