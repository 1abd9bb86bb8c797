"""The bench's world: a network namespace of its own with nothing but loopback, and the fleet in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FLEET_CPU, CONTENDER_CPU = 0, 1
REFUSING, SILENT = "127.200.0.0/16", "127.201.0.0/16"
"""Dead targets: these answer by RST, those not at all."""
_FLAGS = ("-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror")
_SOURCES = {
    "fleet": ("fleet.c", "dialogue.c", "tally.c"),
    "native": ("native.c",),
    "measure": ("measure.c",),
}
_DEAD = f"""
table ip bench {{
    chain output {{
        type filter hook output priority 0;
        ip daddr {REFUSING} tcp flags syn / syn,ack reject with tcp reset
        ip daddr {SILENT} drop
    }}
}}
"""


class BenchError(Exception):
    """The bench can't go on; the text says why."""


def compile_all(folder: Path) -> None:
    """Compile the fleet, the reference and the launcher into the folder."""
    for name, sources in _SOURCES.items():
        files = [str(HERE / source) for source in sources]
        _run(["gcc", *_FLAGS, "-o", str(folder / name), *files])


def _run(command: Sequence[str], text: str | None = None) -> None:
    if not shutil.which(command[0]):
        raise BenchError(f"{command[0]} is not installed")
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class World:
    """A namespace that stands, and the folder of the compiled programs."""

    name: str
    programs: Path

    def inside(self, *command: str) -> list[str]:
        """The command as it runs in the namespace."""
        return ["ip", "netns", "exec", self.name, *command]

    def filter_dead(self) -> None:
        """Let the dead targets be dead; for the runs that want them, since each packet is looked at then."""
        _run(self.inside("nft", "-f", "-"), _DEAD)

    def revive(self) -> None:
        """Take the filter away again."""
        _run(self.inside("nft", "flush", "ruleset"))


@contextlib.contextmanager
def world(programs: Path) -> Iterator[World]:
    """Make the namespace with its loopback up, and remove it in the end."""
    if os.geteuid():
        raise BenchError("the bench makes a network namespace: it needs root")
    compile_all(programs)
    made = World(f"rwbench-{os.getpid()}", programs)
    _run(["ip", "netns", "add", made.name])
    try:
        _run(made.inside("ip", "link", "set", "lo", "up"))
        yield made
    finally:
        _run(["ip", "netns", "del", made.name])


class Fleet:
    """A running fleet; ``counts`` once it has ended."""

    def __init__(self, where: World, options: Sequence[str]) -> None:
        command = where.inside("taskset", "-c", str(FLEET_CPU), str(where.programs / "fleet"), *options)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise BenchError("the fleet doesn't start")
        self.counts: dict[str, Any] = {}

    def end(self) -> dict[str, Any]:
        """Stop it, and give what it counted: targets, and sum, least and most of each word."""
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=60)
        self.counts = json.loads(said)
        return self.counts
