"""The file with the owner's credentials, for ``audit --prove --login`` alone.

::

    user = "alice"            or one line:    alice:the password
    password = "the password"
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from relaywatch.model.errors import UsageError
from relaywatch.script.signing_in import Login
from relaywatch.sink.keys import read_private

_SIZE_LIMIT = 4096
_LONGEST = 255
"""Octets of either, as RFC 1929 section 2 has them."""
_TOML = re.compile(r"\s*(?:#.*\n\s*)*(?:user|password)\s*=")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    password: str


def read_login(path: Path) -> Login:
    """Read a file with a user and his password; no error names what stands in it.

    :raises UsageError: if it can't be read, others may read it too, or it holds anything else.
    """
    try:
        octets = read_private(path, _SIZE_LIMIT)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    login = _parsed(octets)
    if login is None:
        raise UsageError(f"{path}: neither TOML with user and password nor one line of user:password")
    for word in (login.user, login.password):
        if not 1 <= len(word.encode()) <= _LONGEST or re.search(r"[\x00-\x1f\x7f]", word):
            raise UsageError(f"{path}: a user or a password that can't be sent")
    if re.search(r"[:<>\s]", login.user):
        raise UsageError(f"{path}: a user's name with a colon, a bracket or a space can't be sent")
    return login


def _parsed(octets: bytes) -> Login | None:
    try:
        text = octets.decode()
        if _TOML.match(text):
            file = msgspec.toml.decode(text, type=_File)
            return Login(user=file.user, password=file.password)
    except (msgspec.DecodeError, ValueError):
        return None
    lines = text.splitlines()
    if len(lines) != 1 or ":" not in lines[0]:
        return None
    user, _, password = lines[0].partition(":")
    return Login(user=user, password=password)
