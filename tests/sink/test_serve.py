"""The sink as a process of its own: keys, both servers, signals, and kill -9."""

import asyncio
import os
import resource
import signal
import smtplib
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.sink.canaries import talk
from tests.sink.loopback import IPV4, IPV6, deliver_async, message, settings, token, until

from relaywatch.model.canary import canary_words, read_canary_answer
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Endpoint, parse_address
from relaywatch.model.tokens import mint_token
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import KeyFileError
from relaywatch.sink.journal import Journal
from relaywatch.sink.keys import generate_keys, make_keys, read_keys, write_keys
from relaywatch.sink.serve import ServeSettings, open_sink, raise_file_limit, serve_sink
from relaywatch.sink.settings import SinkSettings, with_canaries

PROCESS = """
import asyncio, sys
from ipaddress import ip_address
from pathlib import Path
from relaywatch.model.places import Endpoint
from relaywatch.sink.server import Sink
from relaywatch.sink.settings import SinkSettings

async def main():
    here = Endpoint(ip_address("127.0.0.1"), 0)
    settings = SinkSettings(domain="sink.test", listen=(here,), journal=Path(sys.argv[1]))
    async with Sink(settings, b"k" * 32) as sink:
        print(sink.addresses[0].port, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""

SERVED = """
import asyncio, sys
from ipaddress import ip_address
from pathlib import Path
from relaywatch.model.places import Endpoint
from relaywatch.sink.serve import ServeSettings, serve_sink
from relaywatch.sink.settings import SinkSettings

async def main():
    here, directory = Endpoint(ip_address("127.0.0.1"), 0), Path(sys.argv[1])
    sink = SinkSettings(domain="sink.test", listen=(here,), journal=directory / "journal")
    serving = asyncio.create_task(
        serve_sink(ServeSettings(sink=sink, key_file=directory / "sink.toml", poll_listen=(here,)))
    )
    while not list(directory.glob("journal/arrivals-*")):
        await asyncio.sleep(0.01)
    print("listening", flush=True)
    await serving

asyncio.run(main())
"""


def serve_settings(directory):
    return ServeSettings(
        sink=settings(journal=directory / "journal"),
        key_file=directory / "sink.toml",
        poll_listen=(IPV4,),
        page_listen=(IPV4,),
    )


def test_a_served_sink_from_keygen_to_the_checker(run, tmp_path):
    told = []
    keys = generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])
    ours = mint_token(keys.canary_key, b"0123456789")

    async def scene():
        async with open_sink(serve_settings(tmp_path)) as served:
            url = f"https://{served.poll.addresses[0]}"
            checker_keys = read_keys(tmp_path / "sink.toml")
            async with RemoteSink(url, checker_keys, on_arrival=told.append):
                await deliver_async(served.sink.addresses[0], [f"{ours}@sink.test"])
                await until(lambda: told)
            reader, writer = await asyncio.open_connection("127.0.0.1", served.page_addresses[0].port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            page = await reader.read()
            writer.close()
            return page

    page = run(scene())

    assert [ours] == [arrival.token for arrival in told]
    assert b"200 OK" in page
    assert b"sink.test" in page


def test_a_certificate_that_checkers_would_refuse_is_no_start(run, tmp_path):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])
    (tmp_path / "sink.toml").unlink()
    write_keys(tmp_path / "sink.toml", make_keys(certificate_sha256="ab" * 32))

    with pytest.raises(UsageError, match="checkers would refuse it"):
        run(serve_sink(serve_settings(tmp_path)))


def test_a_missing_key_file_is_no_start(run, tmp_path):
    with pytest.raises(KeyFileError, match="keygen"):
        run(serve_sink(serve_settings(tmp_path)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_served_sink_in_order(tmp_path, number):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])

    with subprocess.Popen(
        [sys.executable, "-c", SERVED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert "listening\n" == process.stdout.readline()
        process.send_signal(number)
        assert 0 == process.wait(10)

    Journal(tmp_path / "journal").close()  # its lock was given back


def canary_settings(directory, **changes):
    made = serve_settings(directory)
    return replace(
        made, sink=replace(made.sink, **{"canary_listen": (IPV4,), "canary_udp": (IPV4,)} | changes)
    )


def test_a_served_sinks_canaries_from_keygen_to_the_answer(run, tmp_path):
    keys = generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])
    ours = mint_token(keys.canary_key, b"0123456789")

    async def scene():
        async with open_sink(canary_settings(tmp_path)) as served:
            url = f"https://{served.poll.addresses[0]}"
            async with RemoteSink(url, keys) as remote:
                places = await remote.canaries()
            where = Endpoint(places.addresses[0], places.ports[0])
            return served.places, places, await talk(where, canary_words(ours) + b"\r\n")

    mine, places, heard = run(scene())

    assert "127.0.0.1" == str(read_canary_answer(keys.canary_key, ours, heard.decode()))
    assert replace(mine, name="sink.test") == places
    assert (IPV4.address,) == places.addresses
    assert places.dead_port


@pytest.mark.parametrize(
    ("listen", "given", "addresses"),
    [
        ((IPV4,), (), ("127.0.0.1",)),
        ((IPV4, IPV6, Endpoint(parse_address("127.0.0.2"), 0)), (), ("127.0.0.1",)),
        ((IPV4,), ("192.0.2.1",), ("192.0.2.1",)),
        ((Endpoint(parse_address("0.0.0.0"), 0),), (), ("192.0.2.7",)),
        ((), (), ()),
    ],
)
def test_the_public_address_is_given_or_listened_on_or_that_of_the_name(
    tmp_path, monkeypatch, listen, given, addresses
):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])

    async def scene():
        found = [(None, None, None, "", (name, 0)) for name in ("192.0.2.7", "192.0.2.8")]
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving(found))
        made = canary_settings(
            tmp_path, canary_listen=listen, canary_addresses=tuple(map(parse_address, given))
        )
        async with open_sink(made) as served:
            return tuple(map(str, served.places.addresses))

    assert addresses == run_in_asyncio(scene)


def test_a_name_that_leads_nowhere_is_told(tmp_path, monkeypatch, caplog):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])

    async def scene():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving(OSError("no such name")))
        made = canary_settings(tmp_path, canary_listen=(Endpoint(parse_address("0.0.0.0"), 0),))
        async with open_sink(made) as served:
            return served.places.addresses

    assert () == run_in_asyncio(scene)
    assert "sink.test leads nowhere (no such name): proxies can't be led here" in caplog.text


def run_in_asyncio(scene):
    """Only in asyncio's loop: uvloop's methods can't be replaced."""
    return asyncio.run(scene())


def resolving(outcome):
    async def getaddrinfo(name, *_, **__):
        assert "sink.test" == name
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return getaddrinfo


def test_ports_given_to_mail_checkers_and_page_are_theirs(run, tmp_path):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])

    async def scene():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        page = Endpoint(IPV4.address, port)
        made = replace(canary_settings(tmp_path, canary_listen=(page, IPV4)), page_listen=(page,))
        async with open_sink(made) as served:
            return served.page_addresses, page, served.sink.canary_endpoints

    pages, page, canaries = run(scene())

    assert (page,) == pages
    assert page not in canaries
    assert 1 == len(canaries)


def test_without_a_dead_port_it_goes_on(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("relaywatch.sink.listening._TRIES", 0)
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])

    async def scene():
        async with open_sink(canary_settings(tmp_path)) as served:
            return served.places

    assert run(scene()).dead_port is None
    assert "no port can be held at 127.0.0.1" in caplog.text


def test_canaries_stand_beside_the_mail():
    mail = SinkSettings(domain="sink.test", listen=(Endpoint(IPV4.address, 25), Endpoint(IPV6.address, 25)))

    made = with_canaries(mail, (443, 25, 587, 6667), zone="c.example", dns_port=5353)

    assert ["127.0.0.1:443", "[::1]:443", "127.0.0.1:6667", "[::1]:6667"] == list(
        map(str, made.canary_listen)
    )
    assert ["127.0.0.1:587", "[::1]:587"] == list(map(str, made.smtp_also))
    assert ["127.0.0.1:443", "[::1]:443", "127.0.0.1:40025", "[::1]:40025"] == list(map(str, made.canary_udp))
    assert ["127.0.0.1:5353", "[::1]:5353"] == list(map(str, made.dns_listen))
    assert () == with_canaries(mail, (443,)).dns_listen


def test_the_file_limit_is_raised_as_far_as_it_may():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert min(4096, hard) == soft
        raise_file_limit()
        assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_was_answered_250_outlives_kill_9(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            port = int(process.stdout.readline())
            with smtplib.SMTP("127.0.0.1", port, "relay.test", timeout=10) as client:
                for number in range(20):
                    client.send_message(message(), "s@relay.test", [f"{token(number)}@sink.test"])
                process.kill()
        except smtplib.SMTPServerDisconnected:  # QUIT to a dead process
            pass
        finally:
            process.kill()

    journal = Journal(tmp_path)

    assert [token(number) for number in range(20)] == [record.token for record in journal.read_all()]
    journal.close()


def test_a_process_killed_amid_the_flow_loses_nothing_that_it_answered(tmp_path):
    answered = []
    for round_number in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            port = int(process.stdout.readline())
            answered += flow(port, process, first=round_number * 1000)

    journal = Journal(tmp_path)
    kept = [record.token for record in journal.read_all()]
    journal.close()

    assert len(answered) >= 60
    assert set() == set(answered) - set(kept)
    assert len(kept) <= len(answered) + 3  # written, killed before the answer: once a round at most
    assert len(kept) == len(set(kept))


def flow(port, process, *, first):
    """Deliver one after the other while the process is killed; gives the tokens that were answered 250."""
    answered = []
    try:
        with smtplib.SMTP("127.0.0.1", port, "relay.test", timeout=10) as client:
            for number in range(first, first + 1000):
                if number == first + 20:
                    os.kill(process.pid, signal.SIGKILL)
                client.send_message(message(), "s@relay.test", [f"{token(number)}@sink.test"])
                answered.append(token(number))
    except (smtplib.SMTPServerDisconnected, OSError):
        pass
    return answered
