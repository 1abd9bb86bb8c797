"""Lines of a report: broken and indented on a terminal, left whole where they go into a file or a pipe."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

_FILE_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Prose:
    """Text to read, indented by so many columns."""

    text: Text
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.is_terminal:
            yield Padding(self.text, (0, 0, 0, self.indent), expand=False)
        else:
            yield Text(" " * self.indent).append_text(self.text)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A line to copy: never broken, on no terminal."""

    text: str
    indent: int = 4
    style: str = "cyan"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(" " * self.indent + self.text, self.style, no_wrap=True, overflow="ignore")


def prose(text: str, indent: int = 0, style: str = "") -> Prose:
    """Text to read, in one style."""
    return Prose(Text(text, style), indent)


def console_for(file: object, *, force_terminal: bool | None = None) -> Console:
    """A console that interprets nothing in what it prints: no markup, no emoji, no highlighting."""
    console = Console(
        file=file,  # type: ignore[arg-type]
        force_terminal=force_terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def print_parts(console: Console, *parts: RenderableType) -> None:
    """Print each part; nothing is cropped."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Verbatim) or not console.is_terminal)
