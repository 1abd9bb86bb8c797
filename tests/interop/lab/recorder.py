"""The receiving end of the proofs of mail: writes down greetings and messages, one JSON line each.

It shares no code with relaywatch. ``python -m tests.interop.lab.recorder JOURNAL ADDRESS...``
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
from email import message_from_bytes
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

PORTS = (25, 587)


class Journal:
    """aiosmtpd's handler: a line a message, on the disk before the sender hears 250; and a line a greeting."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Write down who greets and by what name; the answer holds a word that nobody else knows."""
        session.host_name = hostname
        answer = secrets.token_hex(8)
        own = server.transport.get_extra_info("sockname") if server.transport else ("", 0)
        self._write(_source(session) | {"port": own[1], "said": hostname, "answer": answer})
        return [responses[0], f"250-X-WITNESS {answer}", *responses[1:]]

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Write the message down."""
        message = message_from_bytes(envelope.original_content or b"")
        line = {
            "reverse_path": envelope.mail_from,
            "forward_paths": envelope.rcpt_tos,
            "subject": str(message.get("Subject", "")),
            "received": len(message.get_all("Received", [])),
        }
        self._write(_source(session) | line)
        return "250 2.0.0 Ok"

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


def _source(session: Session) -> dict[str, Any]:
    return {"source": session.peer[0] if session.peer else ""}


async def serve(path: Path, addresses: list[str]) -> None:
    """Listen on the mail ports of the addresses until cancelled."""
    journal = Journal(path)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses:
            for port in PORTS:
                server = await loop.create_server(
                    lambda: SMTP(journal, hostname="mx.sink.example", loop=loop), address, port
                )
                await stack.enter_async_context(server)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
