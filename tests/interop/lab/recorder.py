"""The receiving end of the proofs: takes every message and writes down what it saw, one JSON line each.

It shares no code with relaywatch. ``python -m tests.interop.lab.recorder JOURNAL ADDRESS...``
"""

import asyncio
import contextlib
import json
import os
import sys
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

PORT = 25


class Journal:
    """aiosmtpd's handler: a line a message, on the disk before the sender hears 250."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Write the message down."""
        message = message_from_bytes(envelope.original_content or b"")
        line = {
            "source": session.peer[0] if session.peer else "",
            "reverse_path": envelope.mail_from,
            "forward_paths": envelope.rcpt_tos,
            "subject": str(message.get("Subject", "")),
            "received": len(message.get_all("Received", [])),
        }
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        return "250 2.0.0 Ok"


async def serve(path: Path, addresses: list[str]) -> None:
    """Listen on port 25 of the addresses until cancelled."""
    journal = Journal(path)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses:
            server = await loop.create_server(
                lambda: SMTP(journal, hostname="mx.sink.example", loop=loop), address, PORT
            )
            await stack.enter_async_context(server)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
