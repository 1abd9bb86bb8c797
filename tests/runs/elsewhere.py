"""A sink in a process of its own, as ``relaywatch sink serve`` runs it."""

import contextlib
import subprocess
import sys

from tests.runs.checking import free_port

from relaywatch.runs.settings import RemoteSinkChoice
from relaywatch.sink.keys import generate_keys


@contextlib.contextmanager
def serving_sink(directory):
    """A sink that is on every address of this machine, and calls another than 127.0.0.1 its own.

    Gives the choice of a run that uses it, and the port at which it takes mail.
    """
    generate_keys(directory / "sink.toml", ["127.0.0.1"])
    mail, poll, canary = free_port(), free_port(), free_port()
    command = [
        *(sys.executable, "-m", "relaywatch.cli", "sink", "serve", "--domain", "sink.example"),
        *("--key-file", directory / "sink.toml", "--journal", directory / "journal", "--lang", "en"),
        *("--listen", f"0.0.0.0:{mail}", "--poll-listen", f"127.0.0.1:{poll}"),
        *("--public-address", "127.0.0.3", "--canary-port", canary),
    ]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            while "Canaries wait" not in process.stderr.readline():
                assert process.poll() is None
            url = f"https://127.0.0.1:{poll}"
            yield RemoteSinkChoice(url=url, key_file=directory / "sink.toml", domain="sink.example"), mail
        finally:
            process.kill()
