"""The bench's table and plot, and where they stand in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
PLOT = DOCS / "performance.svg"
_BEGIN, _END = "<!-- bench: begin -->", "<!-- bench: end -->"
_HEAD = (
    "| contender | targets/s | CPU s/1,000 | peak MiB | rate against nmap | CPU against native "
    "| wall against native | connections | RCPT or requests | packets | got through |"
)
_REQUESTS = ("rcpt", "http_get", "http_post", "http_connect", "http_other", "socks4", "socks5")


def render(results: Sequence[Any]) -> str:
    """All tables, in Markdown."""
    return "\n\n".join(_render_case(result) for result in results)


def _render_case(result: Any) -> str:
    lines = [f"### {result.title}: {result.targets:,} targets", "", _HEAD, "|" + "---|" * 11]
    lines += [_row(result, name) for name in result.samples]
    return "\n".join(lines)


def _row(result: Any, name: str) -> str:
    samples = result.samples[name]
    cells = [
        name,
        _spread([result.targets / sample.wall for sample in samples], "{:,.0f}"),
        _spread([_each(result, sample) for sample in samples], "{:.3f}"),
        _spread([sample.peak_kib / 1024 for sample in samples], "{:.0f}"),
        _ratio(result, name, "nmap", lambda sample: 1 / sample.wall),
        _ratio(result, name, "native", lambda sample: sample.cpu),
        _ratio(result, name, "native", lambda sample: sample.wall),
        _seen(samples, ("connections",)),
        _seen(samples, _REQUESTS),
        _seen(samples, ("packets_in",)),
        _through(result, samples),
    ]
    return "| " + " | ".join(cells) + " |"


def _each(result: Any, sample: Any) -> float:
    return float(sample.cpu / result.targets * 1000)


def _spread(values: Sequence[float], form: str) -> str:
    return f"{form.format(median(values))} [{form.format(min(values))}–{form.format(max(values))}]"


def _ratio(result: Any, name: str, other: str, figure: Callable[[Any], float]) -> str:
    """The ratio of the two of each turn, since they met the same disturbances."""
    if other not in result.samples:
        return ""
    pairs = zip(result.samples[name], result.samples[other], strict=True)
    return _spread([figure(mine) / figure(theirs) for mine, theirs in pairs], "{:.2f}")


def _seen(samples: Sequence[Any], words: Sequence[str]) -> str:
    """What one live target saw, by the fleet's count: the least and the most."""
    least = min(sum(sample.counts["least"][word] for word in words) for sample in samples)
    most = max(sum(sample.counts["most"][word] for word in words) for sample in samples)
    return f"{least}" if least == most else f"{least}–{most}"


def _through(result: Any, samples: Sequence[Any]) -> str:
    least = min(sample.finished for sample in samples)
    ended = sorted({sample.status for sample in samples} - {0})
    lost = f"{result.live - least} lost" if least < result.live else "all"
    return ", ".join([lost, *(f"exit code {code}" for code in ended)])


def plot(results: Sequence[Any]) -> str:
    """Targets a second of each contender, in a figure of SVG; each case on a scale of its own."""
    rows, y = [], 10
    for result in results:
        rows.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(result.title)}, targets/s</text>')
        y += 24
        rates = {name: [result.targets / s.wall for s in samples] for name, samples in result.samples.items()}
        most = max(max(values) for values in rates.values())
        for name, values in rates.items():
            rows.append(_bar(name, values, 420 / most, y))
            y += 22
        y += 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {y}" font-family="sans-serif" font-size="13">'
        f'<rect width="720" height="{y}" fill="#fff"/>'
    )
    return "\n".join([head, *rows, "</svg>\n"])


def _bar(name: str, values: Sequence[float], scale: float, y: int) -> str:
    middle, low, high = (180 + scale * value for value in (median(values), min(values), max(values)))
    colour = "#2a6f97" if name.startswith("relaywatch") else "#9aa5b1"
    return (
        f'<text x="170" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="180" y="{y}" width="{middle - 180:.1f}" height="16" fill="{colour}"/>'
        f'<path d="M{low:.1f} {y + 8}H{high:.1f}" stroke="#000"/>'
        f'<text x="{high + 6:.1f}" y="{y + 13}">{median(values):,.0f}</text>'
    )


def write_page(results: Sequence[Any]) -> None:
    """Put the tables between the page's marks, and the plot beside it."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    when = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, Python {platform.python_version()}"
    table = f"{_BEGIN}\n\n{when}.\n\n![Targets a second](performance.svg)\n\n{render(results)}\n\n{_END}"
    PAGE.write_text(before + table + after, encoding="utf-8")
    PLOT.write_text(plot(results), encoding="utf-8")
