"""One attempt while it runs: resumes the script, holds it to its limits, ends in an `Attempt`."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import PurePath
from time import monotonic
from typing import Any

from relaywatch.model import errors
from relaywatch.model.evidence import Attempt, AttemptStatus, Direction
from relaywatch.script import ops
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.probe import Probe

from .dialing import Dialer
from .limits import Limits
from .operations import Operations
from .surroundings import Surroundings
from .transcript import Recorder
from .waiting import PENDING, Wait

_GRACE_OPERATIONS = 100
"""Operations that a script may still ask for, to tidy up, once its attempt is over."""

_STATUSES: dict[type[BaseException], AttemptStatus] = {
    errors.ConnectRefusedError: AttemptStatus.NO_LISTENER,
    errors.ConnectTimeoutError: AttemptStatus.NO_ANSWER,
    errors.UnreachableError: AttemptStatus.UNREACHABLE,
    errors.ReadTimeoutError: AttemptStatus.TIMEOUT,
    errors.AttemptTimeoutError: AttemptStatus.TIMEOUT,
    errors.PeerClosedError: AttemptStatus.CUT_SHORT,
    errors.TLSFailedError: AttemptStatus.TLS_FAILED,
    errors.TLSRefusedError: AttemptStatus.TLS_FAILED,
    errors.RemoteProtocolError: AttemptStatus.PROTOCOL_ERROR,
    errors.LimitError: AttemptStatus.LIMIT,
    errors.NotPermittedError: AttemptStatus.LIMIT,  # a limit of ours kept the script from going on
    errors.InterruptedRunError: AttemptStatus.INTERRUPTED,
}
"""How an attempt ended whose script let the error pass; any other error is a fault of ours."""


class _OverstayedError(Exception):
    """The attempt is over and its script won't end."""


class RunningAttempt:
    """A script and what it waits for; every method is called from the event loop, and none raises."""

    __slots__ = (
        "_began", "_brief", "_deadline", "_doom", "_expires", "_forget", "_grace", "_greeting_left", "_limits", "_octets_in",
        "_operation_count", "_operations", "_probe", "_recorder", "_script", "_started", "_wait", "_wait_began", "outcome",
    )  # fmt: skip

    def __init__(
        self,
        probe: Probe,
        brief: Brief,
        surroundings: Surroundings,
        *,
        dialer: Dialer,
        limits: Limits,
        link: Link | None = None,
    ) -> None:
        self._probe, self._brief, self._limits = probe, brief, limits
        self._began = datetime.now(UTC)
        self._started = monotonic()
        self._expires = self._started + limits.attempt_seconds
        self._recorder = Recorder(limits.max_transcript_octets, self._elapsed)
        self._operations = Operations(self, brief.endpoint, surroundings, dialer, limits)
        self._script: Coroutine[ops.Op[Any], Any, None] = probe.script(link or Link(), brief)
        self._forget: Callable[[RunningAttempt], None] | None = None
        self._octets_in = self._operation_count = 0
        self._grace = _GRACE_OPERATIONS
        self._doom: tuple[type[errors.RelaywatchError], str] | None = None
        self._wait: Wait | None = None
        self._deadline = 0.0
        self._wait_began = 0.0
        self._greeting_left = limits.greeting_seconds
        self.outcome: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        self.outcome.add_done_callback(self._abandon)

    # --- from the engine -------------------------------------------------------------------------

    def begin(self, forget: Callable[[RunningAttempt], None]) -> None:
        """Start the script, and run it up to its first wait; ``forget`` is told when the attempt is over."""
        self._forget = forget
        self._resume(None)

    def sweep(self, now: float) -> None:
        """See whether the time of the waiting operation, or of the whole attempt, is over."""
        if self._wait is None:
            return
        if not self._wait.is_idle and now >= self._expires:
            self._doom_it(errors.AttemptTimeoutError, f"not done in {self._limits.attempt_seconds:g} s")
        elif now >= self._deadline:
            self._answer(self._wait, self._wait.late)

    def interrupt(self) -> None:
        """Tell the script to stop; what it has reported is kept."""
        self._doom_it(errors.InterruptedRunError, "the run was told to stop")

    # --- from the connection ---------------------------------------------------------------------

    def count(self, octets: int) -> None:
        """So many octets came from the wire."""
        self._octets_in += octets
        if self._octets_in > self._limits.max_octets_in and self._doom is None:
            self._doom = errors.LimitError, f"more than {self._limits.max_octets_in} octets came"
            self._operations.stop_reading()

    def record(self, direction: Direction, data: bytes, channel: int = 0, *, is_whole: bool = False) -> None:
        """Put octets on the transcript; a whole datagram is an entry of its own."""
        self._recorder.record(direction, data, channel, is_whole=is_whole)

    def note(self, text: str, channel: int | None = None) -> None:
        """Put a note on the transcript, of a channel or of none."""
        self._recorder.note(text, channel)

    def changed(self) -> None:
        """See whether the waiting operation can be answered now."""
        if self._wait is not None:
            self._answer(self._wait, self._wait.poll)

    # --- the script ------------------------------------------------------------------------------

    def _answer(self, wait: Wait, answerer: Callable[[Any], Any]) -> None:
        try:
            self._check_doom()
            answer = answerer(wait.op)
        except errors.RelaywatchError as error:
            self._resume(None, error)
        except Exception as failure:  # noqa: BLE001
            self._end(failure)
        else:
            self._lead_on(answer)

    def _lead_on(self, answer: Any) -> None:
        if answer is PENDING:
            return
        if isinstance(answer, Wait):
            self._wait_for(answer)
        else:
            self._resume(answer)

    def _resume(self, answer: Any, error: errors.RelaywatchError | None = None) -> None:
        """Run the script until it has to wait or ends."""
        self._stop_waiting()
        while not isinstance(answer, Wait):
            try:
                op = self._script.throw(error) if error is not None else self._script.send(answer)
            except StopIteration:
                self._end(None)
                return
            except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001
                self._end(failure)
                return
            answer, error = None, None
            try:
                answer = self._carry_out(op)
            except errors.RelaywatchError as refusal:
                error = refusal
            except Exception as failure:  # noqa: BLE001
                self._end(failure)
                return
        self._wait_for(answer)

    def _carry_out(self, op: ops.Op[Any]) -> Any:
        self._operation_count += 1
        if self._operation_count > self._limits.max_operations and self._doom is None:
            self._doom = errors.LimitError, f"more than {self._limits.max_operations} operations"
        if self._doom is not None:
            self._grace -= 1
            if self._grace < 0:
                raise _OverstayedError
            if not isinstance(op, ops.Close | ops.Report):
                self._check_doom()
        return self._operations.start(op)

    def _wait_for(self, wait: Wait) -> None:
        self._stop_idling()
        now = monotonic()
        self._wait, self._wait_began, self._deadline = wait, now, now + wait.seconds

    def _stop_waiting(self) -> None:
        self._stop_idling()
        self._wait = None
        self._operations.stop_waiting()

    def _stop_idling(self) -> None:
        """Give the attempt back what time the waiting operation took that isn't its own."""
        if self._wait is None:
            return
        taken = monotonic() - self._wait_began
        if self._wait.is_idle:
            self._expires += taken
        elif self._wait.is_for_greeting:
            credit = min(taken, self._greeting_left)
            self._greeting_left -= credit
            self._expires += credit

    # --- the end ---------------------------------------------------------------------------------

    def _doom_it(self, error: type[errors.RelaywatchError], text: str) -> None:
        """From now on the script gets this error for whatever it asks."""
        if self._doom is None:
            self._doom = error, text
            self.note(text)
        self.changed()

    def _check_doom(self) -> None:
        if self._doom is not None:
            raise _error_of(self._doom)

    def _abandon(self, outcome: asyncio.Future[Attempt]) -> None:
        if outcome.cancelled():
            self.interrupt()

    def _end(self, failure: BaseException | None) -> None:
        self._stop_waiting()
        status, error = self._status_of(failure)
        try:
            self._script.close()
        except Exception as stubborn:  # noqa: BLE001
            status, error = AttemptStatus.BUG, _where(stubborn)
        try:
            self._operations.end()
        except Exception as fault:  # noqa: BLE001 -- of the surroundings
            status, error = AttemptStatus.BUG, _where(fault)
        if self._forget is not None:
            self._forget(self)
        if not self.outcome.done():
            self.outcome.set_result(self._as_attempt(status, error))

    def _status_of(self, failure: BaseException | None) -> tuple[AttemptStatus, str]:
        if not (failure is None or isinstance(failure, _OverstayedError) or type(failure) in _STATUSES):
            return AttemptStatus.BUG, _where(failure)
        if self._doom is not None:  # whatever the script made of it
            failure = _error_of(self._doom)
        if failure is None:
            return AttemptStatus.COMPLETED, ""
        if isinstance(failure, errors.AttemptTimeoutError) and self._octets_in:
            return AttemptStatus.TARPIT, str(failure)
        return _STATUSES[type(failure)], str(failure)

    def _as_attempt(self, status: AttemptStatus, error: str) -> Attempt:
        return Attempt(
            probe=self._probe.name,
            weakness=self._probe.weakness,
            endpoint=self._brief.endpoint,
            door=self._brief.door,
            status=status,
            observations=tuple(self._operations.observations),
            error=error,
            transcript=self._recorder.entries(),
            began=self._began,
            seconds=self._elapsed(),
            source=self._operations.source,
            seen_from=self._brief.canaries.seen_from,
        )

    def _elapsed(self) -> float:
        return round(monotonic() - self._started, 6)


def _error_of(doom: tuple[type[errors.RelaywatchError], str]) -> errors.RelaywatchError:
    kind, text = doom
    return kind(text)


def _where(failure: BaseException | None) -> str:
    """Say what failed and in which lines, in one line."""
    frames = traceback.extract_tb(failure.__traceback__ if failure else None)[-4:]
    places = ", ".join(f"{PurePath(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames)
    said = "".join(traceback.format_exception_only(failure)).strip()
    return f"{said} ({places})" if places else said
