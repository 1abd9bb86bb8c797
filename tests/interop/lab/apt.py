"""The machine's own Debian sources, so that the lab downloads from wherever the machine does."""

import functools
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .shell import run

_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive."""

    uri: str
    release: str
    codename: str

    @property
    def line(self) -> str:
        """The source as a line of sources.list."""
        return f"deb {self.uri} {self.release} main"


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return Debian's main archive of this machine's release first, then its updates and security fixes."""
    found = []
    for row in run(["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]).splitlines():
        origin, uri, release, codename, component = row.split("|")
        if origin == "Debian" and component == "main":
            found.append(Source(uri, release, codename))
    release = _release()
    ours = [source for source in found if source.codename.split("-")[0] == release]
    ours.sort(key=lambda source: source.release != release)
    if not ours or ours[0].release != release:
        raise LabError(f"apt knows no Debian archive for {release}: run apt-get update")
    return tuple(ours)


def keyring() -> Path:
    """Return Debian's archive keys; raise LabError where the machine has none."""
    if not _KEYRING.exists():
        raise LabError(f"{_KEYRING} is missing: install debian-archive-keyring")
    return _KEYRING


def acquire_settings() -> str:
    """Return how this machine's apt downloads (proxies, date checks) as an apt.conf."""
    lines = run(["apt-config", "dump"]).splitlines()
    names = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "".join(f"{line}\n" for line in lines if line.startswith(names) and not line.endswith(' "";'))


def _release() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise LabError("/etc/os-release names no release")
