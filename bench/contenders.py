"""Who runs in the bench, and how: each at its best settings for the case at hand."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.world import HERE, World

MAIL_PORT, PROXY_PORT = 2525, 3128
RESOLVER = "127.0.0.1"
_NMAP = (
    "nmap -n -Pn -T5 -sT --min-hostgroup 4096 --max-hostgroup 8192 --max-parallelism {at_once} "
    "--nsock-engine poll -p {port}"
)
_NMAP_MAIL = "--script +smtp-open-relay --script-args smtp-open-relay.domain=relay.test"
_NMAP_PROXY = (
    "--dns-servers {resolver} --script +http-open-proxy,+socks-open-proxy "
    "--script-args proxy.url=http://canary.bench.test/,proxy.pattern=canary"
)
_NMAP_LIVE = 1000
"""One nmap never has more sessions open, whatever it is told."""
_PROXY_PROBES = ("http-connect", "http-forward", "socks4", "socks4a", "socks5-connect")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be asked: a file of addresses, how many are live, where the output goes."""

    targets: Path
    count: int
    at_once: int
    output: Path
    is_proxy: bool = False
    has_dead: bool = False
    vectors_each: int = 16
    """Vectors to a connection, of those who can be told."""

    @property
    def port(self) -> int:
        """The port of the fleet."""
        return PROXY_PORT if self.is_proxy else MAIL_PORT


@dataclass(frozen=True, slots=True)
class Contender:
    """A name, its command line for a task, and how it tells the targets that it got through with."""

    name: str
    command: Callable[[Task, World], list[str]]
    finished: Callable[[Task], int]


def ours(extra: str = "", name: str = "relaywatch scan") -> Contender:
    """Our product as a user runs it, with more options if need be."""

    def command(task: Task, where: World) -> list[str]:  # noqa: ARG001
        probes = _PROXY_PROBES if task.is_proxy else ("smtp-relay",)
        words = [sys.executable, "-m", "relaywatch.cli", "scan", str(task.targets), "--port", str(task.port)]
        words += [word for probe in probes for word in ("--probe", probe)]
        words += ["--concurrency", str(task.at_once), "--output", str(task.output)]
        return [*words, *shlex.split(extra)]

    return Contender(name, command, lambda task: _count_lines(task, '"verdict":"closed"'))


def _count_lines(task: Task, words: str) -> int:
    if not task.output.exists():
        return 0
    with task.output.open(encoding="utf-8", errors="replace") as lines:
        return sum(words in line for line in lines)


def _native(task: Task, where: World) -> list[str]:
    patience = "300" if task.has_dead else "3000"
    options = f"-p {task.port} -n {task.at_once} -b {task.vectors_each} -w {patience} -o {task.output}"
    return ["sh", "-c", f"exec {where.programs / 'native'} {options} < {task.targets}"]


def _streams(task: Task, where: World) -> list[str]:  # noqa: ARG001
    patience = 0.3 if task.has_dead else 3
    options = (
        f"--port {task.port} --at-once {task.at_once} --connect-within {patience} --output {task.output}"
    )
    return ["sh", "-c", f"exec {sys.executable} {HERE / 'streams.py'} {options} < {task.targets}"]


def _nmap_parts(task: Task) -> int:
    """As many processes as keep all the sessions open that the task allows; one where nothing has to wait."""
    return max(1, min(task.at_once, task.count) // _NMAP_LIVE)


def _nmap(task: Task, where: World) -> list[str]:  # noqa: ARG001
    parts = _nmap_parts(task)
    base = _NMAP.format(at_once=min(task.at_once, _NMAP_LIVE), port=task.port)
    script = _NMAP_PROXY.format(resolver=RESOLVER) if task.is_proxy else _NMAP_MAIL
    lines = [f"split -n l/{parts} -d -a 3 {task.targets} {task.targets}.part."]
    for part in range(parts):
        files = f"-iL {task.targets}.part.{part:03} -oX {task.output}.{part:03}"
        lines.append(f"{base} {script} {files} > /dev/null")
    if parts == 1:  # in the shell's place, so that its waits in the queue are seen
        return ["sh", "-c", f"{lines[0]}\nexec {lines[1]}"]
    return ["sh", "-c", "\n".join([lines[0], *(f"{line} &" for line in lines[1:]), "wait"])]


def _nmap_finished(task: Task) -> int:
    words = '<state state="open"' if task.is_proxy else "all tests failed"
    texts = [path.read_text(errors="replace") for path in task.output.parent.glob(f"{task.output.name}.*")]
    return sum(text.count(words) for text in texts)


def _lines_done(task: Task) -> int:
    if not task.output.exists():
        return 0
    with task.output.open(encoding="utf-8") as lines:
        return sum(json.loads(line)["state"] == "done" for line in lines)


NMAP = Contender("nmap", _nmap, _nmap_finished)
NATIVE = Contender("native", _native, _lines_done)
STREAMS = Contender("asyncio streams", _streams, _lines_done)
