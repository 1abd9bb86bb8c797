"""``relaywatch sink serve`` as a process, and what it tells people."""

import signal
import socket
import subprocess
import sys
import time

import pytest
from tests.ports import free_port

from relaywatch.sink.keys import generate_keys


def serve(directory, *options, until):
    """Serve on loopback until that is said; gives all that was."""
    generate_keys(directory / "sink.toml", ["127.0.0.1"])
    command = [
        *(sys.executable, "-m", "relaywatch.cli", "sink", "serve", "--domain", "sink.test"),
        *("--key-file", directory / "sink.toml", "--journal", directory / "journal"),
        *("--listen", f"127.0.0.1:{free_port()}", "--poll-listen", f"127.0.0.1:{free_port()}"),
        *options,
    ]
    said = ""
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            while until not in said and (line := process.stderr.readline()):
                said += line
            while not list(directory.glob("journal/arrivals-*")) and process.poll() is None:
                time.sleep(0.01)  # the signal's handler stands before the journal does
        finally:
            process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
        assert 0 == process.wait(10), said
    return said


def test_a_sink_tells_where_its_canaries_wait_and_what_is_left_out(tmp_path):
    wanted = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        left_out = taken.getsockname()[1]
        said = serve(
            tmp_path,
            "--lang",
            "en",
            "--canary-port",
            wanted,
            "--canary-port",
            left_out,
            until="Canaries wait",
        )

    assert "Receiving mail for sink.test." in said
    assert f"Canaries wait at 127.0.0.1, ports {wanted}; SMTP on " in said
    assert f"Left out: can't listen on 127.0.0.1:{left_out}: another program listens there" in said


def test_it_tells_in_korean(tmp_path):
    said = serve(tmp_path, "--lang", "ko", "--canary-port", free_port(), until="기다립니다")

    assert "카나리가 127.0.0.1의 포트 " in said


def test_without_canaries_it_tells_of_none(tmp_path):
    said = serve(tmp_path, "--lang", "en", "--no-canaries", until="Receiving")

    assert "Canaries" not in said
    assert "Left out" not in said


@pytest.mark.parametrize("option", [("--canary-port", "80"), ("--dns-zone", "c.example")])
def test_no_canaries_goes_with_nothing_that_asks_for_some(tmp_path, option):
    generate_keys(tmp_path / "sink.toml", ["127.0.0.1"])
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "relaywatch.cli",
                "sink",
                "serve",
                "--domain",
                "sink.test",
                "--lang",
                "en",
            ),
            *("--key-file", tmp_path / "sink.toml", "--journal", tmp_path, "--no-canaries", *option),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert 2 == done.returncode
    assert "--no-canaries goes with neither" in done.stderr
