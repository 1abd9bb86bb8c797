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
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address

from .sandbox_network import (
    DNS,
    NEAR,
    POLL_SECONDS,
    ROUTER,
    SERVER,
    STRANGER,
    TOOL_SECONDS,
    SandboxError,
    family_of,
    inside,
    tool,
)
from .sandbox_output import ENDING_SECONDS, Output

SERVER_NAME: Final = "server.example"

_TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount", "mknod", "sh")
_START_SECONDS = 45.0
_STEADY_SECONDS = 1.0
"""How long the same ports must listen for the server to be taken for started."""
_WAITING = frozenset({"0A", "07"})
"""States in /proc/PID/net/tcp and udp: listening, and a datagram socket with no peer of its own."""
_ENTER = """
set -eu
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1g room "$ROOM_POINT"
mkdir "$ROOM_ROOT" "$ROOM_POINT/upper" "$ROOM_POINT/work"
mount -t overlay -o "lowerdir=$ROOM_LOWER,upperdir=$ROOM_POINT/upper,workdir=$ROOM_POINT/work" room "$ROOM_ROOT"
cd "$ROOM_ROOT"
mkdir -p proc dev run tmp etc
mount -t proc -o nosuid,nodev,noexec proc proc
for part in sys irq bus fs sysrq-trigger; do  # they are this machine's, and root may write them without any capability
    [ ! -e "proc/$part" ] || { mount --bind "proc/$part" "proc/$part"; mount -o remount,bind,ro "proc/$part"; }
done
mount -t tmpfs -o mode=755,size=1m dev dev
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $node
    mknod -m 666 "dev/$1" c "$2" "$3"
done
for part in kcore keys timer_list kmsg; do
    [ ! -e "proc/$part" ] || mount --bind dev/null "proc/$part"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mkdir dev/shm
mount -t tmpfs -o mode=1777,size=64m shm dev/shm
mount -t tmpfs -o mode=755,size=64m run run
mount -t tmpfs -o mode=1777,size=64m tmp tmp
mkdir -m 1777 run/lock
echo entered
exec "$ROOM_PYTHON" -I -S "$ROOM_THRESHOLD"
"""
_THRESHOLD = Path(__file__).with_name("sandbox_threshold.py")
_INIT = """
cd /
if command -v busybox > /dev/null; then
    busybox syslogd -n -O /dev/stdout 2> /dev/null &
    for _ in 1 2 3 4 5; do [ -S /dev/log ] || sleep 0.1; done
fi
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
    output: Output

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
        """What the server said on its output and to the system's log, the end of it."""
        return self.output.end(ENDING_SECONDS if self.holder.poll() is not None else 0).strip()

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
            await asyncio.sleep(POLL_SECONDS)
        raise SandboxError(f"the server listens nowhere within {_START_SECONDS:g} s\n{self.last_words()}")

    def add_address(self, address: Address) -> None:
        """Let the room have this address too, since something listens at it."""
        prefix = f"{address}/{address.max_prefixlen}"
        inside(self.pid, "ip", *family_of(address), "addr", "replace", prefix, "dev", "eth0")
        source = STRANGER[address.version == 6]
        tool("ip", *family_of(address), "route", "replace", prefix, "dev", "room", "src", str(source))

    def _bound(self, *tables: str) -> Iterator[tuple[Address, int]]:
        for table in tables:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{self.pid}/net/{table}").read_text(encoding="ascii")
                for row in map(str.split, text.splitlines()[1:]):
                    if row[3] in _WAITING:
                        yield _place(row[1])

    def first(self) -> int:
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
    files = packed({**furniture.files, **_told(furniture.name)})
    with tempfile.TemporaryDirectory(prefix="relaywatch-room-") as point:
        holder = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own lines; ends with this thread
            ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "sh", "-c", _ENTER],  # noqa: S607 -- as PATH has it
            env=_environment(furniture, point),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we end the room in order
        )
        room = Room(holder, Output(cast("IO[bytes]", holder.stdout)))
        try:
            await asyncio.wait_for(asyncio.to_thread(_entered, room, files), TOOL_SECONDS)
            yield room
        finally:
            _end(room)
            with contextlib.suppress(SandboxError):
                tool("ip", "link", "delete", "room")


def _end(room: Room) -> None:
    """End the room's first process, and with it all that are in there: its holder ends when they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(room.first(), signal.SIGKILL)
    try:
        room.holder.wait(TOOL_SECONDS)
    except subprocess.TimeoutExpired:
        room.holder.kill()
        room.holder.wait(TOOL_SECONDS)
    finally:
        room.output.close()
        with contextlib.suppress(OSError):  # what it was to read, and never did
            cast("IO[bytes]", room.holder.stdin).close()


_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc")


def _told(name: str) -> dict[PurePosixPath, tuple[bytes, int]]:
    """What every room has: who it is, and whom it asks for names."""
    own = f"{SERVER[0]} {name} {name.partition('.')[0]}\n"
    told = {
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{own}",
        "/etc/resolv.conf": f"nameserver {DNS}\noptions timeout:2 attempts:2\n",
        "/etc/hostname": f"{name}\n",
        "/etc/mailname": f"{name}\n",
    }
    return {PurePosixPath(path): (text.encode(), 0o644) for path, text in told.items()}


def packed(files: Mapping[PurePosixPath, tuple[bytes, int]]) -> bytes:
    """The files as a tar archive, with modes; whatever a path says, it is below the root."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, (octets, mode) in files.items():
            member = tarfile.TarInfo(os.path.normpath(f"/{path}").lstrip("/"))
            member.size, member.mode = len(octets), mode
            tar.addfile(member, io.BytesIO(octets))
    return archive.getvalue()


def _environment(furniture: Furniture, point: str) -> dict[str, str]:
    for layer in furniture.layers:
        if set(str(layer)) & set(",:\\"):
            raise SandboxError(f"{layer}: a path with a comma, a colon or a backslash can't be a root")
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "ROOM_LOWER": ":".join(map(str, furniture.layers)),
        "ROOM_POINT": point,
        "ROOM_ROOT": f"{point}/root",
        "ROOM_PYTHON": sys.executable,
        "ROOM_THRESHOLD": str(_THRESHOLD),
        "ROOM_NAME": furniture.name,
        "ROOM_SCRIPT": _INIT % furniture.script,
    }


def _entered(room: Room, files: bytes) -> None:
    """Wait until the room stands, give it its network, and let it start."""
    if not room.output.has_said(b"entered\n"):
        raise SandboxError(f"no room can be made\n{room.last_words()}")
    room.output.start()
    tool(*["ip", "link", "add", "room", "type", "veth", "peer", "name", "eth0", "netns"], str(room.pid))
    tool("ip", "link", "set", "room", "up")
    inside(room.pid, *["ip", "link", "set", "lo", "up"])
    inside(room.pid, *["ip", "link", "set", "eth0", "up"])
    for ours, theirs, stranger in zip(ROUTER, SERVER, STRANGER, strict=True):
        family, length = family_of(ours), NEAR[ours.version].partition("/")[2]
        no_wait = ("nodad",) if ours.version == 6 else ()
        tool("ip", *family, "addr", "add", f"{ours}/{length}", "dev", "room", *no_wait)
        inside(room.pid, "ip", *family, "addr", "add", f"{theirs}/{length}", "dev", "eth0", *no_wait)
        inside(room.pid, "ip", *family, "route", "add", "default", "via", str(ours))
        near = NEAR[ours.version]
        tool("ip", *family, "route", "replace", near, "dev", "room", "src", str(stranger))
    # Configurations name addresses that this room hasn't got: they are given to it once something listens there.
    script = "for f in ipv4 ipv6; do echo 1 > /proc/sys/net/$f/ip_nonlocal_bind; done"
    inside(room.pid, "sh", "-c", script)
    with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", room.holder.stdin) as stdin:
        stdin.write(files)  # and that it ends is the sign to begin


def _place(place: str) -> tuple[Address, int]:
    """Read a row's local address: its 32-bit words are in the machine's order (proc(5))."""
    digits, _, port = place.partition(":")
    words = [bytes.fromhex(digits[n : n + 8]) for n in range(0, len(digits), 8)]
    octets = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ip_address(octets)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address, int(port, 16)
