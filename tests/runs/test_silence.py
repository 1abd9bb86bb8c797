"""A host that closes itself to us in the middle of a check: what is silent then may be open to strangers."""

import contextlib
import socket
import threading
from dataclasses import replace

import pytest
from tests.engine.hostile import deaf
from tests.ports import free_port
from tests.runs.checking import LOOPBACK, Counting, asyncio_run, check, hurried

from relaywatch.engine.limits import Limits
from relaywatch.model.evidence import AttemptStatus, Weakness
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs.settings import LocalSink

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def blocking_after(served, *, greeting=b"", answer=b""):
    """A server that takes so many connections; from then on Linux answers no SYN at its port."""
    callers = []
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        thread = threading.Thread(target=_serve, args=(listener, served, greeting, answer, callers))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # which wakes whoever waits to accept
        thread.join()
    for caller in callers:
        caller.close()


def _serve(listener, served, greeting, answer, callers):
    for number in range(served):
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the test is over
        with connection, contextlib.suppress(OSError):
            if number == served - 1:
                callers += _full_queue(listener.getsockname())
            connection.settimeout(2)
            connection.sendall(greeting)
            if answer:
                connection.recv(4096)
                connection.sendall(answer)


def _full_queue(where):
    callers = [socket.socket() for _ in range(4)]
    for caller in callers:
        caller.setblocking(False)
        caller.connect_ex(where)
    return callers


def checked(*ports, probes=("http3-connect",)):
    """Check this host's ports for proxies, by a probe that asks nothing over TCP unless another is named."""
    sink = LocalSink(address=LOOPBACK, port=free_port(), canary_ports=())
    settings = hurried(sink=sink, probes=probes, limits=Limits(connect_seconds=0.4, tls_seconds=0.5))
    return asyncio_run(check(["127.0.0.1"], replace(settings, ports=ports)))


def looks(told):
    """How those attempts ended that only looked whether a port is still there."""
    return [attempt.status for attempt in told.attempts if attempt.probe == "presence"]


@pytest.mark.parametrize(
    ("served", "expected", "status"),
    [
        (1, (Verdict.INCONCLUSIVE, (Reason.CLIENT_BLOCKED,)), AttemptStatus.NO_ANSWER),
        (9, (Verdict.ABSENT, ()), AttemptStatus.COMPLETED),
    ],
)
def test_silence_is_nobodys_only_if_what_was_heard_is_heard_still(served, expected, status):
    with blocking_after(served, greeting=b"MYSQL 8.0\n") as heard, deaf() as silent:
        told = checked(heard, silent.port)

    (line,) = told.lines
    assert Weakness.OPEN_PROXY is line.weakness
    assert expected == (line.verdict, line.reasons)
    assert [status] == looks(told)


def test_a_mail_port_that_was_heard_first_is_no_door_of_proxies():
    host = "127.11.12.13"  # of this test alone, so that it may have a mail port

    async def scene():
        async with Counting(host, port=2525):
            with deaf(host) as silent:
                settings = hurried(probes=("smtp-relay", "http3-connect"), limits=Limits(connect_seconds=0.4))
                return await check([host], replace(settings, ports=(2525, silent.port)))

    told = asyncio_run(scene())

    mail, proxies = told.lines
    assert (Weakness.OPEN_PROXY, Verdict.ABSENT, ()) == (proxies.weakness, proxies.verdict, proxies.reasons)
    assert [2525] == [door.port for door in mail.doors]
    assert 2525 not in [door.port for door in proxies.doors]
    assert [AttemptStatus.COMPLETED] == looks(told)


def test_without_silence_nobody_is_asked_again():
    with blocking_after(9, greeting=b"MYSQL 8.0\n") as heard:
        told = checked(heard)

    assert [Verdict.ABSENT] == [line.verdict for line in told.lines]
    assert [] == looks(told)


def test_where_all_is_silent_nobody_is_asked_again():
    with deaf() as silent:
        told = checked(silent.port, probes=("http-connect",))

    assert [(Verdict.INCONCLUSIVE, (Reason.NO_ANSWER,))] == [
        (line.verdict, line.reasons) for line in told.lines
    ]
    assert [] == looks(told)


def test_a_door_that_falls_silent_while_it_is_asked_is_left_alone_and_not_called_absent():
    with blocking_after(2, answer=REFUSAL) as heard:
        told = checked(heard, probes=("http-connect", "http-forward", "http-misrouting"))

    (line,) = told.lines
    assert (Verdict.INCONCLUSIVE, (Reason.CLIENT_BLOCKED,)) == (line.verdict, line.reasons)
    assert ["recognition", "http-connect"] == [attempt.probe for attempt in told.attempts]
    assert [] == looks(told)  # it is known already
