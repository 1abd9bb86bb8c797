"""KumoMTA (docs.kumomta.com: start_esmtp_listener, make_listener_domain): what its policy says in so many words.

The policy is a program in Lua, which isn't run: what isn't a list of literals is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import own_networks
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

_LISTENER = re.compile(r"start_esmtp_listener\s*[({]")
_HOSTS = re.compile(r"\brelay_hosts\s*=\s*(\{[^}]*\})?")
_LITERAL = re.compile(r"""(['"])([^'"]*)\1""")
_PROGRAM = re.compile(
    r"get_listener_domain|listener_domains|smtp_server_\w+|make_listener_domain|shaping|dofile"
    r"|require(?!\s*\(?\s*['\"]kumo['\"])"
)
_COMMENT = re.compile(r"--[^\n]*")


def evaluate(setup: Setup) -> Iterator[Service]:
    """The listeners of the policy, and who may relay at each."""
    source = setup.read_main()
    if source is None:
        return
    text = _COMMENT.sub(lambda found: " " * len(found[0]), source.text)
    begins = [found.start() for found in _LISTENER.finditer(text)]
    if not begins:
        setup.note(Gap(GapKind.NOT_EVALUATED, "no start_esmtp_listener"))
    program = _PROGRAM.search(text)
    for begin, end in pairwise((*begins, len(text))):
        passing = list(_hosts(setup, source, text, begin, end))
        if program is not None:
            at = source.at(text.count("\n", 0, program.start()) + 1)
            passing.append(Way(gaps=frozenset((setup.note(Gap(GapKind.NOT_EVALUATED, program[0], at)),))))
        listen = re.search(r"""\blisten\s*=\s*['"]([^'"]*)""", text[begin:end])
        yield Service(
            name=listen[1] if listen else "esmtp",
            weakness=Weakness.OPEN_RELAY,
            position=source.at(text.count("\n", 0, begin) + 1),
            passing=tuple(passing),
        )


def _hosts(setup: Setup, source: SourceFile, text: str, begin: int, end: int) -> Iterator[Way]:
    found = _HOSTS.search(text, begin, end)
    if found is None:
        return  # 127.0.0.1 and ::1
    position = source.at(text.count("\n", 0, found.start()) + 1)
    cause = Cause(" ".join(found[0].split())[:200], position, "km-relay-hosts")
    words = [literal for _, literal in _LITERAL.findall(found[1] or "")]
    if found[1] is None or re.sub(r"[\s,{}]", "", _LITERAL.sub("", found[1])):
        yield _unknown(setup, cause, position)
        return
    try:
        addresses = AddressSet.of(words)
    except ValueError:
        yield _unknown(setup, cause, position)
        return
    for version in (4, 6):
        yield from setup.strangers(addresses, version).because(cause).true


def _unknown(setup: Setup, cause: Cause, position: Position) -> Way:
    return Way(gaps=frozenset((setup.note(Gap(GapKind.NOT_EVALUATED, cause.text, position)),)))


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """A list on one line becomes this machine's and the owner's."""
    source = setup.sources.get(setup.main)
    if source is None or finding.rule != "km-relay-hosts":
        return
    hosts = ", ".join(f"'{host}'" for host in ("127.0.0.1", "::1", *own_networks(setup)))
    line = source.lines[finding.line - 1]
    fresh = re.sub(r"\brelay_hosts\s*=\s*\{[^}]*\}", f"relay_hosts = {{ {hosts} }}", line)
    if fresh != line:
        yield Edit(setup.main, finding.line, finding.line, (fresh,))


SERVER = Server(
    name="kumomta",
    home="/opt/kumomta/etc/policy",
    marks=(Mark(name="init.lua", holds=re.compile(r"start_esmtp_listener")),),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "kumomta"),
)
