"""Run a tool and say what it said when it fails."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LabError


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 60,
) -> str:
    """Return the tool's standard output; raise LabError with its last lines for a non-zero exit or a timeout."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=env,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} took more than {timeout:g} s") from error
    if done.returncode:
        raise LabError(f"{command[0]} ended with {done.returncode}:\n{tail(done.stdout + done.stderr)}")
    return done.stdout


def tail(text: str, lines: int = 15) -> str:
    """Return the last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])
