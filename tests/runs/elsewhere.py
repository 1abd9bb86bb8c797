"""A sink in a process of its own, as ``relaywatch sink serve`` runs it."""

import contextlib
import random
import socket
import subprocess
import sys

from tests.ports import free_port

from relaywatch.runs.settings import RemoteSinkChoice
from relaywatch.sink.keys import generate_keys


def port_everywhere():
    """A port that is free at every address: below those from which anybody's connections leave."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("0.0.0.0", port)):
            return port


@contextlib.contextmanager
def serving_sink(directory):
    """A sink that is on every address of this machine, and calls another than 127.0.0.1 its own.

    Gives the choice of a run that uses it, and the port at which it takes mail.
    """
    generate_keys(directory / "sink.toml", ["127.0.0.1"])
    mail, poll, canary = port_everywhere(), free_port(), port_everywhere()
    command = [
        *(sys.executable, "-m", "relaywatch.cli", "sink", "serve", "--domain", "sink.example"),
        *("--key-file", directory / "sink.toml", "--journal", directory / "journal", "--lang", "en"),
        *("--listen", f"0.0.0.0:{mail}", "--poll-listen", f"127.0.0.1:{poll}"),
        *("--public-address", "127.0.0.3", "--canary-port", canary),
    ]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "Canaries wait" not in said:
                said += (line := process.stderr.readline())
                assert line, said
            url = f"https://127.0.0.1:{poll}"
            yield RemoteSinkChoice(url=url, key_file=directory / "sink.toml", domain="sink.example"), mail
        finally:
            process.kill()
