"""Real runs over real servers on loopback, in a hurry."""

import asyncio
import contextlib
import smtplib
import socket
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from tests.ports import free_port

from relaywatch.demo.server import Listener
from relaywatch.demo.world import World
from relaywatch.engine.limits import Limits
from relaywatch.engine.loop import new_event_loop
from relaywatch.engine.pace import Rates
from relaywatch.model.evidence import Direction, Fact
from relaywatch.model.places import Endpoint
from relaywatch.runs.reporting import EventKind
from relaywatch.runs.run import Run
from relaywatch.runs.settings import LocalSink, RunSettings
from relaywatch.script.brief import Patience
from relaywatch.targets.parse import Origin, parse_target

LOOPBACK = ip_address("127.0.0.1")
PATIENCE = Patience(
    greeting=1.0,
    reply=2.0,
    data_reply=2.0,
    greylist=3.0,
    after_rate_limit=0.05,
    first_words=0.3,
    tunnel=2.0,
    canary=0.5,
    datagram=0.2,
)
LIMITS = Limits(tls_seconds=0.5)
RATES = Rates(overall=1e5, per_address=1e5, per_network=1e5, burst=1e4, overall_burst=1e4)


def hurried(**more):
    """The settings of a run with a sink on a free port, short waits and no pace to speak of."""
    given = {
        "sink": LocalSink(address=LOOPBACK, port=free_port()),
        "wait": 0.4,
        "patience": PATIENCE,
        "rates": RATES,
        "limits": LIMITS,
        "probes": ("smtp-relay",),
    }
    return RunSettings(**given | more)


@dataclass
class Told:
    """What a run gave and told."""

    reports: list = field(default_factory=list)
    events: list = field(default_factory=list)
    ports: dict = field(default_factory=dict)
    """Of the world's servers, by name."""

    @property
    def lines(self):
        return [report.line for report in self.reports]

    @property
    def line(self):
        (line,) = self.lines
        return line

    def of(self, kind):
        return [event for event in self.events if event.kind is kind]

    def details(self, kind):
        return [event.detail for event in self.of(kind)]

    def observed(self, fact):
        return [event.observation for event in self.of(EventKind.OBSERVED) if event.observation.fact is fact]

    @property
    def attempts(self):
        return [event.attempt for event in self.of(EventKind.ATTEMPT_ENDED)]

    def said(self):
        """All that we said to the targets."""
        return b"".join(
            entry.data
            for attempt in self.attempts
            for entry in attempt.transcript
            if entry.direction is Direction.CLIENT
        )

    def messages(self):
        """How many messages the targets took."""
        return sum(observation.count for observation in self.observed(Fact.QUEUED))


async def check(targets, settings, *, watch=None):
    """Run to the end; ``watch`` sees each event and report as it comes, with the run."""
    told = Told()

    def tell(event):
        told.events.append(event)
        if watch is not None:
            watch(run, event)

    run = Run(settings, tell)
    entries = [parse_target(target) if isinstance(target, str) else target for target in targets]
    async for report in run.check(entries):
        told.reports.append(report)
        if watch is not None:
            watch(run, report)
    return told


@contextlib.asynccontextmanager
async def world(settings, *names):
    """The world's servers of these names; what they relay goes to the run's sink."""
    async with World(Endpoint(LOOPBACK, settings.sink.port), only=names) as places:
        yield places


def check_world(settings, *names, watch=None, as_target="{host}:{port}"):
    """Check the world's servers of these names in one run."""

    async def scene():
        async with world(settings, *names) as places:
            targets = [as_target.format(host=places[name].host, port=places[name].port) for name in names]
            told = await check(targets, settings, watch=watch)
            told.ports = {name: place.port for name, place in places.places.items()}
            return told

    return asyncio_run(scene())


def asyncio_run(scene):
    """Run it on the loop that the command uses."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(scene)


class Counting:
    """A listener that counts the connections it gets, and hangs up on them after a word."""

    def __init__(self, host, *, port=0, word=b"554 5.7.1 go away\r\n", pause=0.0):
        self.count = self.open = self.most = 0
        self._word, self._pause = word, pause
        self._listener = Listener(self._serve, port=port, hosts=(host,))

    @property
    def port(self):
        return self._listener.port

    async def _serve(self, _reader, writer):
        self.count += 1
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(self._pause)
        self.open -= 1
        writer.write(self._word)

    async def __aenter__(self):
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *exception):
        await self._listener.__aexit__(*exception)


async def saying_first(words, host="127.0.0.1"):
    """A server that says the words and then listens; an async context manager with a ``port``."""

    async def serve(reader, writer):
        writer.write(words)
        await reader.read()

    return Listener(serve, hosts=(host,))


async def saying(words, host="127.0.0.1"):
    """A server that answers every line with the words; an async context manager with a ``port``."""

    async def serve(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        while await reader.readline():
            writer.write(words)

    return Listener(serve, hosts=(host,))


def deliver(port, token, *, domain="[127.0.0.1]", is_bounce=False, received=()):
    """Bring a message, or a bounce, to the sink as another server would (blocking)."""
    fields = [f"Received: {line}" for line in received]
    if is_bounce:
        fields += ["Auto-Submitted: auto-replied", "Content-Type: multipart/report; boundary=x"]
    content = "\r\n".join([*fields, "Subject: late", "", "text", ""])
    with smtplib.SMTP("127.0.0.1", port, "late.example", timeout=5) as client:
        refused = client.sendmail("" if is_bounce else "a@relay.example", [f"{token}@{domain}"], content)
    assert {} == refused


def at(target, source, line):
    """A target as it stands in a list."""
    return replace(parse_target(target), origin=Origin(source, line))


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
