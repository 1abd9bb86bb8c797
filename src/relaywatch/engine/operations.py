"""How each operation of a script is carried out: those on channels, those of the run, and those beside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from time import monotonic
from typing import Any, ClassVar

from relaywatch.model import errors
from relaywatch.model.evidence import Observation
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token
from relaywatch.script import ops

from .channels import Channels
from .dialing import Dialer
from .limits import Limits
from .owner import Owner
from .surroundings import Surroundings
from .waiting import NEVER, PENDING, Wait

_SSH_GRACE_SECONDS = 2.0
"""For the library to come and to go."""


class Operations(Channels):
    """Carries out the operations of one attempt; ``owner`` hears what its channels have to tell."""

    __slots__ = ("_future", "_ports", "observations")

    def __init__(
        self, owner: Owner, endpoint: Endpoint, surroundings: Surroundings, dialer: Dialer, limits: Limits
    ) -> None:
        super().__init__(owner, endpoint, surroundings, dialer, limits)
        self._future: asyncio.Future[Any] | None = None
        self._ports: set[Token] | None = None
        self.observations: list[Observation] = []

    def start(self, op: ops.Op[Any]) -> Any:
        """Carry out an operation: gives its answer, or the `Wait` for it.

        :raises RelaywatchError: which is the answer too.
        :raises TypeError: if it is no operation but something foreign that the script awaited.
        """
        starter = self.starters.get(type(op))
        if starter is None:
            raise TypeError(f"the script awaited {op!r}, which is no operation")
        return starter(self, op)

    def stop_waiting(self) -> None:
        """Give up on what is no longer waited for."""
        if self._future is not None:
            self._future.cancel()
            self._future = None

    def end(self) -> None:
        """Close all channels, and all ports of our sink that were asked for."""
        self.close_all()
        ports, self._ports = self._ports, None
        for token in ports or ():
            self._surroundings.close_port(token)

    # --- time ------------------------------------------------------------------------------------

    def _pause(self, op: ops.Pause) -> Wait | None:
        if op.seconds <= 0:
            return None
        return Wait(op, op.seconds, late=_nothing, is_idle=True)

    def _now(self, _op: ops.Now) -> float:
        return monotonic()

    # --- the run ---------------------------------------------------------------------------------

    def _await_arrival(self, op: ops.AwaitArrival) -> Any:
        arrival = self._surroundings.await_arrival(op.tokens)
        return self._wait_for(arrival, Wait(op, NEVER, is_idle=True))

    def _open_port(self, op: ops.OpenPort) -> Any:
        ports = self._ports = self._ports or set()
        if op.token not in ports and len(ports) >= self._limits.max_ports:
            raise errors.LimitError(f"more than {self._limits.max_ports} ports of our sink")
        ports.add(op.token)
        port = self._surroundings.open_port(op.token, self._endpoint.family)
        return self._wait_for(port, Wait(op, self._limits.port_seconds, late=self._no_port))

    def _no_port(self, _op: ops.OpenPort) -> None:
        self._owner.note(f"our sink opened no port in {self._limits.port_seconds:g} s")

    def _may_send(self, _op: ops.MaySend) -> bool:
        return self._surroundings.may_send()

    def _report(self, op: ops.Report) -> None:
        self.observations.append(op.observation)
        self._surroundings.observed(op.observation)

    # --- SSH -------------------------------------------------------------------------------------

    def _forward_by_ssh(self, op: ops.ForwardBySSH) -> Any:
        if not self._surroundings.is_canary(op.to):
            text = f"SSH is to lead to {op.to}, which is no canary of ours"
            self._owner.note(text)
            raise errors.NotPermittedError(text)
        delay = self._surroundings.admit(self._endpoint.address)
        if delay > 0:
            return Wait(op, delay, late=self._forward, is_idle=True)
        return self._forward(op)

    def _forward(self, op: ops.ForwardBySSH) -> Any:
        task = asyncio.get_running_loop().create_task(self._by_ssh(op))
        return self._wait_for(task, Wait(op, op.within + _SSH_GRACE_SECONDS, late=self._no_forwarding))

    async def _by_ssh(self, op: ops.ForwardBySSH) -> ops.SSHForwarding:
        # Late, and not in the loop: importing the library takes longer than checking a host.
        await asyncio.get_running_loop().run_in_executor(None, import_module, "asyncssh")
        from .ssh import Forwarding  # noqa: PLC0415

        forwarding = Forwarding(op, self._endpoint, self._dialer, self._owner)
        answer = await forwarding.run()
        self.source = forwarding.source or self.source
        return answer

    def _no_forwarding(self, op: ops.ForwardBySSH) -> ops.SSHForwarding:
        text = f"no end after {op.within:g} s"
        self._owner.note(f"SSH: {text}")
        return ops.SSHForwarding(identification="", error=text)

    # --- within ----------------------------------------------------------------------------------

    def _wait_for(self, future: asyncio.Future[Any], wait: Wait) -> Any:
        """What the future gives, if it is there already; else the wait for it."""
        if future.done():
            return future.result()
        self._future = future
        future.add_done_callback(lambda _future: self._owner.changed())
        wait.poll = lambda _op: _outcome(future)
        return wait

    starters: ClassVar[dict[type[Any], Callable[[Any, Any], Any]]] = {
        **Channels.starters,
        ops.Pause: _pause,
        ops.Now: _now,
        ops.AwaitArrival: _await_arrival,
        ops.MaySend: _may_send,
        ops.Report: _report,
        ops.OpenPort: _open_port,
        ops.ForwardBySSH: _forward_by_ssh,
    }


def _nothing(_op: ops.Pause) -> None:
    return None


def _outcome(future: asyncio.Future[Any]) -> Any:
    if not future.done():
        return PENDING
    return None if future.cancelled() else future.result()
