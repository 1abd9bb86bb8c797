"""Networks from which no way leads out: one that a thread has for itself, and the addresses in it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from relaywatch.engine.loop import new_event_loop
from relaywatch.model.places import Address

T = TypeVar("T")

STRANGER: Final = (ip_address("203.0.113.10"), ip_address("2001:db8:113::10"))
SINK: Final = (ip_address("203.0.113.25"), ip_address("2001:db8:113::25"))
DNS: Final = ip_address("203.0.113.53")
SERVER: Final = (ip_address("198.51.100.10"), ip_address("2001:db8:51::10"))
ROUTER = (ip_address("198.51.100.1"), ip_address("2001:db8:51::1"))
NEAR = {4: "198.51.100.0/24", 6: "2001:db8:51::/64"}

TOOL_SECONDS = 30.0
POLL_SECONDS = 0.2
_CLONE_NEWNET = 0x40000000


class SandboxError(Exception):
    """The sandbox, or the server in it, can't be started; the message says why, with the last words of the server."""


def apart(make: Callable[[], Coroutine[Any, Any, T]], network_of: int | None = None) -> T:
    """Run a coroutine in a thread of its own, in a network of its own or in that of a process; wait for it.

    Whatever ends the waiting, Ctrl-C as well, cancels it, and is raised once it has cleaned up.
    """
    running = _Apart(make, network_of)
    thread = threading.Thread(target=running.run, name="sandbox", daemon=True)
    thread.start()
    try:
        with _heeding_sigterm():
            while thread.is_alive():
                thread.join(POLL_SECONDS)
    except BaseException:
        running.cancel()
        thread.join(TOOL_SECONDS)
        raise
    return cast("T", running.result())


@contextlib.contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C meanwhile, so that nothing is left behind; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(slots=True)
class _Apart:
    """What runs in the thread, and what came of it."""

    make: Callable[[], Coroutine[Any, Any, Any]]
    network_of: int | None
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[Any] | None = None
    _value: Any = None
    _error: BaseException | None = None

    def run(self) -> None:
        try:
            _enter_network(self.network_of)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                self._loop = runner.get_loop()
                self._value = runner.run(self._noted())
        except BaseException as error:  # noqa: BLE001 -- it is raised where it is waited for
            self._error = error

    async def _noted(self) -> Any:
        self._task = asyncio.current_task()
        return await self.make()

    def cancel(self) -> None:
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._task.cancel)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def _enter_network(of: int | None) -> None:
    """Take this thread, and what it starts, into a network of its own, or into that of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if of is None:
        failed = libc.unshare(_CLONE_NEWNET)
    else:
        with Path(f"/proc/{of}/ns/net").open("rb") as network:
            failed = libc.setns(network.fileno(), _CLONE_NEWNET)
    if failed:
        raise SandboxError(f"no network of its own: {os.strerror(ctypes.get_errno())}")


def furnish_network(clients: Sequence[Address] = ()) -> None:
    """Give the stranger's network, in which this thread is, its addresses; those of further clients too."""
    tool("ip", "link", "set", "lo", "up")
    for address in dict.fromkeys((*STRANGER, *SINK, DNS, *clients)):
        tool("ip", *family_of(address), "addr", "add", f"{address}/{address.max_prefixlen}", "dev", "lo")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):  # what leads nowhere is told so at once
        Path("/proc/sys/net", path).write_text("1", encoding="ascii")
    for family in ("-4", "-6"):
        tool("ip", family, "route", "add", "unreachable", "default", "metric", "4278198272")


def family_of(address: Address) -> tuple[str, ...]:
    """The option by which ``ip`` knows the family."""
    return ("-6",) if address.version == 6 else ("-4",)


def inside(pid: int, *command: str) -> None:
    """Carry out a command of this machine in the network of a process.

    :raises SandboxError: if it fails.
    """
    tool("nsenter", f"--net=/proc/{pid}/ns/net", *command)


def tool(*command: str) -> None:
    """Carry out a command of this machine, in this thread's network.

    :raises SandboxError: if it fails, or takes too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        raise SandboxError(f"{' '.join(command)}: {done.stderr.strip()}")
