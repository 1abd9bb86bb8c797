"""The driver: runs any number of attempts at once, without a task, stream, queue or timer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic

from relaywatch.model.evidence import Attempt
from relaywatch.model.places import Address
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe

from .attempt import RunningAttempt
from .dialing import Dialer
from .limits import Limits
from .surroundings import Surroundings

__all__ = ["Engine", "Limits", "Surroundings"]

_SWEEP_SECONDS = 0.05


class Engine:
    """Carries out what scripts ask for; one for a run, made inside its event loop.

    ``sources`` are the local addresses to connect from, at most one a family.
    """

    def __init__(self, limits: Limits | None = None, *, sources: Iterable[Address] = ()) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits or Limits()
        self._dialer = Dialer(self._loop, sources)
        self._live: set[RunningAttempt] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_interrupted = False

    @property
    def live(self) -> int:
        """How many attempts are running."""
        return len(self._live)

    def attempt(
        self, probe: Probe, brief: Brief, surroundings: Surroundings, *, link: Link | None = None
    ) -> asyncio.Future[Attempt]:
        """Run the probe's script against the brief's endpoint; an attempt always comes back.

        Its channels and ports are closed when it does. Cancelling the future ends it without a result.
        ``link`` is another link than the plain one: a chain's, which connects to the brief's endpoint all the
        same, so that this is the proxy's.
        """
        running = RunningAttempt(
            probe,
            brief,
            surroundings,
            dialer=self._dialer,
            limits=self._limits,
            link=link,
        )
        self._live.add(running)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        if self._is_interrupted:
            running.interrupt()
        running.begin(self._live.discard)
        return running.outcome

    def interrupt(self) -> None:
        """Stop: every attempt ends as interrupted with what it has, and so does each that is still asked for."""
        self._is_interrupted = True
        for running in tuple(self._live):
            running.interrupt()

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._live else None
        now = monotonic()
        for running in tuple(self._live):
            running.sweep(now)
