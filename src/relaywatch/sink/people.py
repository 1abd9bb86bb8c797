"""Mail for people: postmaster and abuse, kept in a Maildir for somebody to read (RFC 5321 section 4.5.1)."""

from __future__ import annotations

import asyncio
import mailbox
from pathlib import Path

from .errors import SinkError


class PeopleMail:
    """A Maildir with room for so many unread messages."""

    def __init__(self, directory: Path, *, room: int) -> None:
        """Open the Maildir, making it if it isn't there.

        :raises SinkError: if it can't be made.
        """
        self._directory = directory
        self._room = room
        self._turn = asyncio.Lock()
        try:
            self._maildir = mailbox.Maildir(directory, create=True)
        except OSError as error:
            raise SinkError(f"Maildir {directory}: {error.strerror or error}") from error

    async def keep(self, trace: str, data: bytes) -> bool:
        """Write a message under its trace lines, on disk when this returns; false if there is no room."""
        async with self._turn:
            return await asyncio.to_thread(self._keep, trace.encode("utf-8", "replace") + data)

    def _keep(self, octets: bytes) -> bool:
        new = self._directory / "new"
        try:
            if sum(1 for _ in new.iterdir()) >= self._room:
                return False
            self._maildir.add(octets)
        except OSError:
            return False
        return True
