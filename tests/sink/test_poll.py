import asyncio
import json

import aiohttp
import pytest
from tests.sink.canaries import talk
from tests.sink.loopback import IPV4, IPV6, KEY, make_sink, token, until
from tests.sink.polling import CERTIFICATE, KEYS, arrive, poll_server

from relaywatch.model.errors import UsageError


async def get(server, path, *, key=KEYS.poll_key, scheme="https"):
    """One request; status, fields, body."""
    fields = {"Authorization": f"Bearer {key}"} if key is not None else {}
    pin = aiohttp.Fingerprint(bytes.fromhex(CERTIFICATE.sha256))
    async with (
        aiohttp.ClientSession(headers=fields) as session,
        session.get(f"{scheme}://{server.addresses[0]}{path}", ssl=pin) as response,
    ):
        return response.status, response.headers, await response.text()


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
            await until(lambda: sink._notebook._listeners)
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


@pytest.mark.parametrize("key", [None, "wrong"])
def test_where_the_canaries_are_is_told_to_checkers_alone(run, tmp_path, key):
    async def scene():
        async with make_sink(journal=tmp_path, canary_listen=(IPV4,)) as sink, poll_server(sink) as server:
            status, _, body = await get(server, "/v1/canaries", key=key)
            async with poll_server(sink, poll_key=None, certificate=None) as page:
                hidden, _, _ = await get(page, "/v1/canaries", scheme="http")
            return status, body, hidden

    status, body, hidden = run(scene())

    assert (401, 404) == (status, hidden)
    assert "ports" not in body


@pytest.mark.parametrize(
    "asked", ["CONNECT sink.test:25", "CONNECT /", "OPTIONS *", "DELETE /", "POST /none"]
)
def test_nothing_but_reading_is_allowed_and_a_tunnel_least_of_all(run, asked):
    async def scene():
        async with make_sink() as sink, poll_server(sink, poll_key=None, certificate=None) as server:
            request = f"{asked} HTTP/1.1\r\nHost: sink.test\r\nConnection: close\r\n\r\n"
            return await talk(server.addresses[0], request.encode())

    said = run(scene()).decode()

    assert said.startswith("HTTP/1.1 405 ")
    assert "\r\nAllow: GET,HEAD\r\n" in said
