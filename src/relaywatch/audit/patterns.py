"""Regular expressions of tables (regexp_table(5), pcre_table(5)), and texts that match them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]  # the parser's own names
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_POSIX = {
    "[:alnum:]": "a-zA-Z0-9",
    "[:alpha:]": "a-zA-Z",
    "[:blank:]": " \\t",
    "[:cntrl:]": "\\x00-\\x1f",
    "[:digit:]": "0-9",
    "[:graph:]": "!-~",
    "[:lower:]": "a-z",
    "[:print:]": " -~",
    "[:punct:]": "!-/:-@\\[-`{-~",
    "[:space:]": "\\s",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9a-fA-F",
}
_LONGEST = 2_000
_LETTERS = "xe1-_.@ %"


class NotEvaluatedError(ValueError):
    """An expression that Python reads otherwise, or that might take for ever."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One expression and whether a text must not match it."""

    expression: re.Pattern[str]
    is_negated: bool

    def holds(self, text: str) -> bool:
        """Whether the text is meant."""
        return (self.expression.search(text) is not None) is not self.is_negated


def split_pattern(line: str) -> tuple[str, str, str]:
    """A line's expression with its sign, flags, and what follows.

    :raises NotEvaluatedError: if there is no closing delimiter.
    """
    text = line.lstrip()
    sign = "!" if text.startswith("!") else ""
    text = text[len(sign) :].lstrip() if sign else text
    if not text:
        raise NotEvaluatedError(line)
    closing = _CLOSING.get(text[0], text[0])
    end = _closing(text, closing)
    rest = text[end + 1 :]
    flags = re.match(r"[A-Za-z]*", rest)
    length = flags.end() if flags else 0
    return sign + text[1:end], rest[:length], rest[length:].strip()


def _closing(text: str, closing: str) -> int:
    index = 1
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == closing:
            return index
        index += 1
    raise NotEvaluatedError(text)


@lru_cache(maxsize=4096)
def pattern(expression: str, flags: str, *, is_pcre: bool) -> Pattern:
    """Compile an expression as Postfix does: case ignored unless a flag says otherwise.

    :raises NotEvaluatedError: if it can't be compiled, or might take for ever.
    """
    negated = expression.startswith("!")
    body = expression[1:] if negated else expression
    for name, characters in _POSIX.items():
        body = body.replace(name, characters)
    options = 0 if flags.count("i") % 2 else re.IGNORECASE
    if "m" in flags:
        options |= re.MULTILINE
    if is_pcre:
        options |= 0 if flags.count("s") % 2 else re.DOTALL
        options |= re.VERBOSE if flags.count("x") % 2 else 0
    elif flags.count("x") % 2:
        raise NotEvaluatedError("basic expressions")
    if len(body) > _LONGEST:
        raise NotEvaluatedError("too long")
    try:
        tree = parser.parse(body, options)
        compiled = re.compile(body, options)
    except (re.error, RecursionError, OverflowError) as error:
        raise NotEvaluatedError(str(error)) from None
    if _explodes(tree, within=False):
        raise NotEvaluatedError("repeats what repeats")
    return Pattern(compiled, negated)


def _explodes(tree: Any, *, within: bool) -> bool:
    """Whether an unbounded repetition stands within another, which may take for ever."""
    for code, argument in tree:
        if code in {codes.MAX_REPEAT, codes.MIN_REPEAT}:
            _, most, inner = argument
            unbounded = most is codes.MAXREPEAT or most > 100
            if (unbounded and within) or _explodes(inner, within=within or unbounded):
                return True
        elif any(_explodes(inner, within=within) for inner in _inner(code, argument)):
            return True
    return False


def _inner(code: Any, argument: Any) -> list[Any]:
    if code is codes.BRANCH:
        return list(argument[1])
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code in {codes.ASSERT, codes.ASSERT_NOT}:
        return [argument[1]]
    if code is codes.ATOMIC_GROUP:
        return [argument]
    return []


def sample(expression: re.Pattern[str]) -> str | None:
    """A short text that the expression matches; nothing if none was found."""
    try:
        tree = parser.parse(expression.pattern, expression.flags & ~re.UNICODE)
        text = "".join(_sampled(tree))
    except (re.error, KeyError, TypeError, ValueError, IndexError):
        return None
    return text if expression.search(text) else None


def _sampled(tree: Any) -> Iterator[str]:
    for code, argument in tree:
        if code is codes.LITERAL:
            yield chr(argument)
        elif code is codes.NOT_LITERAL:
            yield next(letter for letter in _LETTERS if ord(letter) != argument)
        elif code is codes.ANY:
            yield "x"
        elif code is codes.IN:
            yield _one_of(argument)
        elif code in {codes.MAX_REPEAT, codes.MIN_REPEAT}:
            least, _, inner = argument
            yield from list(_sampled(inner)) * min(least, 64)
        elif code is codes.BRANCH:
            yield from _sampled(argument[1][0])
        elif code is codes.SUBPATTERN:
            yield from _sampled(argument[3])


def _one_of(members: Any) -> str:
    negated = members[0][0] is codes.NEGATE
    if not negated:
        code, argument = members[0]
        if code is codes.LITERAL:
            return chr(argument)
        if code is codes.RANGE:
            return chr(argument[0])
        return {codes.CATEGORY_DIGIT: "1", codes.CATEGORY_SPACE: " "}.get(argument, "x")
    return next(
        letter for letter in _LETTERS if not any(_is_member(letter, member) for member in members[1:])
    )


def _is_member(letter: str, member: Any) -> bool:
    code, argument = member
    if code is codes.LITERAL:
        return bool(ord(letter) == argument)
    if code is codes.RANGE:
        return bool(argument[0] <= ord(letter) <= argument[1])
    known = {
        codes.CATEGORY_DIGIT: letter.isdigit(),
        codes.CATEGORY_SPACE: letter.isspace(),
        codes.CATEGORY_WORD: letter.isalnum() or letter == "_",
    }
    return bool(known.get(argument, True))
