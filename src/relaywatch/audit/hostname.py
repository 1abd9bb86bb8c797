"""The name that a machine gives itself, as its configuration has it."""

from __future__ import annotations

import re

from .setup import Setup

_FULL = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


def hostname(setup: Setup) -> str:
    """The machine's full name, if ``/etc/hostname`` is in the tree and has one; empty otherwise."""
    name = first_word(setup)
    return name if _FULL.fullmatch(name) else ""


def first_word(setup: Setup) -> str:
    """What stands in ``/etc/hostname``, full or short."""
    source = setup.read("/etc/hostname") if setup.has("/etc/hostname") else None
    return source.lines[0].strip().lower() if source is not None and source.lines else ""
