"""The step over a room's threshold: its root becomes the only one there is, its files are laid, its rights go.

Run as a program of its own, between the lines that make a room (`relaywatch.runs.sandbox`) and the server in it: the
rest of this package is behind it by then, so it needs nothing but Python. It gets the files as a tar archive on
standard input, and whatever goes wrong it says before it ends.
"""

from __future__ import annotations

import ctypes
import io
import os
import resource
import socket
import sys
import tarfile
from pathlib import Path

KEPT = frozenset(
    {
        *(0, 1, 3, 4, 5, 6, 7, 8),  # CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
        *(10, 13, 18, 29, 31),  # NET_BIND_SERVICE NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP
    }
)
"""The capabilities (capabilities(7)) that a container of Docker's has too, but for making devices: servers need no more."""
_LAST_CAP = Path("/proc/sys/kernel/cap_last_cap")
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4
_MNT_DETACH = 2
_NO_DUMP = (1, 1)
"""With this limit there is no core(5), not even one that the kernel would hand to a program of this machine's."""


def main() -> None:
    """Step over it, and become the shell that starts the server."""
    root, name, script = (os.environ[key] for key in ("ROOM_ROOT", "ROOM_NAME", "ROOM_SCRIPT"))
    files = sys.stdin.buffer.read()
    last = int(_LAST_CAP.read_text(encoding="ascii"))
    socket.sethostname(name)
    leave_for(root)
    lay(files)
    resource.setrlimit(resource.RLIMIT_CORE, _NO_DUMP)
    give_up(last)
    known = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    os.execve("/bin/sh", ["sh", "-c", script], known)  # noqa: S606 -- the room's own


def leave_for(root: str) -> None:
    """Make this folder the root of everything, and let go of the one before: nothing above is left (pivot_root(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.chdir(root)
    _done(libc.pivot_root(b".", b"."), "pivot_root")
    _done(libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")


def lay(files: bytes) -> None:
    """Lay the files; links of the room's lead to places in the room by now, and one in a file's place goes."""
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for member in archive:
            named = Path("/", member.name)
            place = named.parent.resolve() / named.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            content = archive.extractfile(member)
            place.write_bytes(content.read() if content else b"")
            place.chmod(member.mode)


def give_up(last: int) -> None:
    """Give up for good whatever capability isn't kept: what is started from here never has it (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(last + 1):
        if capability not in KEPT:
            _done(libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"capability {capability}")


def _done(failed: int, what: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"the room can't be entered: {error}")
