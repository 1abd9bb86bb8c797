"""NAME
    relaywatch: find, prove and fix open mail relays

SYNOPSIS
    relaywatch COMMAND [OPTION]... [ARGUMENT]...

DESCRIPTION
    Each command is a file of `relaywatch.cli.commands`, loaded when it is called, so that what isn't called
    costs no time.

DIAGNOSTICS
    0 tested, nothing open; 1 something open or accepting; 2 wrong usage; 3 could not test; 4 tested in part
    or interrupted.
"""  # noqa: D205, D415 -- laid out as a manual page

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

from relaywatch import __version__

from .exit_codes import ExitCode
from .language import N_
from .speaking import CouldNotTestError, SpokenGroup

_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "advice": N_("Say what an advisory means and how to mend it."),
        "audit": N_("Audit configurations: the line that lets strangers in, and the change that closes it."),
        "check": N_("Check one server: every door, with proof, remedy and transcript."),
        "demo": N_("Show the whole loop on a loopback world: no root, no network."),
        "export": N_("Write results as Parquet, for DuckDB, Polars and their like."),
        "scan": N_("Check many servers; results as JSON lines."),
        "schema": N_("Print the JSON Schema of an output."),
        "scope": N_("Say whom you may check: add, list, check."),
        "settle": N_("Look at the sink again: has late mail proven what was only accepting?"),
        "sink": N_("Receive what comes through open relays, for checkers elsewhere."),
        "summary": N_("Count results by verdict, advisory, organisation, network and software."),
    }
)


class LazyGroup(SpokenGroup):
    """Loads a command when it is called; its one-line help stands here."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """All commands, by name."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, loaded now."""
        if cmd_name not in _COMMANDS:
            return None
        loaded: click.Command = importlib.import_module(f"relaywatch.cli.commands.{cmd_name}").COMMAND
        return loaded

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:  # noqa: ARG002
        """Each command with its help, without loading any."""
        return sorted(_COMMANDS.items())


@click.group(cls=LazyGroup, help=N_("Find, prove and fix open mail relays."))
@click.version_option(__version__, prog_name="relaywatch", message="%(prog)s %(version)s")
def relaywatch() -> None:
    """Find, prove and fix open mail relays."""


def main() -> None:
    """Run the command line and leave with the contract's exit code: no error is ever taken for a finding."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run the command line, and give the exit code."""
    try:
        code = relaywatch.main(arguments, prog_name="relaywatch", standalone_mode=False)
        sys.stdout.flush()
    except CouldNotTestError as error:
        error.show()
        return ExitCode.COULD_NOT_TEST
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.exceptions.Abort, KeyboardInterrupt):
        return ExitCode.IN_PART
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.IN_PART
    except Exception:  # noqa: BLE001 -- Python's own exit code for a fault of ours would mean "open"
        sys.excepthook(*sys.exc_info())
        return ExitCode.COULD_NOT_TEST
    return code if isinstance(code, int) else ExitCode.NOTHING_OPEN


def _silence_stdout() -> None:
    """Whoever read us has gone: what is still buffered must not raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
