"""A sink on loopback, and ways to talk to it."""

import asyncio
import smtplib
from email.message import EmailMessage
from ipaddress import ip_address

from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import mint_token
from relaywatch.sink.server import Sink
from relaywatch.sink.settings import SinkSettings

KEY = b"k" * 32
ANOTHER_KEY = b"j" * 32
IPV4 = Endpoint(ip_address("127.0.0.1"), 0)
IPV6 = Endpoint(ip_address("::1"), 0)


def token(number=0, key=KEY):
    """Our number-th token."""
    return mint_token(key, number.to_bytes(10, "big"))


def settings(**changes):
    """The settings of a sink on a free port of loopback."""
    return SinkSettings(**{"domain": "sink.test", "listen": (IPV4,), "contact": "abuse@sink.test"} | changes)


def make_sink(arrivals=None, **changes):
    """A sink that appends its arrivals to the list."""
    return Sink(settings(**changes), KEY, on_arrival=() if arrivals is None else arrivals.append)


def message(subject="hello", **fields):
    """A small message."""
    made = EmailMessage()
    made["Subject"] = subject
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    made.set_content("text\n")
    return made


def deliver(endpoint, recipients, *, reverse_path="sender@relay.test", content=None, starttls=False):
    """Hand a message over as a relay does, by smtplib (blocking); gives the refused recipients."""
    with smtplib.SMTP(str(endpoint.address), endpoint.port, "relay.test", timeout=10) as client:
        if starttls:
            client.starttls()
        return client.send_message(content or message(), reverse_path, recipients)


async def deliver_async(*arguments, **options):
    """The same, in a thread."""
    return await asyncio.to_thread(deliver, *arguments, **options)


class Peer:
    """A peer that says exactly what it is told to."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def reply(self):
        """The next reply, all of its lines."""
        lines = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 10)
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "".join(lines)

    async def say(self, octets):
        """Send octets, give the reply."""
        self.writer.write(octets)
        return await self.reply()

    async def rest(self):
        """All that still comes until the sink hangs up; then we do too."""
        try:
            return (await asyncio.wait_for(self.reader.read(), 10)).decode()
        finally:
            self.close()

    def close(self):
        self.writer.close()


async def connect(sink, **options):
    """Connect to the sink's first listener and read the greeting."""
    endpoint = sink.addresses[0]
    peer = Peer(*await asyncio.open_connection(str(endpoint.address), endpoint.port, **options))
    peer.greeting = await peer.reply()
    return peer


async def until(condition):
    """Wait for something that is about to happen; the test's own limit bounds it."""
    while not condition():  # noqa: ASYNC110  the condition is another's
        await asyncio.sleep(0.01)
