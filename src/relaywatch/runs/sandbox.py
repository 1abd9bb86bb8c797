"""A sandbox for one server: a root, processes and a network of its own, from which no way leads out.

::

    the stranger's network (a thread's own)          the server's room
    203.0.113.10, 2001:db8:113::10  the stranger     198.51.100.10, 2001:db8:51::10
    203.0.113.25, 2001:db8:113::25  our sink      ── a stack of read-only layers, what is written
    203.0.113.53                    the DNS          stays in memory

Nothing has a name on this machine: the network lives as long as its thread, the room as long as its first process,
which the kernel ends with ours, however that ends. Linux, and root.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar, cast

from relaywatch.engine.loop import new_event_loop
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address

T = TypeVar("T")

STRANGER: Final = (ip_address("203.0.113.10"), ip_address("2001:db8:113::10"))
SINK: Final = (ip_address("203.0.113.25"), ip_address("2001:db8:113::25"))
DNS: Final = ip_address("203.0.113.53")
SERVER: Final = (ip_address("198.51.100.10"), ip_address("2001:db8:51::10"))
_ROUTER = (ip_address("198.51.100.1"), ip_address("2001:db8:51::1"))
_NEAR = {4: "198.51.100.0/24", 6: "2001:db8:51::/64"}
SERVER_NAME: Final = "server.example"

_TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount", "chroot", "sh")
_CLONE_NEWNET = 0x40000000
_TOOL_SECONDS = 30.0
_START_SECONDS = 45.0
_STEADY_SECONDS = 1.0
"""How long the same ports must listen for the server to be taken for started."""
_POLL_SECONDS = 0.2
_WAITING = frozenset({"0A", "07"})
"""States in /proc/PID/net/tcp and udp: listening, and a datagram socket with no peer of its own."""
_LAST_WORDS = 4000
_DROPPED = (
    *("sys_admin", "sys_module", "sys_rawio", "sys_boot", "sys_time", "sys_ptrace", "sys_pacct"),
    *("mknod", "mac_admin", "mac_override", "syslog", "wake_alarm", "block_suspend", "net_admin"),
)
"""Capabilities that no server needs in there: with them, its root would be this machine's."""
_ENTER = """
set -eu
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1g room "$ROOM_POINT"
root=$ROOM_POINT/root
mkdir "$root" "$ROOM_POINT/upper" "$ROOM_POINT/work"
mount -t overlay -o "lowerdir=$ROOM_LOWER,upperdir=$ROOM_POINT/upper,workdir=$ROOM_POINT/work" room "$root"
mkdir -p "$root/proc" "$root/dev" "$root/run" "$root/tmp" "$root/etc"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $node
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=64m shm "$root/dev/shm"
mount -t tmpfs -o mode=755,size=64m run "$root/run"
mount -t tmpfs -o mode=1777,size=64m tmp "$root/tmp"
mkdir -m 1777 "$root/run/lock"
hostname "$ROOM_NAME"
rm -f "$root/etc/resolv.conf" "$root/etc/hosts" "$root/etc/hostname" "$root/etc/mailname"
cp -RP --remove-destination "$ROOM_FILES/." "$root/"
echo entered
read -r _
exec >> "$ROOM_OUTPUT" 2>&1
exec setpriv --bounding-set "$ROOM_DROPPED" --inh-caps "$ROOM_DROPPED" chroot "$root" /bin/sh -c "$ROOM_SCRIPT"
"""
_INIT = """
cd /
if command -v busybox > /dev/null; then busybox syslogd -O /var/log/relaywatch-room 2> /dev/null || :; fi
(
%s
) < /dev/null &
wait $! || exit 1
sleep infinity &
wait
"""


def require() -> None:
    """Refuse where no sandbox can be made.

    :raises UsageError: naming what is missing.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise UsageError("--prove makes network namespaces of its own: that takes Linux, and root")
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        raise UsageError(f"--prove needs {', '.join(missing)}, which this machine hasn't got")


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
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
    except BaseException:
        running.cancel()
        thread.join(_TOOL_SECONDS)
        raise
    return cast("T", running.result())


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
    _tool("ip", "link", "set", "lo", "up")
    for address in (*STRANGER, *SINK, DNS, *clients):
        _tool("ip", *_family(address), "addr", "add", f"{address}/{address.max_prefixlen}", "dev", "lo")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):  # what leads nowhere is told so at once
        Path("/proc/sys/net", path).write_text("1", encoding="ascii")
    for family in ("-4", "-6"):
        _tool("ip", family, "route", "add", "unreachable", "default", "metric", "4278198272")


@dataclass(frozen=True, slots=True, kw_only=True)
class Furniture:
    """What a room is made of."""

    layers: tuple[Path, ...]
    """Roots of a system, topmost first; nothing in them is ever changed."""
    files: Mapping[PurePosixPath, tuple[bytes, int]] = field(default_factory=dict)
    """What is laid over them, with its mode."""
    script: str
    """Starts the server: lines of sh, inside."""
    name: str = SERVER_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where something listens in the room."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Room:
    """A running room."""

    holder: subprocess.Popen[bytes]
    folder: Path

    @property
    def pid(self) -> int:
        """A process in the room's network."""
        return self.holder.pid

    def listeners(self) -> tuple[Listener, ...]:
        """Where TCP connections are taken, sorted."""
        found = {Listener(address=address, port=port) for address, port in self._bound("tcp", "tcp6")}
        return tuple(sorted(found, key=lambda one: (one.port, one.address.version, str(one.address))))

    def datagram_ports(self) -> frozenset[int]:
        """Ports at which datagrams are taken."""
        return frozenset(port for _, port in self._bound("udp", "udp6"))

    def last_words(self) -> str:
        """What the server said on its output and in its log, the end of it."""
        output = self.folder / "output"
        said = _end_of(output) if output.exists() else ""
        log = Path(f"/proc/{self._first()}/root/var/log/relaywatch-room")
        with contextlib.suppress(OSError):
            said += _end_of(log)
        return said[-_LAST_WORDS:].strip()

    async def started(self) -> tuple[Listener, ...]:
        """Where it listens, once it does and that stays so for a moment.

        :raises SandboxError: if it ends, or listens nowhere in time.
        """
        deadline, since = time.monotonic() + _START_SECONDS, time.monotonic()
        known: tuple[Listener, ...] = ()
        while time.monotonic() < deadline:
            if self.holder.poll() is not None:
                raise SandboxError(f"the server doesn't start\n{self.last_words()}")
            now = self.listeners()
            if now != known:
                known, since = now, time.monotonic()
            elif known and time.monotonic() - since > _STEADY_SECONDS:
                return known
            await asyncio.sleep(_POLL_SECONDS)
        raise SandboxError(f"the server listens nowhere within {_START_SECONDS:g} s\n{self.last_words()}")

    def add_address(self, address: Address) -> None:
        """Let the room have this address too, since something listens at it."""
        prefix = f"{address}/{address.max_prefixlen}"
        _inside(self.pid, "ip", *_family(address), "addr", "replace", prefix, "dev", "eth0")
        source = STRANGER[address.version == 6]
        _tool("ip", *_family(address), "route", "replace", prefix, "dev", "room", "src", str(source))

    def _bound(self, *tables: str) -> Iterator[tuple[Address, int]]:
        for table in tables:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{self.pid}/net/{table}").read_text(encoding="ascii")
                for row in map(str.split, text.splitlines()[1:]):
                    if row[3] in _WAITING:
                        yield _place(row[1])

    def _first(self) -> int:
        """The process inside that is its first one, as it is numbered here."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(children.read_text(encoding="ascii").split()[0])
        return self.pid


@contextlib.asynccontextmanager
async def opened(furniture: Furniture) -> AsyncIterator[Room]:
    """Open a room beside the network in which this thread is, and end all that runs in it.

    :raises SandboxError: if it can't be made.
    """
    with tempfile.TemporaryDirectory(prefix="relaywatch-room-") as name:
        folder = Path(name)
        _lay_out(furniture, folder)
        holder = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own lines; ends with this thread
            ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "sh", "-c", _ENTER],  # noqa: S607 -- as PATH has it
            env=_environment(furniture, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "output").open("ab"),
            start_new_session=True,  # Ctrl-C is for us, and we end the room in order
        )
        try:
            room = Room(holder, folder)
            await asyncio.wait_for(asyncio.to_thread(_entered, room), _TOOL_SECONDS)
            yield room
        finally:
            holder.kill()  # and the kernel whatever is in its process namespace
            with contextlib.suppress(subprocess.TimeoutExpired):
                holder.wait(_TOOL_SECONDS)
            for pipe in (holder.stdin, holder.stdout):
                if pipe is not None:
                    pipe.close()
            with contextlib.suppress(SandboxError):
                _tool("ip", "link", "delete", "room")


_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc")


def _lay_out(furniture: Furniture, folder: Path) -> None:
    (folder / "point").mkdir()
    own = f"{SERVER[0]} {furniture.name} {furniture.name.partition('.')[0]}\n"
    told = {
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{own}",
        "/etc/resolv.conf": f"nameserver {DNS}\noptions timeout:2 attempts:2\n",
        "/etc/hostname": f"{furniture.name}\n",
        "/etc/mailname": f"{furniture.name}\n",
    }
    ours = {PurePosixPath(path): (text.encode(), 0o644) for path, text in told.items()}
    for path, (octets, mode) in {**furniture.files, **ours}.items():
        place = folder / "files" / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(octets)
        place.chmod(mode)


def _environment(furniture: Furniture, folder: Path) -> dict[str, str]:
    for layer in furniture.layers:
        if "," in str(layer) or ":" in str(layer):
            raise SandboxError(f"{layer}: a path with a comma or a colon can't be a root")
    layers = [str(layer) for layer in furniture.layers]
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "ROOM_LOWER": ":".join(layers),
        "ROOM_POINT": str(folder / "point"),
        "ROOM_FILES": str(folder / "files"),
        "ROOM_OUTPUT": str(folder / "output"),
        "ROOM_NAME": furniture.name,
        "ROOM_DROPPED": ",".join(f"-{name}" for name in _DROPPED),
        "ROOM_SCRIPT": _INIT % furniture.script,
    }


def _entered(room: Room) -> None:
    """Wait until the room stands, give it its network, and let it start."""
    assert room.holder.stdout is not None  # noqa: S101 -- it was asked for
    assert room.holder.stdin is not None  # noqa: S101
    if room.holder.stdout.readline() != b"entered\n":
        raise SandboxError(f"no room can be made\n{room.last_words()}")
    _tool(*["ip", "link", "add", "room", "type", "veth", "peer", "name", "eth0", "netns"], str(room.pid))
    _tool("ip", "link", "set", "room", "up")
    _inside(room.pid, *["ip", "link", "set", "lo", "up"])
    _inside(room.pid, *["ip", "link", "set", "eth0", "up"])
    for ours, theirs, stranger in zip(_ROUTER, SERVER, STRANGER, strict=True):
        family, length = _family(ours), _NEAR[ours.version].partition("/")[2]
        no_wait = ("nodad",) if ours.version == 6 else ()
        _tool("ip", *family, "addr", "add", f"{ours}/{length}", "dev", "room", *no_wait)
        _inside(room.pid, "ip", *family, "addr", "add", f"{theirs}/{length}", "dev", "eth0", *no_wait)
        _inside(room.pid, "ip", *family, "route", "add", "default", "via", str(ours))
        near = _NEAR[ours.version]
        _tool("ip", *family, "route", "replace", near, "dev", "room", "src", str(stranger))
    # Configurations name addresses that this room hasn't got: they are given to it once something listens there.
    script = "for f in ipv4 ipv6; do echo 1 > /proc/sys/net/$f/ip_nonlocal_bind; done"
    _inside(room.pid, "sh", "-c", script)
    room.holder.stdin.write(b"go\n")
    room.holder.stdin.flush()


def _place(place: str) -> tuple[Address, int]:
    """Read a row's local address: its 32-bit words are in the machine's order (proc(5))."""
    digits, _, port = place.partition(":")
    words = [bytes.fromhex(digits[n : n + 8]) for n in range(0, len(digits), 8)]
    octets = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ip_address(octets)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address, int(port, 16)


def _family(address: Address) -> tuple[str, ...]:
    return ("-6",) if address.version == 6 else ("-4",)


def _inside(pid: int, *command: str) -> None:
    _tool("nsenter", f"--net=/proc/{pid}/ns/net", *command)


def _tool(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            command, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        raise SandboxError(f"{' '.join(command)}: {done.stderr.strip()}")


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_WORDS))
        return file.read(_LAST_WORDS).decode("utf-8", "replace")
