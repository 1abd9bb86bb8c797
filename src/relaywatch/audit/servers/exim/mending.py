"""The smallest edits of Exim's lists and ACLs that close a finding and keep what the owner allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import NEVER
from relaywatch.audit.domains import is_public_suffix
from relaywatch.audit.findings import AuditFinding, Position
from relaywatch.audit.server import Edit
from relaywatch.audit.setup import Setup

from .matching import split

_LIST = re.compile(
    r"(?P<lead>\s*(?:(?:accept|require)\s+)?(?:(?:domain|host)list(?:_cache)?\s+\w+|[A-Za-z_]\w*)\s*=\s*)"
    r"(?P<quote>['\"]?)(?P<value>.*?)(?P=quote)\s*"
)
_ANSWER = re.compile(r"dc_\w+=")
_PLAIN = re.compile(r"\^?(?:\.\*)?(?P<body>(?:[A-Za-z0-9-]|\\?\\\.|\.)+)\$?")
_CLAIMS = frozenset({"ex-sender", "ex-null-sender", "ex-helo", "ex-encrypted", "ex-certificate"})


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Edits by rule; none where only the owner knows: a balancer's address, say."""
    files = {setup.shown(path): path for path in setup.sources}
    path = files.get(finding.file)
    if path is None or not finding.line:
        return
    rule, line = finding.rule, finding.line
    if rule in {"ex-nets", "ex-net-gateway"}:
        hidden = [f"!{network}" for front in setup.front_ends for network in _networks(front.addresses)]
        yield from _list(
            setup, path, line, lambda items: _hosts(items, setup, hidden if rule != "ex-nets" else [])
        )
    elif rule in {"ex-doms", "ex-mx"}:
        yield from _list(setup, path, line, lambda items: [one for item in items for one in _domain(item)])
    elif rule in _CLAIMS:
        last = _last(setup, path, line)
        yield Edit(path, last + 1, last, (f"{_indent(setup, path, line)}    authenticated = *",))
    elif rule == "ex-norequire":
        yield from _required(setup, path, line)
    elif rule == "ex-localpart":
        yield from _no_routes(setup, finding, files)


def _list(
    setup: Setup, path: PurePosixPath, first: int, change: Callable[[list[str]], list[str]]
) -> Iterator[Edit]:
    """The list on that line with other items; semicolons part them, which suit addresses of both families."""
    last = _last(setup, path, first)
    text = "".join(line.strip().removesuffix("\\") for line in setup.sources[path].lines[first - 1 : last])
    found = _LIST.fullmatch(text)
    if found is None:
        return
    is_answer = _ANSWER.match(text.strip()) is not None
    value = found["value"]
    if is_answer and ";" in value and not value.lstrip().startswith("<"):
        value = f"<; {value}"  # as update-exim4.conf reads it
    kept = change([item for item in split(value) if item])
    if not kept and not is_answer and "host" in found["lead"].lower():
        kept = ["127.0.0.1", "::1"]
    value = " ; ".join(kept) if is_answer else f"<; {' ; '.join(kept)}" if len(kept) > 1 else "".join(kept)
    if any(":" in item for item in kept) and not value.startswith("<;"):
        value = f"<; {value}"
    quote = found["quote"] or ("'" if is_answer else "")
    lead = _indent(setup, path, first) + found["lead"].lstrip()
    yield Edit(path, first, last, (f"{lead}{quote}{value}{quote}".rstrip(),))


def _hosts(items: list[str], setup: Setup, hidden: list[str]) -> list[str]:
    """Those that are nobody else's, a front end's address taken out, and what the owner allows."""
    if hidden:
        return [*hidden, *(item for item in items if item not in hidden)]
    kept = [item for item in items if _is_own(item, setup.allowed)]
    there = AddressSet()
    for item in kept:
        there |= _addresses(item)
    if any(there.has_strangers(version, setup.allowed) != NEVER for version in (4, 6)):
        kept, there = [item for item in kept if not _addresses(item)], AddressSet()
    return [*kept, *_networks(setup.allowed - there)]


def _is_own(item: str, allowed: AddressSet) -> bool:
    if item.lstrip("! ") == "*":
        return False
    addresses = _addresses(item)
    return all(addresses.has_strangers(version, allowed) == NEVER for version in (4, 6))


def _addresses(item: str) -> AddressSet:
    try:
        return AddressSet.of([item.strip("[]")])
    except ValueError:
        return AddressSet()


def _networks(addresses: AddressSet) -> list[str]:
    return [str(network) for version in (4, 6) for network in addresses.networks(version)]


def _domain(item: str) -> Iterable[str]:
    """The item, if it means one owner's domains; a plain expression becomes names."""
    if item.startswith(("@mx_", "*")):
        bare = item[1:].lstrip(".")
        return (item,) if item.startswith("*") and bare and not is_public_suffix(bare) else ()
    if not item.startswith("^"):
        return (item,)
    found = _PLAIN.fullmatch(item)
    if found is None:
        return ()
    name = found["body"].replace("\\", "").strip(".")
    return (name, f"*.{name}") if not is_public_suffix(name) else ()


def _required(setup: Setup, path: PurePosixPath, line: int) -> Iterator[Edit]:
    """Before an accept for everybody: what must be true of the forward-path. Needs a list of own domains."""
    names = [name for name in ("local_domains", "relay_to_domains") if _has_list(setup, name)]
    if not names:
        return
    indent = _indent(setup, path, line)
    networks = _networks(setup.allowed)
    accept = (f"{indent}accept hosts = <; {' ; '.join(networks)}",) if networks else ()
    wanted = " : ".join(f"+{name}" for name in names)
    require = f"{indent}require message = relay not permitted", f"{indent}        domains = {wanted}"
    yield Edit(path, line, line - 1, (*accept, *require))


def _has_list(setup: Setup, name: str) -> bool:
    wanted = re.compile(rf"\s*domainlist\s+{name}\s*=")
    return any(wanted.match(line) for source in setup.sources.values() for line in source.lines)


def _no_routes(setup: Setup, finding: AuditFinding, files: dict[str, PurePosixPath]) -> Iterator[Edit]:
    """Before the accept that lets the route in: no local part with a sign in it."""
    position = _accept(finding)
    path = files.get(position.file) if position else None
    if position is not None and path is not None:
        indent = _indent(setup, path, position.line)
        deny = (
            f"{indent}deny message = restricted characters in address",
            f'{indent}     local_parts = ^.*[@%!/|"]',
        )
        yield Edit(path, position.line, position.line - 1, deny)


def _accept(finding: AuditFinding) -> Position | None:
    return next((cause.position for cause in finding.causes if cause.text.startswith("accept")), None)


def _last(setup: Setup, path: PurePosixPath, first: int) -> int:
    """The last physical line of the logical one."""
    lines = setup.sources[path].lines
    last = first
    while last < len(lines) and lines[last - 1].rstrip().endswith("\\"):
        last += 1
    return last


def _indent(setup: Setup, path: PurePosixPath, line: int) -> str:
    text = setup.sources[path].lines[line - 1]
    return text[: len(text) - len(text.lstrip())]
