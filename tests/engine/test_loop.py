import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from relaywatch.engine.loop import new_event_loop, run

PROGRAM = """
    import asyncio, sys
    from relaywatch.engine.loop import run

    async def main(stop):
        print("ready", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.sleep({after})
        return 5

    sys.exit(run(main))
"""


def started(after):
    program = textwrap.dedent(PROGRAM).format(after=after)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert "ready\n" == process.stdout.readline()
    return process


def test_what_it_returns_comes_back():
    async def main(stop):
        return stop.is_set()

    assert run(main) is False


def test_handlers_are_as_before():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    async def main(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    run(main)

    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_it_runs_outside_of_the_main_thread():
    answers = []

    async def main(stop):
        return 7

    thread = threading.Thread(target=lambda: answers.append(run(main)))
    thread.start()
    thread.join(10)

    assert [7] == answers


def test_uvloop_where_it_is_installed():
    uvloop = pytest.importorskip("uvloop")
    loop = new_event_loop()
    loop.close()

    assert isinstance(loop, uvloop.Loop)


def test_asyncio_where_it_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    loop.close()

    assert "asyncio" == type(loop).__module__.partition(".")[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request(number):
    with started(after=0) as process:
        process.send_signal(number)

        assert ("stopping\n", 5) == (process.stdout.read(), process.wait(10))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_kills(number):
    with started(after=30) as process:
        process.send_signal(signal.SIGTERM)
        assert "stopping\n" == process.stdout.readline()
        process.send_signal(number)

        assert -number == process.wait(10)
