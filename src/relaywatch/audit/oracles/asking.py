"""Asking a tool: found by its name, without a shell, within a time and a size; it gets nothing but words and text."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relaywatch.audit.findings import OracleAnswer, OracleOutcome, Position, ServerReport
from relaywatch.audit.setup import Setup

SECONDS = 20.0
MOST_SAID = 4 * 1024 * 1024
_MOST_DETAIL = 300
_NOT_RUN = frozenset({126, 127})
"""What a wrapper ends with that doesn't find its program."""
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers keep their tools, which aren't in everybody's PATH."""


class SilentError(Exception):
    """The tool can't be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool said."""

    command: str
    code: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """What it complains of, shortly; nothing if it is content."""
        if not self.code:
            return ""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return " / ".join(lines[-2:])[:_MOST_DETAIL] or f"exit code {self.code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A configuration on this machine, as we evaluated it."""

    setup: Setup
    report: ServerReport
    main: Path
    """Where its main file really is."""

    @property
    def is_installed(self) -> bool:
        """Whether it is this machine's own, where its server reads it."""
        return not self.setup.tree.label and self.main.is_relative_to(self.setup.home)


def ask(*words: str, stdin: str = "") -> Said:
    """Run the first of the tools that is there, ``exim4|exim`` say, and hear what it says.

    :raises SilentError: if there is none, or it takes too long.
    """
    names, *arguments = words
    path = f"{os.environ.get('PATH', '')}:{_PLACES}"
    program = next(filter(None, (shutil.which(name, path=path) for name in names.split("|"))), None)
    if program is None:
        raise SilentError("not installed")
    environment = {"PATH": path, "LC_ALL": "C", "HOME": "/nonexistent"}
    try:
        done = subprocess.run(  # noqa: S603 -- the server's own tool, by its name in its module
            [program, *arguments],
            input=stdin,
            env=environment,
            cwd="/",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"nothing within {SECONDS:g} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise SilentError(why) from None
    if done.returncode in _NOT_RUN:
        raise SilentError("it can't be run")
    command = " ".join([program.rsplit("/", 1)[-1], *arguments])
    return Said(command, done.returncode, done.stdout[:MOST_SAID], done.stderr[:MOST_SAID])


def agrees(said: Said, subject: str = "") -> OracleAnswer:
    """The tool says what we say."""
    return OracleAnswer(tool=said.command, outcome=OracleOutcome.AGREES, subject=subject)


def disagrees(
    said: Said, subject: str, *, theirs: str, ours: str, position: Position | None = None
) -> OracleAnswer:
    """The tool says something else."""
    return OracleAnswer(
        tool=said.command,
        outcome=OracleOutcome.DISAGREES,
        subject=subject[:_MOST_DETAIL],
        theirs=theirs[:_MOST_DETAIL],
        ours=ours[:_MOST_DETAIL],
        position=position,
    )


def compared(said: Said, answers: list[OracleAnswer], subject: str) -> Iterator[OracleAnswer]:
    """The disagreements; that there are none is an answer too."""
    yield from answers or [agrees(said, subject)]
