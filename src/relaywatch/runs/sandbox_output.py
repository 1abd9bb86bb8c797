"""What is said in a room: read as it comes, so that nobody there has to wait, and the end of it kept."""

from __future__ import annotations

import contextlib
import threading
from typing import IO, Final

ENDING_SECONDS: Final = 2.0
"""For the rest to be read, once nobody is left to say more."""
_KEPT = 4000
_AT_ONCE = 65536
_MOST_LINES = 100


class Output:
    """A pipe out of a room. What comes through it may be any amount: no more than its end is held."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Read nothing yet."""
        self._pipe = pipe
        self._end = b""
        self._reader = threading.Thread(target=self._read, name="room output", daemon=True)

    def has_said(self, wanted: bytes) -> bool:
        """Whether this line comes, before it says nothing more; the lines before it are kept."""
        for _ in range(_MOST_LINES):
            line = self._pipe.readline(_KEPT)
            if line == wanted:
                return True
            if not line:
                return False
            self._keep(line)
        return False

    def start(self) -> None:
        """Read on, in a thread of its own."""
        self._reader.start()

    def end(self, seconds: float = 0) -> str:
        """The last of it; ``seconds`` to wait for more if nobody is left to say any."""
        if self._reader.ident is not None:
            self._reader.join(seconds)
        return self._end.decode("utf-8", "replace")

    def close(self) -> None:
        """Close it, once all who could write to it are gone."""
        self.end(ENDING_SECONDS)
        if not self._reader.is_alive():  # closing would wait for it otherwise
            self._pipe.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while octets := self._pipe.read1(_AT_ONCE):  # type: ignore[attr-defined]
                self._keep(octets)

    def _keep(self, octets: bytes) -> None:
        self._end = (self._end + octets)[-_KEPT:]
