"""The settings of Traffic Server: records.config up to version 9, records.yaml from 10."""

from __future__ import annotations

import re
from dataclasses import dataclass

from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.yaml_nodes import BadYamlError, Node, parse_yaml

CONNECT_PORTS = "proxy.config.http.connect_ports"


@dataclass(frozen=True, slots=True)
class Record:
    """A setting of records.config or records.yaml."""

    value: str
    cause: Cause


def records_of(setup: Setup, source: SourceFile) -> dict[str, Record]:
    """The settings by name; the last of a name holds."""
    found: dict[str, Record] = {}
    if source.name.endswith((".yaml", ".yml")):
        document = document_of(setup, source)
        node = document.at("records") if document else None
        if node is not None:
            _flatten(source, node, "proxy.config", found)
        return found
    for number, line in enumerate(source.lines, 1):
        words = line.split(None, 3)
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in {"CONFIG", "LOCAL"} or len(words) < 3:
            setup.note(Gap(GapKind.SYNTAX, line.strip()[:80], source.at(number)))
            continue
        value = words[3].strip() if len(words) > 3 else ""
        found[words[1]] = Record(value, Cause(line.strip(), source.at(number)))
    return found


def _flatten(source: SourceFile, node: Node, name: str, found: dict[str, Record]) -> None:
    left = [(node, name, 0)]
    while left:
        one, path, depth = left.pop()
        for key, value in one.pairs.items():
            if value.is_mapping and depth < 12:
                left.append((value, f"{path}.{key}", depth + 1))
            elif value.text is not None:
                text = f"{key}: {value.text}"
                found[f"{path}.{key}"] = Record(value.text, Cause(text, source.at(value.line)))


def document_of(setup: Setup, source: SourceFile) -> Node | None:
    """The document of a file in YAML; nothing, and a gap, if it can't be parsed."""
    try:
        return parse_yaml(source.text)
    except BadYamlError as error:
        setup.note(Gap(GapKind.SYNTAX, str(error), source.at(error.line) if error.line else None))
        return None


def is_off(record: Record | None) -> bool:
    """Whether it is set to 0; these are on by themselves."""
    return record is not None and record.value.lower() in {"0", "false", "off", "no"}


def ports_of(text: str) -> list[tuple[int, int]]:
    """The ports that ``connect_ports`` lists, each as the first and the last of some: ``*`` is every one."""
    spans = [one.partition("-") for one in re.split(r"[\s,]+", text.strip()) if one]
    if any(first == "*" for first, _, _ in spans):
        return [(1, 65535)]
    return [(int(low), int(high if high.isdigit() else low)) for low, _, high in spans if low.isdigit()]


def may_be_connected_to(records: dict[str, Record], port: int) -> bool:
    """Whether tunnels may lead to a port."""
    said = records.get(CONNECT_PORTS)
    return any(low <= port <= high for low, high in ports_of(said.value if said else "443"))
