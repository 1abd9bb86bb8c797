"""``relaywatch settle``: mail that came after the scan."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from tests.cli.samples import finding, line
from tests.cli.world import BackgroundWorld, english
from tests.sink.loopback import deliver, make_sink, settings, token
from tests.sink.polling import CERTIFICATE, KEYS, poll_server, url

from relaywatch.cli.results import ResultsFile, read_lines
from relaywatch.model.verdicts import Proof, Verdict
from relaywatch.sink.keys import read_keys, write_keys
from relaywatch.sink.server import Sink

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")


def settle(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "relaywatch.cli", "settle", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=english(),
    )


def results(path, *verdicts):
    """A line for each verdict, its finding with the token of its number."""
    with ResultsFile(path) as file:
        for number, verdict in enumerate(verdicts):
            found = (finding(token=token(number), proof=Proof.QUEUED, exit_address=None),)
            file.write(line(verdict, target=f"192.0.2.{number}", findings=found))
    return path


async def receive(sink, *recipients):
    await asyncio.to_thread(deliver, sink.addresses[0], list(recipients))


def test_from_a_scan_to_late_mail_and_its_proof(tmp_path):
    """The scan's own key is kept, so that a sink that is started later knows the canary still."""
    output, journal, data = (tmp_path / name for name in ("results.jsonl", "journal", "data"))
    with BackgroundWorld(["accept-then-drop"]) as world:
        target = f"127.0.0.1:{world.ports['accept-then-drop']}"
        arguments = ("scan", target, "--output", output, "--sink-journal", journal, "--wait", "0.2")
        done = world.run(*arguments, environment={"XDG_DATA_HOME": str(data)})
    assert 1 == done.returncode, done.stderr
    (before,) = read_lines(output)
    key_file = data / "relaywatch" / "sink-keys.toml"

    async def late():
        key = read_keys(key_file).canary_key
        async with Sink(settings(domain="[127.0.0.1]", journal=journal), key) as sink:
            await receive(sink, f"{before.findings[0].token}@[127.0.0.1]")

    asyncio.run(late())
    settled = settle(output, "--sink-journal", journal)

    (after,) = read_lines(output)
    assert (Verdict.ACCEPTING, Verdict.OPEN) == (before.verdict, after.verdict)
    assert [(Proof.DELIVERED, before.findings[0].token)] == [(one.proof, one.token) for one in after.findings]
    assert 1 == settled.returncode
    assert "1 lines are open by what came late." in settled.stderr
    assert "Finished. 1 of 1 hosts relay." in settled.stderr
    assert 0o600 == key_file.stat().st_mode & 0o777


def test_a_sink_elsewhere_is_asked_for_all_that_it_has_kept(tmp_path):
    path = results(tmp_path / "results.jsonl", Verdict.ACCEPTING, Verdict.ACCEPTING, Verdict.CLOSED)
    other = tmp_path / "settled.jsonl"
    keys = tmp_path / "keys.toml"
    write_keys(keys, KEYS)
    before = path.read_bytes()

    async def scene():
        async with make_sink(journal=tmp_path / "journal") as sink, poll_server(sink) as server:
            for number in (7, 1, 2):
                await receive(sink, f"{token(number)}@sink.test")
            arguments = (path, "--sink", url(server), "--sink-key-file", keys, "--output", other)
            return await asyncio.to_thread(settle, *arguments)

    done = asyncio.run(scene())

    assert 1 == done.returncode, done.stderr
    assert [Verdict.ACCEPTING, Verdict.OPEN, Verdict.CLOSED] == [one.verdict for one in read_lines(other)]
    assert before == path.read_bytes()
    assert CERTIFICATE.sha256 == KEYS.certificate_sha256


def test_nothing_that_came_changes_nothing(tmp_path):
    path = results(tmp_path / "results.jsonl", Verdict.CLOSED)
    before = path.read_bytes()

    async def scene():
        async with make_sink(journal=tmp_path / "journal"):
            return await asyncio.to_thread(settle, path, "--sink-journal", tmp_path / "journal")

    done = asyncio.run(scene())

    assert (0, before) == (done.returncode, path.read_bytes())


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "name the sink"),
        (["--sink", "https://127.0.0.1:1"], 2, "--sink-key-file go together"),
        (["--sink-journal", "."], 3, "no sink's journal"),
    ],
)
def test_without_a_sink_the_file_stays(tmp_path, options, code, words):
    path = results(tmp_path / "results.jsonl", Verdict.ACCEPTING)
    before = path.read_bytes()

    done = settle(path, *options)

    assert (code, before) == (done.returncode, path.read_bytes())
    assert words in done.stderr


def test_two_that_make_the_user_s_key_at_once_agree(tmp_path, monkeypatch):
    from relaywatch.cli.settings import own_key  # noqa: PLC0415

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(read_keys(own_key()).canary_key)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert 4 == len(made)
    assert 1 == len(set(made))
