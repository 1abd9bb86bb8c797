"""Mended files put in place: with a backup, at once, checked by the server itself, or put back as they were."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath

from relaywatch.model.errors import UsageError

from .auditing import report
from .mending import Mended
from .programs import found
from .server import Server
from .setup import Setup
from .trees import FolderTree, NotReadError

_CHECK_SECONDS = 60


def write(outcome: Mended, setup: Setup, server: Server, now: datetime) -> tuple[Path, ...]:
    """Put the mended files in place, each beside a backup; the backups' paths.

    The server's own syntax check decides, and another audit of what then lies there: if one says no, everything is
    put back.

    :raises UsageError: if the files aren't in a folder, have changed meanwhile or can't be written, or a check fails.
    """
    if not isinstance(setup.tree, FolderTree):
        raise UsageError(f"{setup.tree.label or setup.main}: only files in a folder can be written")
    places = {path: setup.tree.place(path).resolve() for path in outcome.after}
    _require_as_read(outcome, setup, places)
    backups: dict[Path, Path] = {}
    with _put_back_if_it_fails(backups):
        for path, place in places.items():
            backups[place] = _backed_up(place, now)
            _replace(place, outcome.after[path].octets)
        if complaint := _complaint_of(server, setup.tree.place(setup.main)):
            raise UsageError(f"{' '.join(server.check)} says: {complaint}; everything is as it was")
        if (verdict := report(server, setup.afresh()).verdict) is not outcome.report.verdict:
            raise UsageError(f"{setup.main}: what was written comes to {verdict}; everything is as it was")
    return tuple(backups.values())


def _require_as_read(outcome: Mended, setup: Setup, places: Mapping[PurePosixPath, Path]) -> None:
    """Every file is still as it was read, and none is written twice by two of its names."""
    for path, place in places.items():
        try:
            is_as_read = setup.tree.read(path) == outcome.before[path].octets
        except (FileNotFoundError, NotReadError):
            is_as_read = False
        if not is_as_read:
            raise UsageError(f"{place}: it has changed since it was read; nothing was written")
    for place in set(places.values()):
        meant = {outcome.after[path].octets for path in places if places[path] == place}
        if len(meant) > 1:
            raise UsageError(f"{place}: it is read by several names, and mended by each; nothing was written")


@contextmanager
def _put_back_if_it_fails(backups: dict[Path, Path]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        left = [backup for place, backup in backups.items() if not _put_back(backup, place)]
        if left:
            said = ", ".join(map(str, left))
            raise UsageError(
                f"{error}; not everything could be put back: as it was, it is in {said}"
            ) from error
        if isinstance(error, OSError):
            text = f"{error.filename or ''}: {error.strerror}; everything is as it was"
            raise UsageError(text) from error
        raise


def _put_back(backup: Path, place: Path) -> bool:
    """Whether it could be; one that can't keeps no other from it."""
    try:
        backup.replace(place)
        backup.unlink(missing_ok=True)  # where both were one file, renaming does nothing
    except OSError:
        return False
    return True


def _backed_up(place: Path, now: datetime) -> Path:
    """Another name of the same file, so that what is put back is the file itself, with its owner and all.

    A name with a dot before it, which no ``include conf.d/*`` takes up.
    """
    for number in range(100):
        backup = place.with_name(f".{place.name}.relaywatch-{now:%Y%m%dT%H%M%S}{f'-{number}' * bool(number)}")
        try:
            backup.hardlink_to(place)
        except FileExistsError:
            continue
        return backup
    raise UsageError(f"{place}: there are too many backups of it")


def _replace(place: Path, octets: bytes) -> None:
    """Write beside it and rename, with its owner and mode, so that nobody ever reads half a file."""
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        status = place.stat()
        os.chown(name, status.st_uid, status.st_gid)
        shutil.copystat(place, name)
        os.utime(name)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _complaint_of(server: Server, main: Path) -> str:
    """What the server's own check complains of, if it is installed and complains."""
    program = found(server.check[0]) if server.check else None
    if program is None:
        return ""
    command = [program, *(part.format(main=main, home=main.parent) for part in server.check[1:])]
    try:
        done = subprocess.run(  # noqa: S603 -- the server's own program, by its name in its module
            command, capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {_CHECK_SECONDS} s"
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
