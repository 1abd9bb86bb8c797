"""Network namespaces: a router between the servers' network and the outside, and a host for each home.

All names begin with ``rwlab-`` and the run's id, so that two labs don't meet, and a lab is taken down by
nothing but its names: there is no state that could be lost.
"""

import os
import shutil
import signal
import time
from pathlib import Path

from .errors import LabError
from .plan import DNS, OUTSIDE, SERVERS, Home, Side
from .shell import run

PREFIX = "rwlab-"
_RESOLV = f"nameserver {DNS}\noptions timeout:2 attempts:2\n"
_NETNS_FILES = Path("/etc/netns")
_ROUTER = "router"


def namespace(run_id: str, label: str) -> str:
    """Return the name of a host's namespace."""
    return f"{PREFIX}{run_id}-{label}"


def add_router(run_id: str) -> None:
    """Make the router with a bridge to each side."""
    router = _add_namespace(run_id, _ROUTER)
    for side in (SERVERS, OUTSIDE):
        _batch(
            router,
            f"link add {side.name} type bridge",
            f"link set {side.name} up",
            *_addresses(side, 1, side.name),
        )
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
    run(["ip", "netns", "exec", router, "sh", "-c", forward])


def add_host(run_id: str, home: Home) -> None:
    """Make a host's namespace, with its addresses, and routes through the router."""
    router, host = namespace(run_id, _ROUTER), _add_namespace(run_id, home.label)
    port = f"{home.side.name[0]}{home.number}"
    _batch(
        router,
        f"link add {port} type veth peer name eth0 netns {host}",
        f"link set {port} master {home.side.name} up",
    )
    lines = ["link set eth0 up", *_addresses(home.side, home.number, "eth0")]
    for number in home.further:
        lines += _addresses(home.side, number, "eth0", further=True)
    lines += [
        f"route add default via {home.side.router}",
        f"-6 route add default via {home.side.router_6}",
    ]
    _batch(host, *lines)


def resolv(run_id: str) -> Path:
    """Return the resolv.conf of every host of the run."""
    return _NETNS_FILES / namespace(run_id, _ROUTER) / "resolv.conf"


def processes(name: str) -> list[int]:
    """Return the processes in a namespace."""
    return [int(word) for word in run(["ip", "netns", "pids", name]).split()]


def runs() -> dict[str, list[str]]:
    """Return the namespaces of each lab on this machine, by run id."""
    found: dict[str, list[str]] = {}
    for row in run(["ip", "netns", "list"]).splitlines():
        if row.startswith(PREFIX):
            name = row.split()[0]
            found.setdefault(name.split("-")[1], []).append(name)
    return found


def remove_run(run_id: str) -> None:
    """End every process of a run and remove its namespaces; raise LabError if something outlives that."""
    names = runs().get(run_id, [])
    for name in names:
        _end_processes(name)
    for name in names:
        run(["ip", "netns", "delete", name])
    for folder in _NETNS_FILES.glob(f"{PREFIX}{run_id}-*"):
        shutil.rmtree(folder)


def _end_processes(name: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while pids := processes(name):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise LabError(f"processes of {name} don't end: {pids}")
        time.sleep(0.02)


def _add_namespace(run_id: str, label: str) -> str:
    name = namespace(run_id, label)
    folder = _NETNS_FILES / name  # where "ip netns exec" looks for files to lay over /etc
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text(_RESOLV, encoding="utf-8")
    run(["ip", "netns", "add", name])
    _batch(name, "link set lo up")
    return name


def _addresses(side: Side, number: int, device: str, *, further: bool = False) -> list[str]:
    # nodad: usable at once. A deprecated address is not chosen as the source of a connection.
    lifetime = " preferred_lft 0" if further else ""
    return [
        f"addr add {side.prefix}.{number}/24 dev {device}",
        f"addr add {side.prefix_6}::{number}/64 dev {device} nodad{lifetime}",
    ]


def _batch(name: str, *lines: str) -> None:
    """Carry out several ``ip`` commands in a namespace."""
    for family in ("", "-6 "):
        chosen = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ") == bool(family)]
        if chosen:
            run(["ip", *family.split(), "-n", name, "-batch", "-"], stdin="\n".join(chosen) + "\n")
