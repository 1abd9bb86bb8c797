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
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Final

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

SERVER_NAME: Final = "server.example"

_TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount", "chroot", "sh")
_START_SECONDS = 45.0
_STEADY_SECONDS = 1.0
"""How long the same ports must listen for the server to be taken for started."""
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
        log = Path(f"/proc/{self.first()}/root/var/log/relaywatch-room")
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
    with tempfile.TemporaryDirectory(prefix="relaywatch-room-") as name:
        folder = Path(name)
        _lay_out(furniture, folder)
        with (folder / "output").open("ab") as output:
            holder = subprocess.Popen(  # noqa: S603, ASYNC220 -- our own lines; ends with this thread
                ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, "sh", "-c", _ENTER],  # noqa: S607 -- as PATH has it
                env=_environment(furniture, folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us, and we end the room in order
            )
        try:
            room = Room(holder, folder)
            await asyncio.wait_for(asyncio.to_thread(_entered, room), TOOL_SECONDS)
            yield room
        finally:
            _end(Room(holder, folder))
            for pipe in (holder.stdin, holder.stdout):
                if pipe is not None:
                    pipe.close()
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


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_WORDS))
        return file.read(_LAST_WORDS).decode("utf-8", "replace")
