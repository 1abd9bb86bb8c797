"""Numbers by key that the processes of one run have in common: what each knows, all know."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from hashlib import blake2b

try:
    import fcntl
except ImportError:  # not a POSIX system: a run is one process there
    fcntl = None  # type: ignore[assignment]

_PROBES = 16
"""Rows in which a key may stand: as many are looked at."""


class Slate:
    """A table in memory, with a row of numbers (64-bit floats, 0 at first) for each key.

    It has a fixed size, and never grows: a row that isn't needed any more goes to the next key that wants one.
    Where every row that a key may have is in use, it shares one: so the numbers must be such that this does no
    harm but to hold somebody up.

    ``fd`` is that of another process's slate of the same shape, which then is this one too; it is closed with this
    one. Access by several is safe within `held`, which a process that dies lets go of.
    """

    def __init__(self, columns: int, rows: int, *, fd: int | None = None) -> None:
        self._stride, self._rows = columns + 1, rows
        size = 8 * self._stride * rows
        self._is_shared = fd is not None
        self._fd = _memory_file(size) if fd is None else fd
        weakref.finalize(self, os.close, self._fd)
        self._memory = mmap.mmap(self._fd, size)
        self._keys = memoryview(self._memory).cast("Q")
        self.cells = memoryview(self._memory).cast("d")
        """All numbers; `row` says where a key's begin."""

    def share(self) -> int:
        """The file descriptor for another process's slate; from now on each access is kept apart from the others'."""
        self._is_shared = True
        return self._fd

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out; short, since they wait."""
        if not self._is_shared or fcntl is None:
            yield
            return
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def row(self, key: int, is_spent: Callable[[int], bool]) -> int:
        """Where the key's numbers begin in ``cells``; a row that it didn't have before holds zeros.

        ``is_spent`` says of the row that begins there, another key's, whether it isn't needed any more.
        """
        first = key % self._rows
        free = -1
        for probe in range(_PROBES):
            place = (first + probe) % self._rows * self._stride
            held_by = self._keys[place]
            if held_by == key:
                return place + 1
            if free < 0 and (held_by == 0 or is_spent(place + 1)):
                free = place
            if held_by == 0:
                break  # nobody ever went further
        if free < 0:
            return first * self._stride + 1
        self._keys[free] = key
        for column in range(1, self._stride):
            self.cells[free + column] = 0.0
        return free + 1


def key_of(*parts: object) -> int:
    """A key for what the parts name, the same in every process; two that are the same by chance there are not."""
    digest = blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _memory_file(size: int) -> int:
    """A file that has no name and ends with the last process that has it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("relaywatch")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
