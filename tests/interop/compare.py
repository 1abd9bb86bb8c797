# ruff: noqa: T201 -- a command of the lab; it prints
"""The lab's servers as relaywatch and nmap's smtp-open-relay find them, side by side: ``make compare``.

Both ask from the same namespace. The truth in the first column is proven by swaks (``make lab``), by
neither of the two. nmap gets every port that it would try and both families, and its verdict is *open* if
it says so anywhere.
"""

import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from tests.interop.lab import plan
from tests.interop.lab.cases import Case, State, chosen
from tests.interop.lab.errors import LabError
from tests.interop.lab.shell import run
from tests.interop.lab.world import World, world
from tests.interop.test_verdicts import AT_ONCE, open_relay_lines, relaywatch

NMAPS_AT_ONCE = 8  # each waits most of the time
NMAP_PORTS = "25,465,587,2525"

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Row:
    """One server, as it is and as each of the two says."""

    case: Case
    verdict: str
    advisories: tuple[str, ...]
    reasons: tuple[str, ...]
    nmap: str
    nmap_output: str

    @property
    def is_open(self) -> bool:
        """What it is."""
        return self.case.truth.state is State.OPEN


def ask_nmap(lab: World, address: str, *options: str) -> str:
    """What nmap's script says of a host, its sentences joined; empty if it says nothing."""
    command = ["nmap", "-n", "-Pn", "-sT", *options, "-p", NMAP_PORTS, "-oX", "-"]
    command += ["--script", "+smtp-open-relay", "--script-args", f"smtp-open-relay.domain={plan.SINK_DOMAIN}"]
    answer = run([*lab.as_stranger(), *command, address], timeout=300)
    scripts = ET.fromstring(answer).iter("script")
    return "; ".join(dict.fromkeys(script.get("output", "").strip().splitlines()[0] for script in scripts))


def read_nmap(output: str) -> str:
    """Nmap's verdict in one word."""
    if "is an open relay" in output:
        return "open"
    if "doesn't seem to be an open relay" in output:
        return "closed"
    return "unknown" if output else "silent"


def compare(lab: World, cases: list[Case]) -> list[Row]:
    """Ask both about every server: one scan of ours, then nmap, so that neither disturbs the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "targets").write_text("".join(f"{plan.host_name(case)}\n" for case in cases))
        output = folder / "results.jsonl"
        relaywatch(lab, cases, folder, "scan", "targets", "--output", output, "--concurrency", str(AT_ONCE))
        lines = open_relay_lines(output.read_text())
    print("relaywatch has asked all; now nmap", file=sys.stderr)
    with ThreadPoolExecutor(NMAPS_AT_ONCE) as pool:
        outputs = list(pool.map(lambda case: ask_nmap_twice(lab, case), cases))
    return [_row(case, lines[plan.host_name(case)], said) for case, said in zip(cases, outputs, strict=True)]


def ask_nmap_twice(lab: World, case: Case) -> str:
    """What nmap's script says of both addresses of a server."""
    home = plan.home(case)
    said = (ask_nmap(lab, home.address), ask_nmap(lab, home.address_6, "-6"))
    return "; ".join(dict.fromkeys(filter(None, said)))


def _row(case: Case, line: dict[str, Any], said: str) -> Row:
    advisories = sorted({finding["advisory"] for finding in line["findings"]})
    return Row(case, line["verdict"], tuple(advisories), tuple(line["reasons"]), read_nmap(said), said)


def show(rows: list[Row], console: Console) -> None:
    """Print the table, and under it how many each found and how often each was wrong."""
    table = Table(title="open relays: truth, relaywatch, nmap smtp-open-relay")
    for heading in ("server", "truth", "relaywatch", "advisories, reasons", "nmap", "nmap says"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        found = (
            " ".join((*row.advisories, *row.reasons)) if row.verdict != "open" else " ".join(row.advisories)
        )
        table.add_row(row.case.name, row.case.truth.state, row.verdict, found, row.nmap, row.nmap_output)
    console.print(table)
    for name, said in (("relaywatch", lambda row: row.verdict), ("nmap", lambda row: row.nmap)):
        truly = [row for row in rows if row.is_open]
        found_open = sum(said(row) == "open" for row in truly)
        false_alarms = sum(said(row) == "open" for row in rows if not row.is_open)
        missed = sum(said(row) == "closed" for row in truly)
        console.print(
            f"{name}: {found_open} of {len(truly)} open servers found open, {missed} called closed; "
            f"{false_alarms} of {len(rows) - len(truly)} others called open"
        )


def side_by_side(
    is_meant: Callable[[Case], bool],
    ask: Callable[[World, list[Case]], list[_Row]],
    print_table: Callable[[list[_Row], Console], None],
    *,
    width: int,
) -> int:
    """Bring up the cases that the command line names, or all, ask about each, print the table; return how it ended.

    The width is that of a table which no terminal bounds.
    """
    console = Console(width=None if sys.stdout.isatty() else width)
    began = time.monotonic()
    try:
        cases = [case for case in chosen(tuple(sys.argv[1:])) if is_meant(case)]
        with world(cases, lambda text: print(text, file=sys.stderr)) as lab:
            rows = ask(lab, [case for case in cases if case.name not in lab.fallen])
    except LabError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 3
    print_table(rows, console)
    print(f"{len(rows)} hosts in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(side_by_side(lambda case: not case.is_proxy, compare, show, width=170))
