"""The bench's programs in C: they compile without a warning, say the right things, and count right."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.world import HERE, compile_all
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc") or sys.platform != "linux", reason="needs gcc on Linux"
)

ADDRESSES = ("127.1.0.1", "127.1.0.2", "127.1.0.3")
REFUSED = [454] * 16


class Fleet:
    """A fleet on ports of its own."""

    def __init__(self, program: Path, *options: str) -> None:
        self.mail, self.proxy = free_port(), free_port()
        command = [str(program), "-p", str(self.mail), "-P", str(self.proxy), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def say(self, port: int, words: bytes, address: str = ADDRESSES[0]) -> bytes:
        with socket.create_connection((address, port), timeout=10) as link:
            link.sendall(words)
            return b"".join(iter(lambda: link.recv(65536), b""))

    def end(self) -> dict:
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=10)
        return json.loads(said) if said else {}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    compile_all(folder)
    return folder


@pytest.fixture
def fleet(programs: Path) -> Iterator[Callable[..., Fleet]]:
    started: list[Fleet] = []

    def start(*options: str) -> Fleet:
        started.append(Fleet(programs / "fleet", *options))
        return started[-1]

    yield start
    for one in started:
        one.end()


def replies(said: bytes) -> list[str]:
    return [line[:9] for line in said.decode().splitlines() if line[3:4] == " "]


def test_mail_server_answers_as_postfix(fleet) -> None:
    words = (
        b"EHLO a.test\r\nHELP\r\nRCPT TO:<a@b.test>\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"
        b"RCPT TO:<Postmaster>\r\nRCPT TO:<a@[127.1.0.1]>\r\nRCPT TO:<a%b.test@[127.1.0.1]>\r\n"
        b"RCPT TO:<@mx.example.test:a@b.test>\r\nRCPT TO:<postmaster@mx.example.test>\r\nRSET\r\nDATA\r\nQUIT\r\n"
    )
    one = fleet()
    assert replies(one.say(one.mail, words)) == [
        "220 mx.ex", "250 DSN", "502 5.5.2", "503 5.5.1", "250 2.1.0", "503 5.5.1", "454 4.7.1", "250 2.1.5",
        "550 5.1.1", "454 4.7.1", "454 4.7.1", "250 2.1.5", "250 2.0.0", "554 5.5.1", "221 2.0.0",
    ]  # fmt: skip
    seen = one.end()
    assert seen["targets"] == 1
    assert {word: count for word, count in seen["sum"].items() if count and "packets" not in word} == {
        "connections": 1, "at_once": 1, "octets_in": len(words), "ehlo": 1, "help": 1, "mail": 2, "rcpt": 7,
        "rset": 1, "data": 1, "quit": 1, "denied": 3, "unknown_user": 1, "accepted": 2,
    }  # fmt: skip


def test_denial_may_be_permanent(fleet) -> None:
    one = fleet("-c", "554")
    said = one.say(one.mail, b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nQUIT\r\n")
    assert b"\r\n554 5.7.1 <a@b.test>: Relay access denied\r\n" in said


def test_line_may_come_in_pieces_but_not_without_end(fleet) -> None:
    one = fleet()
    with socket.create_connection((ADDRESSES[0], one.mail), timeout=10) as link:
        for piece in (b"RS", b"ET\r", b"\nQUIT\r\n"):
            link.sendall(piece)
            time.sleep(0.02)
        assert replies(b"".join(iter(lambda: link.recv(4096), b""))) == [
            "220 mx.ex",
            "250 2.0.0",
            "221 2.0.0",
        ]
    assert replies(one.say(one.mail, b"x" * 2048)) == ["220 mx.ex", "500 5.5.2"]


def test_delay_holds_for_each_reply_and_piles_up_for_none(fleet) -> None:
    one = fleet("-d", "100")
    began = time.monotonic()
    assert len(replies(one.say(one.mail, b"NOOP\r\n" * 20 + b"QUIT\r\n"))) == 22
    assert 0.1 <= time.monotonic() - began < 0.9


def test_errors_slow_it_down(fleet) -> None:
    one = fleet("-x", "2")
    began = time.monotonic()
    assert replies(one.say(one.mail, b"X\r\nX\r\nNOOP\r\nQUIT\r\n"))[-1] == "221 2.0.0"
    assert time.monotonic() - began >= 2
    assert one.end()["sum"]["slowed"] == 2


@pytest.mark.parametrize(
    ("words", "word", "reply"),
    [
        (
            b"CONNECT a.test:25 HTTP/1.1\r\nHost: a.test:25\r\n\r\n",
            "http_connect",
            b"HTTP/1.1 403 Forbidden\r\n",
        ),
        (b"GET http://a.test/ HTTP/1.0\r\n\r\n", "http_get", b"HTTP/1.1 403 Forbidden\r\n"),
        (b"HEAD http://a.test/ HTTP/1.0\r\n\r\n", "http_other", b"HTTP/1.1 403 Forbidden\r\n"),
        (b"\x04\x01\x00\x19\x7f\x00\x00\x01\x00", "socks4", b"\x00\x5b\x00\x00\x00\x00\x00\x00"),
        (b"\x05\x01\x00", "socks5", b"\x05\xff"),
        (b"\x16\x03\x01", "tls_hello", b""),
        (b"hello\r\n", "no_protocol", b"HTTP/1.1 400 Bad Request\r\n"),
    ],
)
def test_proxy_is_for_nobody(fleet, words, word, reply) -> None:
    one = fleet()
    assert one.say(one.proxy, words).startswith(reply)
    assert one.end()["sum"][word] == 1


def test_writes_a_line_for_each_target_and_connection(fleet, tmp_path) -> None:
    one = fleet("-t", str(tmp_path / "targets"), "-l", str(tmp_path / "log"))
    for address in (*ADDRESSES, ADDRESSES[0]):
        one.say(one.mail, b"QUIT\r\n", address)
    seen = one.end()
    assert (seen["targets"], seen["least"]["quit"], seen["most"]["quit"]) == (3, 1, 2)
    lines = [json.loads(line) for line in (tmp_path / "targets").read_text().splitlines()]
    assert {line["address"]: line["connections"] for line in lines} == dict(
        zip(ADDRESSES, (2, 1, 1), strict=True)
    )
    logged = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [(address, int(port)) for _, address, port in logged] == [
        (address, one.mail) for address in (*ADDRESSES, ADDRESSES[0])
    ]


@pytest.mark.parametrize(
    ("how", "connections"), [("native", 1), ("native -s", 1), ("native -b 8", 2), ("streams", 1)]
)
def test_references_ask_the_same_sixteen(fleet, programs, tmp_path, how, connections) -> None:
    one, output = fleet(), tmp_path / "output"
    command = [str(programs / "native"), *how.split()[1:], "-p", str(one.mail), "-o", str(output)]
    if how == "streams":
        command = [sys.executable, str(HERE / "streams.py"), "--port", str(one.mail), "--output", str(output)]
    subprocess.run(command, input="\n".join(ADDRESSES), text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(line["target"] for line in lines) == list(ADDRESSES)
    assert all(line["codes"] == REFUSED for line in lines)
    seen = one.end()
    assert seen["least"] | {"packets_in": 0, "packets_out": 0, "octets_in": 0} == seen["most"] | {
        "packets_in": 0, "packets_out": 0, "octets_in": 0,
    }  # fmt: skip
    least = seen["least"]
    assert (least["rcpt"], least["mail"], least["denied"], least["rset"]) == (16, 16, 16, 16)
    assert (least["connections"], least["quit"], least["ehlo"]) == (connections,) * 3


def test_launcher_counts_children(programs, tmp_path) -> None:
    busy = f"{sys.executable} -c 'sum(range(3_000_000))'; exit 3"
    command = [str(programs / "measure"), str(min(os.sched_getaffinity(0))), str(tmp_path / "cost")]
    subprocess.run([*command, "sh", "-c", busy], check=True, timeout=30)
    cost = json.loads((tmp_path / "cost").read_text())
    assert cost["status"] == 3
    assert 0 < cost["user"] + cost["system"] <= cost["wall"] + 0.1
    assert cost["peak_kib"] > 4000
