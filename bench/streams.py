"""The same dialogue as bench/native.c's, as anybody would write it with asyncio's streams.

python bench/streams.py [--port 2525] [--at-once 512] [--one-by-one] [--connect-within 3] --output FILE < ADDRESSES
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

DOMAIN = "relay.test"
WITHIN = 20.0


def pairs(ip: str, name: str) -> Iterator[tuple[str, str]]:
    """The sixteen pairs of paths of nmap's smtp-open-relay, for this target."""
    to, here = f"relaytest@{DOMAIN}", f"antispam@[{ip}]"
    yield from (("", to), (f"antispam@{DOMAIN}", to), (f"antispam@{name}", to), (here, to))
    for rcpt in (
        f"relaytest%{DOMAIN}@[{ip}]",
        f"relaytest%{DOMAIN}@{name}",
        f'"{to}"',
        f'"relaytest%{DOMAIN}"',
        f"{to}@[{ip}]",
        f'"{to}"@[{ip}]',
        f"{to}@{name}",
        f"@[{ip}]:{to}",
        f"@{name}:{to}",
        f"{DOMAIN}!relaytest",
        f"{DOMAIN}!relaytest@[{ip}]",
        f"{DOMAIN}!relaytest@{name}",
    ):
        yield here, rcpt


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Read one reply with all of its lines: its code, and the first line's text."""
    first = line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line:
        raise ConnectionError("closed")
    return int(line[:3]), first[4:].decode("ascii", "replace").strip()


async def ask(ip: str, options: argparse.Namespace) -> list[int]:
    """Hold the dialogue with one target: the code of each RCPT."""
    async with asyncio.timeout(options.connect_within):
        reader, writer = await asyncio.open_connection(ip, options.port)
    try:
        async with asyncio.timeout(WITHIN):
            name = (await read_reply(reader))[1].split(" ", 1)[0]
            writer.write(f"EHLO {DOMAIN}\r\n".encode())
            await read_reply(reader)
            lines = [
                line
                for mail, rcpt in pairs(ip, name)
                for line in ("RSET", f"MAIL FROM:<{mail}>", f"RCPT TO:<{rcpt}>")
            ]
            lines.append("QUIT")
            if not options.one_by_one:
                writer.write("".join(f"{line}\r\n" for line in lines).encode())
            codes = []
            for line in lines:
                if options.one_by_one:
                    writer.write(f"{line}\r\n".encode())
                    await writer.drain()
                codes.append((await read_reply(reader))[0])
            return codes[2::3]
    finally:
        writer.close()


async def work(addresses: Iterator[str], options: argparse.Namespace, output: TextIO) -> None:
    """Take one address after the other, and write a line for each."""
    for ip in addresses:
        try:
            codes, state = await ask(ip, options), "done"
        except TimeoutError:
            codes, state = [], "silent"
        except (OSError, ValueError):
            codes, state = [], "refused"
        output.write(json.dumps({"target": ip, "state": state, "codes": codes}) + "\n")


async def run(options: argparse.Namespace) -> None:
    """Ask all addresses of standard input, so many at a time."""
    addresses = (line.strip() for line in sys.stdin)
    with options.output.open("w") as output:
        async with asyncio.TaskGroup() as group:
            for _ in range(options.at_once):
                group.create_task(work(addresses, options, output))


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--at-once", type=int, default=512)
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--connect-within", type=float, default=3.0)
    parser.add_argument("--output", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
