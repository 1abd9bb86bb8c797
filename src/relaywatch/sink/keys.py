"""The key file, which a sink and its checkers share (TOML, mode 0600).

::

    schema = "relaywatch.sink-keys/1"
    canary_key = "64 hexadecimal digits"
    poll_key = "43 letters"
    certificate_sha256 = "64 hexadecimal digits, or empty: verify by the certification authorities"

The sink's certificate with its private key lies beside it in a file of its own, which checkers don't get.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from .certificate import make_certificate, write_certificate, write_private
from .errors import KeyFileError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_POLL_KEY = re.compile(r"[A-Za-z0-9_-]{32,128}")
_SIZE_LIMIT = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkKeys:
    """What a checker needs to know of its sink."""

    canary_key: bytes = field(repr=False)
    """Makes and verifies tokens."""
    poll_key: str = field(repr=False)
    """Lets a checker read arrivals."""
    certificate_sha256: str = ""
    """The fingerprint by which the sink's HTTPS certificate is known; empty for one of a public CA."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal["relaywatch.sink-keys/1"]
    canary_key: str
    poll_key: str
    certificate_sha256: str = ""


def make_keys(*, certificate_sha256: str = "") -> SinkKeys:
    """Draw new keys."""
    return SinkKeys(
        canary_key=secrets.token_bytes(32),
        poll_key=secrets.token_urlsafe(32),
        certificate_sha256=certificate_sha256,
    )


def certificate_path(keys: Path) -> Path:
    """Where the certificate of a key file lies."""
    return keys.with_suffix(".pem")


def generate_keys(path: Path, names: Iterable[str]) -> SinkKeys:
    """Make keys and a certificate for these names, and write both files: ``relaywatch sink keygen``.

    :raises KeyFileError: if one of the files is there already, or can't be written.
    """
    if path.exists():
        raise KeyFileError(f"{path} is there already; remove it first if you mean to replace it")
    certificate = make_certificate(names)
    keys = make_keys(certificate_sha256=certificate.sha256)
    write_certificate(certificate_path(path), certificate)
    write_keys(path, keys)
    return keys


def write_keys(path: Path, keys: SinkKeys) -> None:
    """Write a new key file that only its owner can read.

    :raises KeyFileError: if there is a file already, or it can't be written.
    """
    text = (
        "# Keys of a relaywatch sink. Whoever reads this can forge arrivals: keep it to yourself.\n"
        'schema = "relaywatch.sink-keys/1"\n'
        f'canary_key = "{keys.canary_key.hex()}"\n'
        f'poll_key = "{keys.poll_key}"\n'
        f'certificate_sha256 = "{keys.certificate_sha256}"\n'
    )
    write_private(path, text.encode("ascii"))


def read_keys(path: Path) -> SinkKeys:
    """Read a key file.

    :raises KeyFileError: if it can't be read, others may read it too, or it holds anything else.
    """
    try:
        octets = read_private(path, _SIZE_LIMIT)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; `relaywatch sink keygen` makes one") from error
    return _parse(path, octets)


def read_private(path: Path, limit: int) -> bytes:
    """Read up to so many octets of a file that nobody but its owner may read.

    :raises OSError: if it can't be read.
    :raises KeyFileError: if others may read it too.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(f"{path}: others than its owner may read it (mode {mode:04o}); chmod 600 it")
        return file.read(limit)


def _parse(path: Path, octets: bytes) -> SinkKeys:
    try:
        file = msgspec.toml.decode(octets, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise KeyFileError(f"{path}: {error}") from error
    _require(path, "canary_key", file.canary_key, _SHA256)
    _require(path, "poll_key", file.poll_key, _POLL_KEY)
    if file.certificate_sha256:
        _require(path, "certificate_sha256", file.certificate_sha256, _SHA256)
    return SinkKeys(
        canary_key=bytes.fromhex(file.canary_key),
        poll_key=file.poll_key,
        certificate_sha256=file.certificate_sha256,
    )


def _require(path: Path, name: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise KeyFileError(f"{path}: {name} is not what `relaywatch sink keygen` writes")
