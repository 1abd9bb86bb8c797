"""Roots: one base system and one layer for each set of packages, kept in a cache outside the checkout.

Packages of mail servers exclude each other, so each set lives in a layer of its own over the same base.
A layer is built under another name and renamed when it is whole; what a broken run left is built anew.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from . import apt, rooms
from .cases import Case
from .errors import LabError
from .shell import run

#: What the stranger and the DNS host run.
TOOLS = ("dnsmasq-base", "libio-socket-inet6-perl", "libnet-ssleay-perl", "swaks")

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
    return _stack(TOOLS, ())


def stack(case: Case) -> str:
    """Return a case's layers as overlayfs wants them, built if need be."""
    return _stack(case.packages, case.npm)


def is_built(case: Case) -> bool:
    """Tell whether the cache holds a case's layers."""
    base = _base_path()
    return base.is_dir() and _layer_path(base, case.packages, case.npm).is_dir()


def _stack(packages: tuple[str, ...], npm: tuple[str, ...]) -> str:
    base = _base()
    layer = _layer(base, packages, npm) if packages or npm else None
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


def _layer(base: Path, packages: tuple[str, ...], npm: tuple[str, ...]) -> Path:
    def build(half: Path) -> None:
        if packages:
            command = ["sh", "-c", _INSTALL, "sh", *sorted(packages)]
            rooms.build(str(base), half, command, share=(_archives(), "/var/cache/apt/archives"))
        if npm:
            _install_npm(half / "upper/opt/npm", npm)

    return _once(_layer_path(base, packages, npm), build) / "upper"


def _layer_path(base: Path, packages: tuple[str, ...], npm: tuple[str, ...]) -> Path:
    key = _digest(base.name, *sorted(packages), "npm", _NPM_AS_OF, *sorted(npm))
    return cache() / f"layer-{key}"


def _install_npm(prefix: Path, packages: tuple[str, ...]) -> None:
    if not shutil.which("npm"):
        raise LabError("npm is not installed")
    prefix.mkdir(parents=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    options = ["--ignore-scripts", "--omit=optional", f"--before={_NPM_AS_OF}", *quiet]
    run(["npm", "install", *options, "--prefix", prefix, *packages], env=dict(os.environ), timeout=600)


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
