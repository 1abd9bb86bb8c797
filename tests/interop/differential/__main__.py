# ruff: noqa: T201 -- a command of the lab; it prints
"""``python -m tests.interop.differential``: run generated configurations and print how far the audit agrees."""

import argparse
import sys
import time

from tests.interop.lab.world import missing

from .agreement import Outcome, compared, jobs_here, table
from .kit import load_kits


def main() -> int:
    """Compare, print the table; 1 if a disagreement has no explanation, 2 where nothing can run."""
    kits = load_kits()
    parser = argparse.ArgumentParser(prog="python -m tests.interop.differential", description=__doc__)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"of {', '.join(kits)}; all by default")
    parser.add_argument("--each", type=int, default=32, help="configurations of each server (%(default)s)")
    parser.add_argument("--seed", type=int, default=4, help="for the generator (%(default)s)")
    parser.add_argument("--jobs", type=int, default=jobs_here(), help="configurations at once (%(default)s)")
    parser.add_argument("--all", action="store_true", help="show all that isn't agreement, explained or not")
    args = parser.parse_args()
    if unknown := sorted(set(args.servers) - set(kits)):
        parser.error(f"no such server: {', '.join(unknown)}")
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    rows = []
    for name in args.servers or kits:
        began = time.monotonic()
        rows.append(compared(kits[name], args.each, args.seed, args.jobs))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        for trial in rows[-1].trials:
            if trial.outcome is Outcome.DISAGREES or (args.all and trial.outcome is not Outcome.AGREES):
                print(trial)
        sys.stdout.flush()
    print("\n".join(table(rows)))
    return 1 if any(row.unexplained for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
