# ruff: noqa: T201 -- a command of the lab; it prints
"""The lab's proxies as relaywatch, nmap's two scripts and HOPM find them, side by side: ``make compare``.

All ask from the same namespace, one after the other, at the ports of each case. The truth in the first
column is proven by curl and others (``make lab``), by none of them. What the peers are given is told in
``peers/``; a host is *open* to them if they say so at any port, by any protocol.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.interop.compare import side_by_side
from tests.interop.lab import plan, rooms
from tests.interop.lab.cases import Case, State
from tests.interop.lab.errors import LabError
from tests.interop.lab.world import CHECKOUT, World
from tests.interop.peers import hopm, landing, nmap_proxies
from tests.interop.peers.nmap_proxies import Said
from tests.interop.test_proxy_verdicts import scan

_SILENT = Said("not run", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One host, as it is and as each of the three says."""

    case: Case
    ours: Said
    nmap: Said
    hopm: Said

    @property
    def is_open(self) -> bool:
        """What it is to the stranger that asks."""
        return self.case.truth.state is State.OPEN


def compare(lab: World, cases: list[Case]) -> list[Row]:
    """Ask all three about every host, each after the other has ended."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        lines = scan(lab, cases, Path(name))
    began = _told("relaywatch", began)
    with _landing(lab):
        nmap = nmap_proxies.ask_all(lab, cases)
        began = _told("nmap", began)
        try:
            by_hopm = hopm.ask_all(lab, cases)
        except LabError as error:
            print(f"HOPM could not be run: {error}", file=sys.stderr)
            by_hopm = {}
        _told("HOPM", began)
    return [
        Row(
            case,
            _ours(lines[plan.host_name(case), "open-proxy"]),
            nmap[case.name],
            by_hopm.get(case.name, _SILENT),
        )
        for case in cases
    ]


def _told(who: str, began: float) -> float:
    now = time.monotonic()
    print(f"{who} has asked all, in {now - began:.0f} s", file=sys.stderr)
    return now


def _ours(line: dict[str, Any]) -> Said:
    advisories = sorted({finding["advisory"] for finding in line["findings"]})
    reasons = line["reasons"] if line["verdict"] != "open" else []
    return Said(line["verdict"], " ".join((*advisories, *reasons)))


@contextlib.contextmanager
def _landing(lab: World) -> Iterator[None]:
    """Let the peers' landing listen at the sink's addresses."""
    command = [
        *lab.as_stranger(),
        sys.executable,
        "-m",
        "tests.interop.peers.landing",
        plan.SINK,
        plan.SINK_6,
    ]
    process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        rooms.wait_until_listening(process, landing.PORTS)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def show(rows: list[Row], console: Console) -> None:
    """Print the table, and under it how many each found and how often each was wrong."""
    table = Table(title="open proxies: truth, relaywatch, nmap http-open-proxy and socks-open-proxy, HOPM")
    for heading in (
        "host",
        "truth",
        "relaywatch",
        "advisories, reasons",
        "nmap",
        "nmap says",
        "HOPM",
        "HOPM says",
    ):
        table.add_column(heading, overflow="fold")
    for row in rows:
        said = (row.ours, row.nmap, row.hopm)
        cells = (text for one in said for text in (one.verdict, one.words))
        table.add_row(row.case.name, row.case.truth.state, *cells)
    console.print(table)
    _count("relaywatch", rows, lambda row: row.ours, console)
    _count("nmap", rows, lambda row: row.nmap, console)
    _count("HOPM", rows, lambda row: row.hopm, console)


def _count(name: str, rows: list[Row], said: Callable[[Row], Said], console: Console) -> None:
    if all(said(row) is _SILENT for row in rows):
        console.print(f"{name}: not run")
        return
    truly = [row for row in rows if row.is_open]
    found = sum(said(row).verdict == "open" for row in truly)
    alarms = [row.case.name for row in rows if not row.is_open and said(row).verdict == "open"]
    console.print(
        f"{name}: {found} of {len(truly)} open proxies found, {len(truly) - found} missed; "
        f"{len(alarms)} of {len(rows) - len(truly)} others called open {' '.join(alarms)}".rstrip()
    )


if __name__ == "__main__":
    sys.exit(side_by_side(lambda case: case.is_proxy, compare, show, width=190))
