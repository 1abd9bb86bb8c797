"""Side by side: `relaywatch scan`, nmap, asyncio streams and a native reference, on one fleet, in one run.

python -m bench.scan [--case fast]... [--runs 5] [--targets N] [--ours OPTIONS] [--json FILE] [--write] [--quick]

As root, on a quiet machine of two processors and more: the fleet has one, the contender another. Turns go round, so
that all meet the same disturbances; a run that stood in a queue for more than a tenth of its time is done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.contenders import NATIVE, NMAP, STREAMS, Contender, Task, ours
from bench.outcome import PAGE, render, write_page
from bench.world import CONTENDER_CPU, FLEET_CPU, HERE, BenchError, Fleet, World, world

_PATIENCE = 900.0
_QUEUE_SHARE = 0.1
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fleet, and who runs against it."""

    name: str
    title: str
    fleet: tuple[str, ...] = ()
    targets: int = 5000
    at_once: int = 512
    dead_share: float = 0.0
    is_proxy: bool = False
    vectors_each: int = 16
    rivals: tuple[Contender, ...] = (NMAP, STREAMS, NATIVE)


CASES = (
    Case("fast", "no latency"),
    Case("far", "100 ms a reply", fleet=("-d", "100"), at_once=5000),
    Case("dead", "30 % dead: half refuse, half are silent", dead_share=0.3, at_once=1000),
    Case(
        "slow-down", "50 that slow down after ten errors, as default Postfix",
        fleet=("-x", "10"), targets=50, at_once=50, vectors_each=8, rivals=(NMAP, NATIVE),
    ),
    Case("proxy", "proxies", fleet=("-P", "3128"), targets=2000, is_proxy=True, rivals=(NMAP,)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of one contender cost, and what the fleet saw of it."""

    wall: float
    cpu: float
    peak_kib: int
    waited: float
    status: int
    finished: int
    counts: dict[str, Any]


@dataclass(slots=True)
class Result:
    """All runs of a case."""

    case: str
    title: str
    targets: int
    live: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)


def addresses(count: int, dead_share: float) -> tuple[list[str], int]:
    """So many targets, the dead ones spread evenly among them; and how many live."""
    listed, dead = [], 0
    for number in range(count):
        tail = f"{number // 256 % 256}.{number % 256}"
        if int((number + 1) * dead_share) > dead:
            dead += 1
            listed.append(f"127.{200 + dead % 2}.{tail}")
        else:
            listed.append(f"127.{1 + number // 65536}.{tail}")
    return listed, count - dead


def run_once(where: World, case: Case, contender: Contender, task: Task) -> Sample:
    """Start a fleet, let the contender at it, and take both their figures."""
    fleet = Fleet(where, case.fleet)
    figures = task.output.with_suffix(".figures")
    command = [
        str(where.programs / "measure"),
        str(CONTENDER_CPU),
        str(figures),
        *contender.command(task, where),
    ]
    root = str(HERE.parent)
    paths = os.pathsep.join([f"{root}/src", root, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    try:
        done = subprocess.run(
            where.inside(*command), timeout=_PATIENCE, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    finally:
        counts = fleet.end()
    if not figures.exists():
        raise BenchError(f"{contender.name}: {done.stderr.strip()[-400:]}")
    cost = json.loads(figures.read_text())
    return Sample(
        wall=cost["wall"],
        cpu=cost["user"] + cost["system"],
        peak_kib=cost["peak_kib"],
        waited=cost["waited"],
        status=cost["status"],
        finished=contender.finished(task),
        counts=counts,
    )


def run_case(where: World, case: Case, contenders: list[Contender], runs: int) -> Result:
    """Let the contenders take turns, so many runs each."""
    listed, live = addresses(case.targets, case.dead_share)
    result = Result(case.name, case.title, case.targets, live, {c.name: [] for c in contenders})
    with contextlib.ExitStack() as stack:
        if case.dead_share:
            where.filter_dead()
            stack.callback(where.revive)
        if case.is_proxy:
            stack.enter_context(_names(where))
        for number in range(runs):
            for contender in contenders:
                sample = _quietest(where, case, contender, listed)
                result.samples[contender.name].append(sample)
                _tell(case, contender, number, sample)
    return result


def _quietest(where: World, case: Case, contender: Contender, listed: list[str]) -> Sample:
    samples: list[Sample] = []
    for _ in range(1 + _RETRIES):
        with tempfile.TemporaryDirectory() as folder:
            targets = Path(folder) / "targets"
            targets.write_text("".join(f"{address}\n" for address in listed))
            task = Task(
                targets, len(listed), case.at_once, Path(folder) / "output.jsonl",
                case.is_proxy, bool(case.dead_share), case.vectors_each,
            )  # fmt: skip
            samples.append(run_once(where, case, contender, task))
        if samples[-1].waited <= _QUEUE_SHARE * samples[-1].wall:
            break
    return min(samples, key=lambda sample: sample.waited / sample.wall)


@contextlib.contextmanager
def _names(where: World) -> Iterator[None]:
    command = where.inside("taskset", "-c", str(FLEET_CPU), sys.executable, "-m", "bench.names")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HERE.parent)
    try:
        if server.stdout is None or server.stdout.readline() != b"ready\n":
            raise BenchError("the name server doesn't start")
        yield
    finally:
        server.kill()
        server.communicate()


def _tell(case: Case, contender: Contender, number: int, sample: Sample) -> None:
    rate, each = case.targets / sample.wall, sample.cpu / case.targets * 1000
    queue = sample.waited / sample.wall
    print(
        f"{case.name} {number + 1} {contender.name:16} {sample.wall:8.3f} s {rate:8.0f}/s {each:7.3f} CPU s/1,000 "
        f"{sample.peak_kib / 1024:6.1f} MiB, {sample.finished} through, {queue:.0%} in the queue",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--targets", type=int, help="instead of each case's own number")
    parser.add_argument(
        "--only", action="append", metavar="CONTENDER", help="these contenders; may be repeated"
    )
    parser.add_argument(
        "--ours", action="append", metavar="OPTIONS", help="more options for relaywatch scan; each a row"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--write", action="store_true", help=f"write the table and the plot into {PAGE}")
    parser.add_argument("--quick", action="store_true", help="few targets, one run: to see that all works")
    return parser.parse_args()


def _contenders(case: Case, options: argparse.Namespace) -> list[Contender]:
    extras = options.ours or [""]
    own = [ours(extra, f"relaywatch scan {extra}".strip()) for extra in extras]
    chosen = [*own, *case.rivals]
    return [c for c in chosen if not options.only or any(c.name.startswith(name) for name in options.only)]


def main() -> int:
    """Run the cases, print the tables, write what was asked for."""
    options = _read_options()
    results = []
    os.sched_setaffinity(0, {FLEET_CPU})
    try:
        with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as where:
            for case in CASES:
                if options.case and case.name not in options.case:
                    continue
                targets = options.targets or (min(case.targets, 100) if options.quick else case.targets)
                runs = 1 if options.quick else options.runs
                sized = replace(case, targets=targets, at_once=min(case.at_once, targets))
                results.append(run_case(where, sized, _contenders(case, options), runs))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(render(results))
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    if options.write:
        write_page(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
