"""The Caddyfile as a tree of directives: snippets and files imported, a site without braces taken for a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens

_MOST_DEPTH = 16


@dataclass(slots=True)
class Node:
    """A directive with its words, and what stands in its block; at the top a site with its addresses."""

    words: tuple[str, ...]
    position: Position
    last: int
    inside: list[Node] = field(default_factory=list)
    gap: Gap | None = None
    opened: int = 0

    @property
    def name(self) -> str:
        """The directive's name."""
        return self.words[0] if self.words else ""

    @property
    def text(self) -> str:
        """As it is written, in one line."""
        return " ".join(self.words)

    def cause(self, rule: str = "") -> Cause:
        """The directive as a cause."""
        return Cause(self.text, self.position, rule)

    def all(self, *names: str) -> Iterator[Node]:
        """The directives of these names right in it."""
        return (node for node in self.inside if node.name in names)


def sites(setup: Setup) -> list[Node]:
    """The global options, which have no addresses, and every site, imports done."""
    source = setup.read_main()
    if source is None:
        return []
    reading = _Reading(setup)
    top = reading.tree(source)
    if top and not any(node.opened for node in top):
        return [
            Node(
                top[0].words, top[0].position, top[-1].last, reading.imported(top[1:], ()), opened=top[0].last
            )
        ]
    for node in top:
        if node.name.startswith("&(") and node.name.endswith(")"):
            reading.named[node.name[2:-1]] = node.inside
        if node.name.startswith("(") and node.name.endswith(")"):
            reading.snippets[node.name[1:-1]] = node.inside
    found = []
    for node in reading.imported(top, ()):
        is_site = node.words and not node.name.startswith(("(", "&("))
        if not node.words and node.gap is None:
            node.inside = reading.imported(node.inside, ())
            found.append(node)
        if node.gap is not None or is_site:
            node.inside = reading.imported(node.inside, ())
            found.append(node)
    return found


@dataclass(slots=True)
class _Reading:
    setup: Setup
    snippets: dict[str, list[Node]] = field(default_factory=dict)
    named: dict[str, list[Node]] = field(default_factory=dict)
    """Routes that are invoked by their names."""

    def tree(self, source: SourceFile) -> list[Node]:
        """The lines and blocks of a file."""
        top = Node((), source.at(0), 0)
        stack, words = [top], list[Token]()
        try:
            for token in (*tokens(source, marks="", by_line=True, quotes='"`'), Token("\n", 0, is_mark=True)):
                if not token.is_mark:
                    words.append(token)
                    continue
                if words and words[-1].text.endswith(","):
                    continue
                self._line(stack, words, source)
                words = []
        except ValueError as error:
            self._broken(top, source, int(str(error)))
        if len(stack) > 1:
            self._broken(top, source, stack[-1].position.line)
        return top.inside

    def _line(self, stack: list[Node], words: list[Token], source: SourceFile) -> None:
        if not words:
            return
        line = words[0].line
        if words[0].text == "}":
            if len(stack) == 1:
                raise ValueError(line)
            stack.pop().last = line
            return
        opens = words[-1].text == "{"
        said = tuple(
            word.text.rstrip(",") if len(stack) == 1 else word.text for word in words[: -1 if opens else None]
        )
        node = Node(said, source.at(line), words[-1].line)
        stack[-1].inside.append(node)
        if opens:
            node.opened = words[-1].line
            stack.append(node)

    def imported(self, nodes: Sequence[Node], within: tuple[str, ...]) -> list[Node]:
        """The nodes with what ``import`` stands for in its place."""
        found: list[Node] = []
        for node in nodes:
            if node.name == "invoke" and len(node.words) > 1 and len(within) <= _MOST_DEPTH:
                inside = self.imported(self._invoked(node), (*within, "&"))
                found.append(Node(("route", *node.words[1:-1]), node.position, node.last, inside, opened=1))
            elif node.name != "import" or len(node.words) < 2:
                node.inside = (
                    self.imported(node.inside, within) if node.opened and within is not None else node.inside
                )
                found.append(node)
            else:
                found += self._import(node, within)
        return found

    def _invoked(self, node: Node) -> list[Node]:
        name = node.words[-1]
        return self.named[name] if name in self.named else [self._gap(GapKind.MISSING, node)]

    def _import(self, node: Node, within: tuple[str, ...]) -> Iterator[Node]:
        name = node.words[1]
        if name in within or len(within) > _MOST_DEPTH:
            yield self._gap(GapKind.LOOP, node)
        elif name in self.snippets:
            copies = [_filled(one, node.words[2:]) for one in self.snippets[name]]
            yield from self.imported(copies, (*within, name))
        else:
            yield from self._files(node, name, within)

    def _files(self, node: Node, name: str, within: tuple[str, ...]) -> Iterator[Node]:
        names = self.setup.included(name)
        for named in names:
            source = self.setup.read(named, node.position)
            if source is None:
                yield Node((), node.position, node.last, gap=self.setup.latest_gap)
            else:
                yield from self.imported(self.tree(source), (*within, name))

    def _gap(self, kind: GapKind, node: Node) -> Node:
        gap = self.setup.note(Gap(kind, node.text[:80], node.position))
        return Node((), node.position, node.last, gap=gap)

    def _broken(self, top: Node, source: SourceFile, line: int) -> None:
        gap = self.setup.note(Gap(GapKind.SYNTAX, source.lines[line - 1].strip()[:80], source.at(line)))
        top.inside.append(Node((), source.at(line), line, gap=gap))


def _filled(node: Node, words: Sequence[str]) -> Node:
    """A snippet's directive with the words of its import: ``{args[0]}``, ``{args.0}``."""

    def one(text: str) -> str:
        for number, word in enumerate(words):
            text = text.replace(f"{{args[{number}]}}", word).replace(f"{{args.{number}}}", word)
        return text

    inside = [_filled(child, words) for child in node.inside]
    return Node(tuple(map(one, node.words)), node.position, node.last, inside, node.gap, node.opened)
