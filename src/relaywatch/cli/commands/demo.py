"""``relaywatch demo``: the real check over a loopback world, and what was expected beside what was found."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.cli.exit_codes import ExitCode, Tally
from relaywatch.cli.language import N_, Words
from relaywatch.cli.opening import open_to_write
from relaywatch.cli.options import NEW_FILE
from relaywatch.cli.reports.entry import Entry
from relaywatch.cli.reports.layout import console_for, print_parts
from relaywatch.cli.reports.page import write_page
from relaywatch.cli.reports.phrases import MARKS, VERDICTS
from relaywatch.cli.reports.summary import summary_line
from relaywatch.cli.reports.text import STYLES, verdict_text
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.demo.population import BEHIND_PROXY, Role
from relaywatch.demo.show import Row, disagreeing, run_demo
from relaywatch.demo.world import Place, World, serve_world
from relaywatch.engine.limits import Limits
from relaywatch.engine.pace import Rates
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Endpoint
from relaywatch.model.results import ResultLine
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.run import Run
from relaywatch.runs.settings import LocalSink, RunSettings
from relaywatch.script.brief import Patience
from relaywatch.targets.parse import parse_target

_LOOPBACK = ip_address("127.0.0.1")
_SINK_DOMAIN = "sink.localhost"
"""A name that leads to this machine without DNS (RFC 6761 section 6.3): some forms need a domain."""
_SMTP = 25
_FAST = Rates(overall=1000, per_address=1000, per_network=1000, burst=100, overall_burst=1000)
_PATIENCE = Patience(
    greeting=5,
    reply=5,
    data_reply=5,
    greylist=8,
    after_rate_limit=0.5,
    first_words=0.5,
    tunnel=4,
    canary=2,
)
_LIMITS = Limits(connect_seconds=3, receive_seconds=5, tls_seconds=5, attempt_seconds=20)
"""The world's servers are slow by seconds, where real ones are by minutes."""
_WAIT = 4.0
_RELAY_PROBES = ("smtp-relay",)
_PROXY_PROBES = (
    *("http-connect", "http-forward", "http-misrouting"),
    *("socks4", "socks4a", "socks5-connect", "telnet-gateway"),
)
"""Those of whose kind there are proxies in the world."""


@dataclass(slots=True)
class _Checking:
    """One run over many places at a time, asked for place by place."""

    settings: RunSettings
    wanted: Weakness
    reports: dict[int, asyncio.Future[TargetReport]] = field(default_factory=dict)

    async def run(self, places: Iterable[Place]) -> None:
        """Check the places, and give each waiting one its report. A place is known by its port."""
        entries = [parse_target(f"{place.host}:{place.port}") for place in places]
        async for report in Run(self.settings).check(entries):
            port = report.attempts[0].endpoint.port
            if report.line.weakness is self.wanted and not self.reports[port].done():
                self.reports[port].set_result(report)


@command(
    "demo",
    N_(
        "Start a world of small mail servers and proxies on loopback, open, closed and deceiving; check each as a "
        "stranger would; write the report; and show what was found beside what was expected."
    ),
)
@option(
    "--html",
    type=NEW_FILE,
    metavar="FILE",
    default="relaywatch-demo.html",
    show_default=True,
    help=N_("Write the report as an HTML page here."),
)
@option(
    "--only",
    multiple=True,
    metavar="NAME",
    help=N_("Check these servers of the world only; may be repeated."),
)
@option(
    "--serve",
    is_flag=True,
    help=N_("Check nothing: keep the servers up until Ctrl-C, and say where they are, to try commands on."),
)
@option(
    "--first-port",
    type=click.IntRange(1024, 65000),
    default=2600,
    show_default=True,
    metavar="PORT",
    help=N_("With --serve: the port of the first server; the others follow."),
)
@option(
    "--sink-port",
    type=click.IntRange(1, 65535),
    default=25,
    show_default=True,
    metavar="PORT",
    help=N_("With --serve: the port on loopback to which relayed mail goes."),
)
@click.pass_context
def demo(
    ctx: click.Context, /, html: Path, only: tuple[str, ...], serve: bool, first_port: int, sink_port: int
) -> None:
    """Run the demonstration; exit code 0 if all was found as expected."""
    words = words_of(ctx)
    if serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(words, only, first_port, sink_port))
        return
    rows, reports = asyncio.run(_demonstrate(words, only))
    tally = Tally()
    for row in rows:
        if row.line:
            tally.add(row.line)
    with open_to_write(html) as file:
        write_page(
            file, _entries(rows, reports), load_catalogue(), words, made_at=datetime.now(UTC), tally=tally
        )
    print_parts(console_for(sys.stdout), _table(rows, words))
    wrong = disagreeing(rows)
    click.echo(
        words(
            "{agreeing} of {total} servers were found as expected.",
            agreeing=len(rows) - len(wrong),
            total=len(rows),
        )
    )
    click.echo(words("Report: {path}", path=html.absolute().as_uri()))
    click.echo(summary_line(tally, words))
    ctx.exit(ExitCode.OPEN if wrong else ExitCode.NOTHING_OPEN)


async def _serve(words: Words, only: tuple[str, ...], first_port: int, sink_port: int) -> None:
    """Keep the world up, and say where each server is and what to try."""
    next_hop = Endpoint(_LOOPBACK, sink_port)
    async with serve_world(next_hop, first_port=first_port, only=only or None) as world:
        for place in world.places.values():
            click.echo(f"{place.host}:{place.port}\t{place.name}")
        first = next(iter(world.places.values()))
        sink = f" --sink-address {_LOOPBACK} --sink-port {sink_port}" if sink_port != _SMTP else ""
        click.echo(
            words("Try: {command}", command=f"relaywatch check {first.host} --port {first.port}{sink}")
        )
        await asyncio.get_running_loop().create_future()  # until Ctrl-C


def _entries(rows: Iterable[Row], reports: list[TargetReport]) -> list[Entry]:
    """What the page shows: every server under the name that the world has for it, since all share an address."""
    names = {row.place.port: row.place.name for row in rows}
    entries = [Entry.of(report) for report in reports]
    return [
        replace(one, line=replace(one.line, name=names[one.attempts[0].endpoint.port])) for one in entries
    ]


async def _demonstrate(words: Words, only: tuple[str, ...]) -> tuple[tuple[Row, ...], list[TargetReport]]:
    console = console_for(sys.stderr)
    port = _free_port()
    async with World(Endpoint(_LOOPBACK, port), only=only or None) as world:
        places = tuple(world.places.values())
        futures: dict[int, asyncio.Future[TargetReport]] = {
            place.port: asyncio.get_running_loop().create_future() for place in places
        }

        async def check(place: Place) -> ResultLine:
            return (await futures[place.port]).line

        def watch(row: Row) -> None:
            said = verdict_text(row.line, words) if row.line else Text(words("out of time"))
            console.print(Text.assemble((f"{row.place.name}: ", "bold"), said), soft_wrap=True)

        running = asyncio.create_task(_check_groups(places, port, futures))
        try:
            rows = await run_demo(check, places, watch=watch, concurrency=len(places))
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        return rows, [
            future.result() for future in futures.values() if future.done() and not future.cancelled()
        ]


async def _check_groups(
    places: Iterable[Place], port: int, futures: dict[int, asyncio.Future[TargetReport]]
) -> None:
    """A run for those of whom the user says the same: of mail one after the other, since all of it goes to one port.

    Nothing goes there from the proxies, whose canaries are wherever their own run puts them.
    """
    known = tuple(places)
    usual = RunSettings(
        probes=_RELAY_PROBES,
        sink=_sink(port),
        wait=_WAIT,
        patience=_PATIENCE,
        limits=_LIMITS,
        rates=_FAST,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(_check_mail(known, usual, futures))
        group.create_task(_check_proxies(known, usual, futures))


async def _check_mail(
    known: Sequence[Place], usual: RunSettings, futures: dict[int, asyncio.Future[TargetReport]]
) -> None:
    mail = [place for place in known if place.role is Role.MAIL]
    for domains in sorted({place.settings.local_domains for place in mail}, reverse=True):
        group = [place for place in mail if place.settings.local_domains == domains]
        await _Checking(replace(usual, local_domains=domains), Weakness.OPEN_RELAY, futures).run(group)
    behind = tuple(place.port for place in known if place.name == BEHIND_PROXY)
    chains = [place for place in known if place.role is Role.CHAIN]
    chained = replace(usual, probes=("http-connect", *_RELAY_PROBES), chain_ports=behind)
    await _Checking(chained, Weakness.OPEN_RELAY, futures).run(chains)


async def _check_proxies(
    known: Sequence[Place], usual: RunSettings, futures: dict[int, asyncio.Future[TargetReport]]
) -> None:
    proxies = [place for place in known if place.role is Role.PROXY]
    settings = replace(usual, probes=_PROXY_PROBES, sink=_sink(_free_port()))
    await _Checking(settings, Weakness.OPEN_PROXY, futures).run(proxies)


def _sink(port: int) -> LocalSink:
    return LocalSink(
        address=_LOOPBACK, domain=_SINK_DOMAIN, port=port, canary_ports=(), canary_name="localhost"
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((str(_LOOPBACK), 0))
        port: int = sock.getsockname()[1]
        return port


def _table(rows: Iterable[Row], words: Words) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("", words("Server"), words("Expected"), words("Found"), words("Seconds")):
        table.add_column(title)
    for row in rows:
        mark = Text("=", "green") if row.agrees else Text("≠", "bold red")
        table.add_row(mark, row.place.name, str(row.expected), _found(row, words), f"{row.seconds:.1f}")
    return table


def _found(row: Row, words: Words) -> Text:
    line = row.line
    if line is None:
        return Text(words("out of time"), "bold red")
    named = [*(finding.advisory for finding in line.findings), *line.advisories, *line.reasons]
    word = f"{MARKS[line.verdict]} {words(VERDICTS[line.verdict])}"
    return Text.assemble((word, STYLES[line.verdict]), " ", " ".join(dict.fromkeys(named)))


COMMAND = demo
