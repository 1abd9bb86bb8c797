"""Real mail servers and proxies in network namespaces, each in a state that is proved without relaywatch."""

import signal
import subprocess
import time
from types import FrameType
from typing import Any

import click

from . import network, plan, rooms
from .cases import Case, all_cases, chosen
from .errors import LabError
from .proof import Finding
from .world import World, build, fresh, standing, world


class _Plain(click.Group):
    """Says what went wrong in words, and takes SIGTERM like Ctrl-C: both let the lab come down."""

    def invoke(self, ctx: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from error


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_cases = click.argument("names", metavar="[CASE]...", nargs=-1)


@click.group(cls=_Plain, help=__doc__)
def main() -> None:
    """Hold the commands together."""


@main.command("build")
@_cases
def build_roots(names: tuple[str, ...]) -> None:
    """Build what the cases need (all cases, if none is named) into the cache."""
    began = time.monotonic()
    build(chosen(names), _say)
    _say(f"built in {time.monotonic() - began:.1f} s")


@main.command()
@click.argument("names", metavar="CASE...", nargs=-1, required=True)
def up(names: tuple[str, ...]) -> None:
    """Start the cases and leave them standing."""
    made = fresh()
    try:
        made.up(chosen(names), _say)
        for reason in made.fallen.values():
            _say(reason)
    except BaseException:
        made.down()
        raise
    click.echo(made.run_id)
    _say(f"a command among them, as the stranger: {' '.join(made.as_stranger())} COMMAND")
    _say(f"take them down: python -m tests.interop.lab down {made.run_id}")


@main.command()
@_cases
def prove(names: tuple[str, ...]) -> None:
    """Start the cases, prove their truths by swaks, curl and others, print a table and take all down again."""
    cases = chosen(names)
    failed = 0
    began = time.monotonic()
    with world(cases, _say) as made:
        _say(f"up after {time.monotonic() - began:.1f} s")
        with made.recorder(), made.witness():
            for case, found in zip(made.cases, made.prove_all(made.cases), strict=True):
                row, held = _told(case, found)
                failed += not held
                click.echo(row)
    click.echo(f"{len(made.cases)} truths, {failed} not proved; {time.monotonic() - began:.1f} s")
    if failed:
        raise SystemExit(1)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", metavar="CASE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(name: str, command: tuple[str, ...]) -> None:
    """Open a shell (or run a command) in a standing case; "outside" is the stranger, "dns" the DNS host."""
    for made in standing():
        namespace = network.namespace(made.run_id, name)
        if namespace in network.runs()[made.run_id]:
            words = [*rooms.inside(namespace), *(command or ("sh",))]
            raise SystemExit(subprocess.run(words, check=False).returncode)
    raise LabError(f"{name} isn't standing: python -m tests.interop.lab up {name}")


@main.command()
@click.argument("run_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that any lab on this machine left.")
def down(run_ids: tuple[str, ...], every: bool) -> None:
    """Take down what "up" left standing, by the id that it printed."""
    if not run_ids and not every:
        raise click.UsageError("name an id (see list), or --all")
    for made in standing() if every else map(World, run_ids):
        made.down()
        _say(f"{made.run_id} is down")


@main.command("list")
def list_cases() -> None:
    """List the cases, and what stands."""
    for case in all_cases():
        click.echo(f"{case.name:<32} {case.truth.state:<10} {plan.home(case).address:<15} {case.summary}")
    for made in standing():
        click.echo(f"standing: {made.run_id}: {', '.join(network.runs()[made.run_id])}")


def _told(case: Case, found: list[Finding] | LabError) -> tuple[str, bool]:
    """Return a case's row, with what didn't hold under it, and whether all held."""
    head = f"{case.name:<32} {case.truth.state:<10}"
    if isinstance(found, LabError):
        return f"{head} FAILED  {found}", False
    wrong = [finding for finding in found if not finding.holds]
    mark = "WRONG" if wrong else "proved"
    row = f"{head} {mark:<7} {len(found) - len(wrong)}/{len(found)}  {case.summary}"
    return "\n    ".join([row, *map(str, wrong)]), not wrong


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.interop.lab")
