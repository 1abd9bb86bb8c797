"""YAML with positions: what stands under a key, and at which line; nothing is constructed but text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_MOST_OCTETS = 2 * 1024 * 1024
_MOST_MERGES = 16


class BadYamlError(Exception):
    """It can't be parsed; the message says why, and ``line`` where, if that is known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value where it stands. Aliases are followed and merge keys (``<<``) looked into, each within limits."""

    _node: yaml.Node

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self._node.start_mark.line + 1

    @property
    def text(self) -> str | None:
        """A scalar as it is written; nothing if it is none, or null."""
        is_null = self._node.tag == "tag:yaml.org,2002:null"
        return None if is_null or not isinstance(self._node, yaml.ScalarNode) else str(self._node.value)

    @property
    def is_true(self) -> bool:
        """Whether it is a true of YAML's."""
        return (self.text or "").lower() in {"true", "yes", "on"}

    @property
    def items(self) -> tuple[Node, ...]:
        """Of a list; nothing if it is none."""
        return tuple(map(Node, self._node.value)) if isinstance(self._node, yaml.SequenceNode) else ()

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self._node, yaml.MappingNode)

    @property
    def pairs(self) -> dict[str, Node]:
        """Of a mapping, those of merge keys behind its own; nothing if it is none."""
        found: dict[str, Node] = {}
        for number, node in enumerate(_with_merged(self._node)):
            if number > _MOST_MERGES:
                break
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    found.setdefault(str(key.value), Node(value))
        return found

    def at(self, *keys: str) -> Node | None:
        """What stands under these keys, one in the other."""
        node: Node | None = self
        for key in keys:
            node = node.pairs.get(key) if node else None
        return node


def _with_merged(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    left = [node]
    while left:
        one = left.pop(0)
        if isinstance(one, yaml.SequenceNode):
            left[:0] = one.value
        elif isinstance(one, yaml.MappingNode):
            yield one
            left[:0] = [value for key, value in one.value if getattr(key, "value", None) == "<<"]


def parse_yaml(text: str) -> Node | None:
    """The document; nothing if it is empty.

    :raises BadYamlError: if it is no YAML, several documents, or too large.
    """
    if len(text) > _MOST_OCTETS:
        raise BadYamlError(f"more than {_MOST_OCTETS // 1024 // 1024} MiB of YAML")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYamlError(error.problem or "no YAML", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadYamlError(str(error).split("\n", maxsplit=1)[0] or "nested too deeply") from None
    return Node(node) if node is not None else None
