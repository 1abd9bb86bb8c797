"""Zimbra (administration guide, MTA): zimbraMtaMyNetworks, as ``zmprov gs`` or ``zmprov gacf`` prints it.

The Postfix below it is written anew from this attribute, so that main.cf is no place to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

_LINE = re.compile(r"^\s*zimbraMtaMyNetworks:?\s+(.*)$")
_HOLDS = re.compile(r"^\s*zimbraMtaMyNetworks:?\s", re.MULTILINE)


def evaluate(setup: Setup) -> Iterator[Service]:
    """The MTA's trusted networks; without the attribute Zimbra sets those of its own interfaces."""
    source = setup.read_main()
    if source is None:
        return
    passing: list[Way] = []
    found, excluded, where, gaps = AddressSet(), AddressSet(), [], []
    for number, line in enumerate(source.lines, 1):
        said = _LINE.match(line)
        if said is None:
            continue
        where.append((number, said[1].strip()))
        for word in re.split(r"[,\s]+", said[1].strip().strip("'\"")):
            try:
                network = (
                    AddressSet.of([word.removeprefix("!").replace("[", "").replace("]", "")])
                    if word
                    else AddressSet()
                )
            except ValueError:
                gaps.append(setup.note(Gap(GapKind.NOT_EVALUATED, word[:80], source.at(number))))
                continue
            if word.startswith("!"):  # as Postfix reads it: the first pattern that matches decides
                excluded |= network - found
            else:
                found |= network - excluded
    for number, text in where[:1]:
        cause = Cause(f"zimbraMtaMyNetworks {text}"[:200], source.at(number), "zm-net")
        for version in (4, 6):
            passing += setup.strangers(found, version).because(cause).true
    if not where:
        gaps.append(setup.note(Gap(GapKind.MISSING, "zimbraMtaMyNetworks", source.at(1))))
    passing += [Way(gaps=frozenset(gaps))] if gaps else []
    yield Service(name="MTA", weakness=Weakness.OPEN_RELAY, passing=tuple(passing))


SERVER = Server(
    name="zimbra",
    home="/opt/zimbra",
    marks=(Mark(name="zmprov*.txt", holds=_HOLDS), Mark(name="zimbra*.txt", holds=_HOLDS)),
    evaluate=evaluate,
)
