"""The servers' own programs on this machine."""

from __future__ import annotations

import os
import shutil

PLACES = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where they are, and which aren't in everybody's PATH."""


def found(name: str) -> str | None:
    """Where the program of this name is, in the PATH or where servers have theirs; nothing if it isn't installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{PLACES}")
