"""httpd's configuration as a tree of sections: includes followed, and what depends on modules and defines decided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, LogicalLine, SourceFile, logical_lines

_WORD = re.compile(r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|(\S+)""")
_MOST_DEPTH = 16
_CONDITIONAL = frozenset({"ifmodule", "ifdefine", "ifversion", "ifdirective", "ifsection", "iffile"})
_STATIC = frozenset(
    {"core", "so", "http_core", "http", "version", "unixd", "log_config", "logio", "watchdog"}
)


@dataclass(slots=True)
class Node:
    """A directive, or a section with what stands in it."""

    name: str
    """In lower case."""
    words: tuple[str, ...]
    text: str
    position: Position
    last: int
    inside: list[Node] = field(default_factory=list)
    gap: Gap | None = None

    def cause(self, rule: str = "") -> Cause:
        """The directive as a cause."""
        return Cause(self.text, self.position, rule)

    def all(self, *names: str) -> Iterator[Node]:
        """The directives of these names right in it."""
        return (node for node in self.inside if node.name in names)


@dataclass(slots=True)
class Reading:
    """A configuration being read: the modules and defines so far."""

    setup: Setup
    modules: set[str] = field(default_factory=set)
    defines: dict[str, str] = field(default_factory=dict)
    root: str = ""

    def whole(self) -> Node | None:
        """The main server, with everything in it."""
        source = self.setup.read_main()
        if source is None:
            return None
        top = Node("", (), "", Position(source.name), 0)
        self._into([top], source, ())
        return top

    def part(self, name: str, at: Node) -> Node | None:
        """A file that isn't included but obeyed in its place."""
        source = self.setup.read(name, at.position)
        if source is None:
            return None
        top = Node("directory", (), name, Position(source.name), 0)
        self._into([top], source, ())
        return top

    def has(self, module: str) -> bool:
        """Whether a module is there: any may be built in where no line loads one."""
        return not self.modules or module in self.modules or module in _STATIC

    def _into(self, stack: list[Node], source: SourceFile, within: tuple[str, ...]) -> None:
        depth, skipped = len(stack), 0
        for line in logical_lines(source, Joins.BY_BACKSLASH):
            name = (
                line.text.lstrip("<").split(None, 1)[0].rstrip(">").lower() if line.text.strip("<> ") else ""
            )
            if line.text.startswith("</"):
                skipped -= bool(skipped)
                if not skipped and len(stack) > depth and stack[-1].name == name.lstrip("/"):
                    stack.pop().last = line.last
            elif skipped:
                skipped += line.text.startswith("<")
            elif line.text.startswith("<"):
                skipped = self._open(stack, name, line)
            elif name:
                self._take(stack, name, line, (*within, source.name))
        del stack[depth:]

    def _open(self, stack: list[Node], name: str, line: LogicalLine) -> int:
        """Begin a section; the depth that is left out, if its condition doesn't hold."""
        words = self._words(line.text.strip("<>").split(None, 1)[1:])
        node = Node(name, words, line.text, line.position, line.last)
        if name not in _CONDITIONAL:
            stack[-1].inside.append(node)
            stack.append(node)
            return 0
        holds = self._holds(name, words)
        if holds is None:
            gap = self.setup.note(Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position))
            stack[-1].inside.append(Node("", (), line.text, line.position, line.last, gap=gap))
            return 1
        if holds:
            stack.append(Node(name, words, line.text, line.position, line.last, stack[-1].inside))
        return 0 if holds else 1

    def _holds(self, name: str, words: tuple[str, ...]) -> bool | None:
        asked = words[0] if words else ""
        bare = asked.removeprefix("!")
        if name == "ifmodule":
            return self.has(re.sub(r"^mod_|\.c$|_module$", "", bare)) != (bare != asked)
        if name == "ifdefine":
            return (bare in self.defines) != (bare != asked)
        if name == "iffile":
            return self.setup.has(self._path(bare)) != (bare != asked)
        return None

    def _take(self, stack: list[Node], name: str, line: LogicalLine, within: tuple[str, ...]) -> None:
        words = self._words(line.text.split(None, 1)[1:])
        if name == "loadmodule" and words:
            self.modules.add(words[0].removesuffix("_module"))
        elif name == "define" and words:
            self.defines[words[0]] = words[1] if len(words) > 1 else ""
        elif name == "serverroot" and words:
            self.root = words[0]
        elif name == "use":
            gap = self.setup.note(Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position))
            stack[-1].inside.append(Node("", (), line.text, line.position, line.last, gap=gap))
        elif name in {"include", "includeoptional"} and words:
            self._include(stack, words[0], line, within, is_optional=name != "include")
        else:
            stack[-1].inside.append(Node(name, words, line.text, line.position, line.last))

    def _include(
        self, stack: list[Node], name: str, line: LogicalLine, within: tuple[str, ...], *, is_optional: bool
    ) -> None:
        path = self._path(name)
        is_pattern = bool(set(path) & set("*?["))
        names = self.setup.included(path, line.position)
        if not is_pattern and is_optional and not self.setup.has(path):
            return
        for named in names:
            source = self.setup.read(named, line.position)
            gap = self.setup.latest_gap if source is None else None
            if source is not None and (source.name in within or len(within) > _MOST_DEPTH):
                gap = self.setup.note(Gap(GapKind.LOOP, named, line.position))
            if gap is None and source is not None:
                self._into(stack, source, within)
            else:
                stack[-1].inside.append(Node("", (), line.text, line.position, line.last, gap=gap))

    def _path(self, name: str) -> str:
        """Relative names are the main file's neighbours' unless a root is named that isn't the home."""
        is_at_home = not self.root or self.root.rstrip("/") == str(self.setup.home)
        return name if name.startswith("/") or is_at_home else f"{self.root.rstrip('/')}/{name}"

    def _words(self, rest: list[str]) -> tuple[str, ...]:
        text = re.sub(
            r"\$\{(\w+)\}", lambda found: self.defines.get(found[1], found[0]), rest[0] if rest else ""
        )
        found = []
        for word in _WORD.finditer(text):
            quoted = word[1] if word[1] is not None else word[2]
            found.append(word[3] if quoted is None else re.sub(r'\\(["\'])', r"\1", quoted))
        return tuple(found)
