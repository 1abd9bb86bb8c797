"""The sink as a process of its own: keys, both servers, signals, and kill -9."""

import asyncio
import os
import resource
import signal
import smtplib
import subprocess
import sys

import pytest
from tests.sink.loopback import IPV4, deliver_async, message, settings, token, until

from relaywatch.model.errors import UsageError
from relaywatch.model.tokens import mint_token
from relaywatch.sink.client import RemoteSink
from relaywatch.sink.errors import KeyFileError
from relaywatch.sink.journal import Journal
from relaywatch.sink.keys import generate_keys, make_keys, read_keys, write_keys
from relaywatch.sink.serve import ServeSettings, open_sink, raise_file_limit, serve_sink

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
