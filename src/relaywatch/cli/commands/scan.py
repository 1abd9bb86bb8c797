"""``relaywatch scan LIST``: many servers; a line of JSON for each as it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from relaywatch.cli.collecting import Collector
from relaywatch.cli.exit_codes import Tally
from relaywatch.cli.language import N_, Words
from relaywatch.cli.options import NEW_FILE, Choices, run_options
from relaywatch.cli.prompting import ask
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.reports.summary import summary_details, summary_line
from relaywatch.cli.results import Done, mend
from relaywatch.cli.running import run_to_the_end
from relaywatch.cli.settings import settings_from
from relaywatch.cli.speaking import command, option, words_of
from relaywatch.cli.watching import watcher_for_scan
from relaywatch.engine.loop import usable_processors
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address
from relaywatch.runs.reporting import TargetReport
from relaywatch.runs.run import Run, choose_probes
from relaywatch.targets.lists import read_arguments


@command(
    "scan",
    N_(
        "Check every TARGET, and all that each FILE lists; - is standard input. Lists of zmap, masscan and "
        "zgrab2 are understood. On a terminal without arguments it asks for what it needs."
    ),
)
@click.argument("arguments", nargs=-1, metavar="[TARGET|FILE|-]...")
@run_options
@option(
    "--output",
    type=NEW_FILE,
    metavar="FILE",
    help=N_("Append result lines to this file, not to standard output."),
)
@option("--resume", is_flag=True, help=N_("Leave out targets that the output has lines for."))
@option("--csv", type=NEW_FILE, metavar="FILE", help=N_("Write all results as a table too."))
@option("--html", type=NEW_FILE, metavar="FILE", help=N_("Write the report as an HTML page too."))
@option("--log", type=NEW_FILE, metavar="FILE", help=N_("Append all dialogues to this file."))
@option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help=N_("At most so many new connections a second."),
)
@option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help=N_("At most so many targets at a time."),
)
@option(
    "--workers",
    type=click.IntRange(min=1),
    default=usable_processors,
    metavar="N",
    help=N_("So many processes check a long list; as many as there are processors, if not said."),
)
@click.pass_context
def scan(
    ctx: click.Context,
    /,
    arguments: tuple[str, ...],
    choices: Choices,
    *,
    output: Path | None,
    resume: bool,
    csv: Path | None,
    html: Path | None,
    log: Path | None,
) -> None:
    """Check many targets and leave with the contract's exit code."""
    words, tally = words_of(ctx), Tally()
    if not arguments:
        if not sys.stdin.isatty():
            raise UsageError(words("name targets, files of targets, or - for standard input"))
        answers = ask(words, choices)
        arguments, choices, output, log = answers.targets, answers.choices, answers.output, answers.log
    if resume and not output:
        raise UsageError(words("--resume needs --output: the file that is gone on with"))
    done = mend(output, drop_interrupted=resume) if output else Done()
    with Collector(output, log, done if resume else Done(), keeps_lines=bool(csv or html)) as collector:
        _run(arguments, choices, collector, tally, done if resume else Done(), words)
        if csv:
            collector.write_csv(csv)
        if html:
            collector.write_html(html, words)
    _say_summary(tally, words)
    ctx.exit(tally.exit_code)


def _run(
    arguments: tuple[str, ...], choices: Choices, collector: Collector, tally: Tally, done: Done, words: Words
) -> None:
    settings = settings_from(choices)
    weaknesses = tuple(dict.fromkeys(probe.weakness for probe in choose_probes(choices.probes)))
    with watcher_for_scan(console_for(sys.stderr), words, tally) as watcher:

        def is_done(address: Address, port: int | None) -> bool:
            return done.has_address(address, port, weaknesses)

        run = Run(settings, watcher.see, is_done=is_done)

        def take(report: TargetReport) -> None:
            if collector.take(report):
                watcher.took(report.line)

        entries = done.left(watcher.counting(read_arguments(arguments)), weaknesses)
        run_to_the_end(run, entries, take)
    tally.is_interrupted = run.is_interrupted


def _say_summary(tally: Tally, words: Words) -> None:
    if details := summary_details(tally, words):
        click.echo(details, err=True)
    click.echo(summary_line(tally, words), err=True)


COMMAND = scan
