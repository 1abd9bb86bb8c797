"""nginx.conf as a tree of directives, includes followed; blocks of other languages are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.tokens import Token, tokens

_MOST_DEPTH = 16
_FOREIGN = re.compile(
    r"(?:server_rewrite|rewrite|access|content|set|balancer|preread)_by_lua(?:_block|_file)?|js_content|js_access|js_preread|perl"
)
"""Programs in other languages, which may refuse, set a variable, or fetch something themselves."""


@dataclass(slots=True)
class Node:
    """A directive, with what stands in its block."""

    name: str
    words: tuple[str, ...]
    position: Position
    last: int
    inside: list[Node] = field(default_factory=list)
    gap: Gap | None = None
    opened: int = 0
    """The line on which its block begins; 0 without one."""

    @property
    def text(self) -> str:
        """As it is written, in one line."""
        return " ".join((self.name, *self.words))

    def cause(self, rule: str = "") -> Cause:
        """The directive as a cause."""
        return Cause(self.text, self.position, rule)

    def all(self, *names: str) -> Iterator[Node]:
        """The directives of these names right in it."""
        return (node for node in self.inside if node.name in names)

    def last_of(self, name: str) -> Node | None:
        """The last of this name right in it."""
        return next(iter(reversed(list(self.all(name)))), None)


def whole(setup: Setup) -> Node | None:
    """The main context, with everything in it."""
    source = setup.read_main()
    if source is None:
        return None
    top = Node("", (), Position(source.name), 0)
    _Reading(setup).into(top, source, ())
    return top


@dataclass(slots=True)
class _Reading:
    setup: Setup

    def into(self, top: Node, source: SourceFile, within: tuple[str, ...]) -> None:
        stack, words = [top], list[Token]()
        try:
            for token in tokens(source):
                if not token.is_mark:
                    words.append(token)
                    continue
                self._mark(stack, words, token, source, (*within, source.name))
                words = []
        except ValueError as error:
            self._broken(stack[-1], source, int(str(error)))
            return
        if words or len(stack) > 1:
            self._broken(stack[-1], source, words[0].line if words else stack[-1].position.line)

    def _mark(
        self, stack: list[Node], words: list[Token], token: Token, source: SourceFile, within: tuple[str, ...]
    ) -> None:
        if token.text == "}":
            if words or len(stack) == 1:
                raise ValueError(token.line)
            stack.pop().last = token.line
            return
        if not words:
            raise ValueError(token.line)
        node = Node(
            words[0].text, tuple(word.text for word in words[1:]), source.at(words[0].line), token.line
        )
        if _FOREIGN.fullmatch(node.name):
            node.gap = self.setup.note(Gap(GapKind.EXTERNAL, node.text[:80], node.position))
        if token.text == "{":
            stack[-1].inside.append(node)
            node.opened = token.line
            stack.append(node)
        elif node.name == "include":
            self._include(stack[-1], node, within)
        else:
            stack[-1].inside.append(node)

    def _include(self, into: Node, node: Node, within: tuple[str, ...]) -> None:
        pattern = node.words[0] if node.words else ""
        names = self.setup.included(pattern)
        for name in names:
            source = self.setup.read(name, node.position)
            if source is None:
                into.inside.append(Node("", (), node.position, node.last, gap=self.setup.latest_gap))
            elif source.name in within or len(within) > _MOST_DEPTH:
                gap = self.setup.note(Gap(GapKind.LOOP, name, node.position))
                into.inside.append(Node("", (), node.position, node.last, gap=gap))
            else:
                self.into(into, source, within)

    def _broken(self, node: Node, source: SourceFile, line: int) -> None:
        text = source.lines[line - 1].strip()[:80] if 0 < line <= len(source.lines) else ""
        gap = self.setup.note(Gap(GapKind.SYNTAX, text or source.name, source.at(line)))
        node.inside.append(Node("", (), source.at(line), line, gap=gap))
