"""String expansion (the Exim specification's chapter 11), as far as it is the same for every mail or told by what he says."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relaywatch.audit.patterns import NotEvaluatedError, pattern

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\d+")
_MOST_NESTING = 60
_OPERATORS: dict[str, Callable[[str], str]] = {
    "lc": str.lower,
    "uc": str.upper,
    "domain": lambda text: text.rpartition("@")[2],
    "local_part": lambda text: text.rpartition("@")[0],
    "address": lambda text: text.strip("<>"),
    "strlen": lambda text: str(len(text)),
    "length": lambda text: text,
}
_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_STRINGS: dict[str, Callable[[str, str], bool]] = {
    "eqi": lambda one, other: one.lower() == other.lower(),
    "eq": operator.eq,
    "gei": lambda one, other: one.lower() >= other.lower(),
    "ge": operator.ge,
    "gti": lambda one, other: one.lower() > other.lower(),
    "gt": operator.gt,
    "lei": lambda one, other: one.lower() <= other.lower(),
    "le": operator.le,
    "lti": lambda one, other: one.lower() < other.lower(),
    "lt": operator.lt,
}
_ADDRESSES: dict[str, Callable[[str], bool]] = {
    "isip": lambda text: "." in text or ":" in text,
    "isip4": lambda text: "." in text,
    "isip6": lambda text: ":" in text,
}
_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class UnknownError(Exception):
    """Something that nobody can expand from here: a lookup, a program, a variable."""


class ForcedError(Exception):
    """The string says ``fail``: what it stands for is as if it weren't there."""


@dataclass(slots=True)
class Expander:
    """Expands strings for one stranger."""

    variables: Mapping[str, str]
    exists: Callable[[str], bool]
    """Whether a file is there; unknown where nobody can tell."""
    matches: Callable[[str, str, str], bool]
    """Whether a list of a kind matches a value."""
    _depth: int = 0

    def expand(self, text: str) -> str:
        """The string.

        :raises UnknownError: if that hangs on what isn't known.
        :raises ForcedError: if it fails on purpose.
        """
        self._depth += 1
        try:
            if self._depth > _MOST_NESTING:
                raise UnknownError("nested too deeply")
            return self._expanded(text)
        finally:
            self._depth -= 1

    def _expanded(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        while at < len(text):
            character = text[at]
            if character == "\\":
                part, at = _escaped(text, at)
            elif character == "$":
                part, at = self._dollar(text, at + 1)
            else:
                end = _plain_end(text, at)
                part, at = text[at:end], end
            parts.append(part)
        return "".join(parts)

    def _dollar(self, text: str, at: int) -> tuple[str, int]:
        if text[at : at + 1] == "{":
            end = closing(text, at)
            return self._item(text[at + 1 : end].strip()), end + 1
        name = _NAME.match(text, at)
        if name is None:
            raise UnknownError(text[at - 1 : at + 20])
        return self._variable(name[0]), name.end()

    def _variable(self, name: str) -> str:
        try:
            return self.variables[name]
        except KeyError:
            raise UnknownError(f"${name}") from None

    def _item(self, inner: str) -> str:
        word = re.match(r"\w+", inner)
        name = word[0] if word else ""
        rest = inner[len(name) :]
        if name == "if":
            return self._if(rest.strip())
        if rest.startswith(":"):
            return self._operated(name, rest[1:])
        if not rest.strip():
            return self._variable(name)
        if name == "sg":
            return self._substituted(*_arguments(rest.strip(), 3)[0])
        if name == "tr":
            return _translated(*map(self.expand, _arguments(rest.strip(), 3)[0]))
        raise UnknownError(f"${{{inner[:60]}}}")

    def _operated(self, name: str, text: str) -> str:
        if name in {"eval", "eval10"}:
            return str(_calculated(self.expand(text)))
        if name not in _OPERATORS:
            raise UnknownError(f"${{{name}:}}")
        return _OPERATORS[name](self.expand(text))

    def _if(self, rest: str) -> str:
        holds, rest = self.condition(rest)
        branches = _braced(rest)
        if not branches:
            return "true" if holds else ""
        if holds:
            return self.expand(branches[0])
        if len(branches) > 1:
            return self.expand(branches[1])
        if rest.strip().endswith("fail"):
            raise ForcedError
        return ""

    def condition(self, text: str) -> tuple[bool, str]:
        """Whether the condition at the beginning holds, and what follows it."""
        text = text.strip()
        if text.startswith("!"):
            holds, rest = self.condition(text[1:])
            return not holds, rest
        word = re.match(r"def:\w+|[<>=]=?|\w+", text)
        name = word[0] if word else ""
        rest = text[len(name) :].strip()
        if name.startswith("def:"):
            return bool(self.variables.get(name[4:], "")) if name[4:] in self.variables else self._no(
                name
            ), rest
        if name in {"and", "or"}:
            end = closing(rest, 0) if rest.startswith("{") else 0
            return self._all(name, _braced(rest[1:end])), rest[end + 1 :]
        if name in {"first_delivery", "queue_running"}:
            return name == "first_delivery", rest
        return self._compared(name, rest)

    def _all(self, name: str, parts: list[str]) -> bool:
        for part in parts:
            holds, _ = self.condition(part)
            if holds is (name == "or"):
                return holds
        return name == "and"

    def _compared(self, name: str, rest: str) -> tuple[bool, str]:
        count = 1 if name in {"exists", "isip", "isip4", "isip6", "bool", "bool_lax"} else 2
        arguments, end = _arguments(rest, count)
        one = self.expand(arguments[0])
        other = self.expand(arguments[1]) if count == 2 and not name.startswith("inlist") else ""
        return self._holds(name, one, other, arguments), rest[end:]

    def _holds(self, name: str, one: str, other: str, arguments: list[str]) -> bool:
        if name in _STRINGS or name in _NUMBERS:
            return (
                _STRINGS[name](one, other)
                if name in _STRINGS
                else _NUMBERS[name](_number(one), _number(other))
            )
        if name == "match":
            return _searched(one, other)
        if name.startswith("match_"):
            kinds = {"domain": "domain", "ip": "host", "address": "address", "local_part": "localpart"}
            return self.matches(kinds.get(name[6:], ""), arguments[1], one)
        if name in {"inlist", "inlisti"}:
            items = [item.strip().lower() for item in self.expand(arguments[1]).split(":")]
            return one.lower() in items
        asked = {"exists": self.exists, "bool": is_true, "bool_lax": is_true, **_ADDRESSES}
        return asked[name](one) if name in asked else self._no(name)

    def _no(self, name: str) -> bool:
        raise UnknownError(name)

    def _substituted(self, subject: str, old: str, new: str) -> str:
        """``${sg{subject}{expression}{new}}``; what stands for a match is expanded with its parts."""
        try:
            expression = pattern(self.expand(old), "i", is_pcre=True).expression
        except NotEvaluatedError as error:
            raise UnknownError(str(error)) from None

        def made(found: re.Match[str]) -> str:
            parts = {str(number): part or "" for number, part in enumerate((found[0], *found.groups()))}
            return Expander({**self.variables, **parts}, self.exists, self.matches).expand(new)

        return expression.sub(made, self.expand(subject))


def is_true(text: str) -> bool:
    """Whether a condition's text means yes.

    :raises UnknownError: if it is no boolean, which is an error and defers.
    """
    text = text.strip().lower()
    if text in {"", "0", "no", "false"}:
        return False
    if text in {"yes", "true"} or text.lstrip("-").isdecimal():
        return True
    raise UnknownError(f"no boolean: {text[:40]}")


def closing(text: str, opening: int) -> int:
    """Where the brace that opens there is closed.

    :raises UnknownError: if it isn't.
    """
    depth = 0
    at = opening
    while at < len(text):
        if text.startswith("\\N", at):
            at = text.find("\\N", at + 2) + 2
            if at < 2:
                break
            continue
        if text[at] == "\\":
            at += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
        at += 1
    raise UnknownError("a brace isn't closed")


def _arguments(rest: str, count: int) -> tuple[list[str], int]:
    found: list[str] = []
    at = 0
    while len(found) < count:
        while rest[at : at + 1].isspace():
            at += 1
        if rest[at : at + 1] != "{":
            raise UnknownError(rest[:60])
        end = closing(rest, at)
        found.append(rest[at + 1 : end])
        at = end + 1
    return found, at


def _braced(rest: str) -> list[str]:
    """The strings in braces at the beginning."""
    found: list[str] = []
    at = 0
    while at < len(rest):
        if rest[at].isspace():
            at += 1
            continue
        if rest[at] != "{":
            break
        end = closing(rest, at)
        found.append(rest[at + 1 : end])
        at = end + 1
    return found


def _escaped(text: str, at: int) -> tuple[str, int]:
    r"""A backslash: ``\N`` guards what is up to the next one; others stand for the character behind."""
    if text.startswith("\\N", at):
        end = text.find("\\N", at + 2)
        end = len(text) if end < 0 else end
        return text[at + 2 : end], end + 2
    return {"n": "\n", "r": "\r", "t": "\t"}.get(text[at + 1 : at + 2], text[at + 1 : at + 2]), at + 2


def _plain_end(text: str, at: int) -> int:
    found = [end for sign in "\\$" if (end := text.find(sign, at)) >= 0]
    return min(found, default=len(text))


def _number(text: str) -> float:
    found = re.fullmatch(r"\s*(-?\d+)\s*([KkMmGg]?)\s*", text)
    if found is None:
        raise UnknownError(f"no number: {text[:40]}")
    return float(int(found[1]) * 1024 ** " kmg".index(found[2].lower() or " "))


def _searched(text: str, expression: str) -> bool:
    try:
        return pattern(expression, "i", is_pcre=True).holds(text)
    except NotEvaluatedError as error:
        raise UnknownError(str(error)) from None


def _translated(subject: str, old: str, new: str) -> str:
    return "".join(new[min(old.index(one), len(new) - 1)] if one in old and new else one for one in subject)


def _calculated(text: str) -> int:
    try:
        return _value(ast.parse(text.replace("/", "//"), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        raise UnknownError(f"${{eval:{text[:40]}}}") from None


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError(ast.dump(node))
