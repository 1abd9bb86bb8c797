"""Whether a name that the client says leads out, by a pattern and by what is made of its captures."""

from __future__ import annotations

import re
from itertools import chain

from relaywatch.audit.captures import compiled, is_fixed, is_outside, names_for, subjects


def leads_out(pattern: str, target: str) -> bool | None:
    """Whether an outside host comes out as ``target``, which names captures (``$1``); nothing if nobody knows.

    The name itself may be anything: what stands before the owner's own domain is a stranger's word as well.
    """
    if "$" not in target:
        return False
    regex = compiled(pattern, ignoring_case=True)
    if regex is None:
        return None
    is_tried = is_fixed(pattern)
    for name in chain(names_for(pattern), subjects(pattern)):
        found = regex.search(name)
        if found is None:
            continue
        is_tried = True
        host = target
        for number, group in enumerate((found[0], *found.groups())):
            host = host.replace(f"${number}", group or "")
        if is_outside(host):
            return True
    return False if is_tried else None


def without_port(authority: str) -> str:
    """The host alone, as patterns and targets have it."""
    return re.sub(r":(?:\d+|\{\w+\})$", "", authority)
