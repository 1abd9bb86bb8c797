"""The line that closes every run, as it closed the talk's."""

from __future__ import annotations

from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import Words
from relaywatch.model.evidence import Weakness


def summary_line(tally: Tally, words: Words) -> str:
    """Say how many of the hosts that were asked relay, and how many are open proxies: the last line of a run."""
    ended = words("Interrupted.") if tally.is_interrupted else words("Finished.")
    return f"{ended} {open_hosts(tally, words)}"


def open_hosts(tally: Tally, words: Words) -> str:
    """Say how many hosts relay, and how many are open proxies, of those that were asked."""
    relaying, asked = tally.by_weakness.get(Weakness.OPEN_RELAY, (0, 0))
    proxies, looked_at = tally.by_weakness.get(Weakness.OPEN_PROXY, (0, 0))
    counts = []
    if asked or not looked_at:
        counts.append(words("{open} of {total} hosts relay.", open=relaying, total=asked))
    if looked_at:
        counts.append(words("{open} of {total} hosts are open proxies.", open=proxies, total=looked_at))
    return " ".join(counts)


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
