"""Rooms: processes with a root, a host name and namespaces of their own; they end when their first one does."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .network import processes
from .shell import run, tail

_ENTER = Path(__file__).parent / "enter.sh"
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "sh", str(_ENTER))
_SYSLOG = "busybox syslogd -O /var/log/syslog"
_READY = "/run/lab-ready"
_STAY = f": > {_READY}; sleep infinity & wait"  # a shell that waits reaps what the daemons leave
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LISTEN = "0A"  # state in /proc/PID/net/tcp
_PATIENCE = 40.0  # seconds a server has to listen


@dataclass(frozen=True, slots=True)
class Furniture:
    """What a room is made of: layers, host name, files, and the trees laid over its root."""

    lower: str
    name: str
    hosts: str = "127.0.0.1 localhost\n::1 localhost\n"
    resolv: Path = Path("/etc/resolv.conf")
    trees: tuple[Path, ...] = ()


def build(lower: str, upper: Path, command: Sequence[str], *, share: tuple[Path, str] | None = None) -> None:
    """Run a command over the layers and keep what it changes in ``upper/upper``; it sees the network."""
    with tempfile.TemporaryDirectory(prefix="rwlab-build-") as folder:
        env = _environment(Furniture(lower, "build.lab.example"), Path(folder))
        env["ROOM_UPPER"] = str(upper)
        if share:
            env["ROOM_SHARE"] = f"{share[0]}:{share[1]}"
        upper.mkdir(exist_ok=True)
        run([*_UNSHARE, *command], env=env, timeout=900)


@dataclass(frozen=True, slots=True)
class Room:
    """A running room: the process outside that holds it, and its folder."""

    namespace: str
    folder: Path
    holder: subprocess.Popen[bytes]

    def wait_until_ready(self, ports: Sequence[int]) -> None:
        """Return when the shell lines are done and the ports listen; else raise LabError with the last words."""
        try:
            wait_until_listening(self.holder, ports)
            _wait(self._ready, self.holder, "its shell lines")
        except LabError as error:
            said = (self.folder / "output").read_text(errors="replace") + self.logs()
            raise LabError(f"{self.namespace}: {error}\n{tail(said)}") from error

    def _ready(self) -> bool:
        with contextlib.suppress(LabError):
            return Path(f"/proc/{first_process(self.namespace)}/root{_READY}").exists()
        return False

    def logs(self) -> str:
        """Return what the servers wrote to their logs, as far as the room still stands."""
        return "".join(f"{path.name}: {path.read_text(errors='replace')}\n" for path in _logs(self.namespace))


def start(furniture: Furniture, namespace: str, lines: Sequence[str], folder: Path) -> Room:
    """Open a room in a network namespace: a syslog, then the shell lines; it stays until it is ended.

    The folder has to stay as long as the room: what the lines print goes to ``output`` in it.
    """
    script = "\n".join(["set -e", _SYSLOG, *lines, _STAY])
    folder.mkdir(parents=True)
    with (folder / "output").open("wb") as output:
        holder = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{namespace}", *_UNSHARE, "sh", "-c", script],
            env=_environment(furniture, folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the lab, which ends its rooms in order
        )
    return Room(namespace, folder, holder)


def inside(namespace: str) -> list[str]:
    """Return the beginning of a command that runs in the room of a namespace."""
    return ["nsenter", "--target", str(first_process(namespace)), "--all", "--root", "--wd"]


def first_process(namespace: str) -> int:
    """Return the process that is number 1 inside the room; raise LabError if there is none."""
    for pid in processes(namespace):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) > 1 and numbers[-1] == "1":
                return pid
    raise LabError(f"nothing runs in {namespace}")


def wait_until_listening(process: subprocess.Popen[bytes], ports: Sequence[int]) -> None:
    """Return when the ports listen in the process's network; raise LabError if it ends or takes too long."""
    _wait(lambda: set(ports) <= listening(process.pid), process, f"ports {list(ports)}")


def _wait(done: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not done():
        if process.poll() is not None:
            raise LabError(f"ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise LabError(f"waited {_PATIENCE:g} s in vain for {what}")
        time.sleep(0.05)


def listening(pid: int) -> set[int]:
    """Return the TCP ports, of either family, that listen in the network of a process."""
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for row in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTEN:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _logs(namespace: str) -> list[Path]:
    try:
        folder = Path(f"/proc/{first_process(namespace)}/root/var/log")
        return sorted(path for path in folder.rglob("*") if path.is_file() and "apt" not in path.parts)
    except (LabError, OSError):
        return []


def _environment(furniture: Furniture, folder: Path) -> dict[str, str]:
    (folder / "hosts").write_text(furniture.hosts, encoding="utf-8")
    (folder / "point").mkdir()
    return {
        "PATH": _PATH,
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "ROOM_LOWER": furniture.lower,
        "ROOM_UPPER": "",
        "ROOM_POINT": str(folder / "point"),
        "ROOM_NAME": furniture.name,
        "ROOM_RESOLV": str(furniture.resolv),
        "ROOM_HOSTS": str(folder / "hosts"),
        "ROOM_FILES": "\n".join(str(tree) for tree in furniture.trees if tree.is_dir()),
        "ROOM_SHARE": "",
    }
