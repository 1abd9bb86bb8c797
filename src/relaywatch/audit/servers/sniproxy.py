"""sniproxy (sniproxy.conf(5), 0.6): tables of patterns; ``*`` as the target is whatever name the client says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from relaywatch.audit.captures import compiled, is_of_own_names, names_for
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import first_of_each, headed, host_and_port, is_loopback
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_LISTENING = frozenset({"listen", "listener"})
_PORTS: Mapping[str, str] = MappingProxyType({"tls": "443", "http": "80"})
_RULES: Mapping[str, str] = MappingProxyType({"tls": "sn-any-name", "http": "sn-any-host"})


@dataclass(slots=True)
class _Block:
    """A line, with the lines of its block."""

    words: tuple[str, ...]
    position: Position
    inside: list[_Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.words[0] if self.words else ""

    def value(self, name: str) -> str:
        """What a line of it sets."""
        return next((one.words[1] for one in self.inside if one.name == name and len(one.words) > 1), "")

    def cause(self, rule: str = "") -> Cause:
        return Cause(" ".join(self.words), self.position, rule)


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every listener with its table."""
    source = setup.read_main()
    if source is None:
        return
    said = _parsed(setup, source)
    tables = {_table_name(one): one for one in said if one.name == "table"}
    for listener in (one for one in said if one.name in _LISTENING and len(one.words) > 1):
        protocol = listener.value("proto") or listener.value("protocol") or "http"
        name = listener.value("table") or "default"
        yield Service(
            name=f"{listener.words[1]} {protocol}",
            weakness=Weakness.OPEN_PROXY,
            position=listener.position,
            passing=first_of_each(_passing(setup, tables.get(name), protocol)),
            down=None if name in tables or setup.gaps else listener.cause("sn-no-table"),
            is_out_of_reach=is_loopback(host_and_port(listener.words[1])[0] or listener.words[1]),
        )


def _table_name(block: _Block) -> str:
    return block.words[1] if len(block.words) > 1 else "default"


def _passing(setup: Setup, table: _Block | None, protocol: str) -> Iterator[Way]:
    """The first pattern that a name fits decides, so that a name is made for each of a table's."""
    lines = table.inside if table is not None else []
    for number, line in enumerate(lines):
        target = line.words[1] if len(line.words) > 1 else ""
        if not target.startswith("*"):
            continue
        port = host_and_port(target)[1] or _PORTS.get(protocol, "443")
        cause = line.cause(_RULES.get(protocol, "sn-any-name"))
        name = _name_for(line, lines[:number])
        if name is None:
            gap = setup.note(Gap(GapKind.NOT_EVALUATED, cause.text, line.position))
            yield headed(Way(gaps=frozenset((gap,)), causes=(cause,)), f"{OUTSIDE_HOST}:{port}")
        elif name:
            yield headed(Way(causes=(cause,)), f"{name}:{port} by {protocol}")


def _name_for(line: _Block, before: list[_Block]) -> str | None:
    """An outside host's name that comes to a line; empty if there is none, nothing if its pattern can't be tried."""
    if compiled(line.words[0]) is None:
        return None
    names = list(names_for(line.words[0]))
    if not names:
        return "" if is_of_own_names(line.words[0]) else None
    for name in names:
        earlier = (compiled(one.words[0]) for one in before)
        if not any(one is not None and one.search(name) for one in earlier):
            return name
    return ""


def _parsed(setup: Setup, source: SourceFile) -> list[_Block]:
    top = _Block(("",), source.at(0))
    stack, words = [top], list[Token]()
    broken = 0
    for token in (*tokens(source, marks="", by_line=True, quotes=""), Token("\n", 0, is_mark=True)):
        ends = token.text == "}" and not token.is_mark
        if not ends and not token.is_mark:
            words.append(token)
            continue
        _line(stack, words, source)
        words = []
        if ends and len(stack) > 1:
            stack.pop()
        elif ends:
            broken = broken or token.line
    broken = broken or (stack[-1].position.line if len(stack) > 1 else 0)
    if broken:
        setup.note(Gap(GapKind.SYNTAX, source.lines[broken - 1].strip()[:80], source.at(broken)))
    return top.inside


def _line(stack: list[_Block], words: list[Token], source: SourceFile) -> None:
    opens = bool(words) and words[-1].text == "{"
    said = tuple(word.text for word in (words[:-1] if opens else words))
    if not said and not opens:
        return
    block = _Block(said, source.at(words[0].line))
    stack[-1].inside.append(block)
    if opens:
        stack.append(block)


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Take the line out of the table: names that are served have lines of their own, with targets."""
    source = setup.read_main()
    if source is not None and finding.rule in _RULES.values() and "{" not in source.lines[finding.line - 1]:
        yield Edit(setup.main, finding.line, finding.line, ())


SERVER = Server(
    name="sniproxy",
    home="/etc",
    marks=(Mark(name="sniproxy.conf"), Mark(name="sniproxy*.conf")),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "sniproxy"),
)
