"""The line that closes every run, as it closed the talk's."""

from __future__ import annotations

from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import Words


def summary_line(tally: Tally, words: Words) -> str:
    """Say how many of the hosts that were asked relay: the last line of a run."""
    if tally.is_interrupted:
        return words("Interrupted. {open} of {total} hosts relay.", open=tally.open, total=tally.lines)
    return words("Finished. {open} of {total} hosts relay.", open=tally.open, total=tally.lines)


def summary_details(tally: Tally, words: Words) -> str:
    """Count the verdicts, and what was not tested."""
    counts = [
        (words("accepting"), tally.accepting),
        (words("closed"), tally.closed),
        (words("absent"), tally.absent),
        (words("inconclusive"), tally.inconclusive),
        (words("not tested"), tally.skipped),
    ]
    return ", ".join(f"{word}: {count}" for word, count in counts if count)
