"""What passes strangers' connections on to a mail server without saying whose they are: HAProxy, nginx's stream.

A server behind sees the address of what is in front, and what it trusts that with it trusts strangers with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import PurePosixPath

from .addresses import LOOPBACK, AddressSet
from .setup import FrontEnd
from .text import SourceFile
from .trees import NotReadError, Tree

MAIL_PORTS = frozenset({25, 465, 587, 2525})
_HAPROXY = ("/etc/haproxy/haproxy.cfg",)
_NGINX = ("/etc/nginx/nginx.conf",)
_NGINX_FOLDERS = (
    "/etc/nginx/conf.d",
    "/etc/nginx/stream.d",
    "/etc/nginx/stream.conf.d",
    "/etc/nginx/streams-enabled",
)
_SECTION = re.compile(
    r"(?P<kind>listen|frontend|backend|defaults|global|userlist|peers|resolvers|cache|program)\b\s*(?P<name>\S*)"
)
_STATEMENT = re.compile(r"(?P<text>[^{};]*)(?P<end>[{};])")
_REMARK = re.compile(r"#[^\n]*")


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Where connections go, and the line that does it."""

    host: str
    port: int
    line: int
    listens: frozenset[int]
    """The ports at which they come in."""

    @property
    def is_mail(self) -> bool:
        """Whether it is mail, by a port at either side."""
        return bool(MAIL_PORTS & {self.port, *self.listens})


def passed_on(source: SourceFile) -> Iterator[PassedOn]:
    """All that a haproxy's or an nginx's file passes on without PROXY protocol."""
    if source.name.endswith(".cfg"):
        yield from _by_haproxy(source)
    else:
        yield from _by_nginx(source)


def local_front_ends(tree: Tree, system: str) -> Iterator[FrontEnd]:
    """What is in front of mail servers on the same machine.

    ``system`` is the folder in the tree in which the machine's root is: empty, or where a copy of it begins.
    """
    names = [PurePosixPath(f"{system}{name}") for name in (*_HAPROXY, *_NGINX)]
    for folder in _NGINX_FOLDERS:
        try:
            names += tree.folder(PurePosixPath(f"{system}{folder}"))
        except NotReadError:
            continue  # the server's own audit tells
    for name in names:
        try:
            source = SourceFile.of(f"{tree.label.rstrip('/')}{name}", tree.read(name))
        except (FileNotFoundError, NotReadError):
            continue
        for one in passed_on(source):
            if one.listens & MAIL_PORTS and (address := _loopback(one.host)):
                yield FrontEnd(
                    addresses=AddressSet.of([address]),
                    name=f"{'haproxy' if source.name.endswith('.cfg') else 'nginx'} without PROXY protocol",
                    position=source.at(one.line),
                    reaches_loopback=True,
                    ports=frozenset({one.port}),
                )


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ip_address(host) in LOOPBACK else ""
    except ValueError:
        return ""


# --- HAProxy ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Section:
    kind: str
    name: str
    binds: set[int] = field(default_factory=set)
    backends: set[str] = field(default_factory=set)
    servers: list[tuple[str, int, int]] = field(default_factory=list)
    says_whose: bool = False
    """Whether all of its servers are told, by ``default-server`` or ``source … usesrc``."""


def _by_haproxy(source: SourceFile) -> Iterator[PassedOn]:
    sections = _sections(source)
    named = {section.name: section for section in sections if section.kind in {"backend", "listen"}}
    for section in sections:
        behind = [named[name] for name in sorted(section.backends) if name in named]
        for one in (section, *behind):
            if section.binds and not one.says_whose:
                for host, port, line in one.servers:
                    yield PassedOn(host, port, line, frozenset(section.binds))


def _sections(source: SourceFile) -> list[_Section]:
    sections = [_Section("", "")]
    always = False
    for number, line in enumerate(source.lines, 1):
        said = line.partition("#")[0].strip()
        found = _SECTION.match(said)
        if found:
            sections.append(_Section(found["kind"], found["name"], says_whose=always))
        elif said:
            _read(said.split(), number, sections[-1])
        if sections[-1].kind == "defaults":
            always = sections[-1].says_whose
    return sections


def _read(words: list[str], number: int, section: _Section) -> None:
    says_whose = any(word.startswith("send-proxy") for word in words) or "usesrc" in words
    match words:
        case ["bind", addresses, *_]:
            section.binds |= {port for one in addresses.split(",") if (port := _port(one))}
        case ["default_backend" | "use_backend", name, *_]:
            section.backends.add(name)
        case ["default-server" | "source", *_] if says_whose:
            section.says_whose = True
        case ["server", _, address, *_] if not says_whose:
            host, _, _ = address.rpartition(":")
            section.servers.append((host.strip("[]"), _port(address), number))
        case _:
            pass


def _port(text: str) -> int:
    last = text.rpartition(":")[2]
    return int(last) if last.isdigit() and last.isascii() and len(last) < 6 else 0


# --- nginx --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Block:
    name: str
    listens: set[int] = field(default_factory=set)
    passes: list[tuple[str, int]] = field(default_factory=list)
    """An address or an upstream's name, and the line."""
    servers: list[str] = field(default_factory=list)
    says_whose: bool = False


def _by_nginx(source: SourceFile) -> Iterator[PassedOn]:
    upstreams: dict[str, list[str]] = {}
    found: list[_Block] = []
    for block in _blocks(source.text):
        if block.name.startswith("upstream"):
            upstreams[block.name.removeprefix("upstream").strip()] = block.servers
        elif block.passes and not block.says_whose:
            found.append(block)
    for block in found:
        for address, line in block.passes:
            for one in upstreams.get(address, [address]):
                host, colon, _ = one.rpartition(":")
                if colon:
                    yield PassedOn(host.strip("[]"), _port(one), line, frozenset(block.listens))


def _blocks(text: str) -> Iterator[_Block]:
    """Each block once it ends; what stands round it holds in it as well."""
    text = _REMARK.sub("", text)
    open_blocks = [_Block("")]
    line, at = 1, 0
    for statement in _STATEMENT.finditer(text):
        line += text.count(
            "\n", at, statement.start() + len(statement["text"]) - len(statement["text"].lstrip())
        )
        at = statement.start() + len(statement["text"]) - len(statement["text"].lstrip())
        words = statement["text"].split()
        if statement["end"] == "{":
            open_blocks.append(_Block(" ".join(words), says_whose=open_blocks[-1].says_whose))
        elif statement["end"] == "}" and len(open_blocks) > 1:
            yield open_blocks.pop()
        elif words:
            _note(words, line, open_blocks[-1])
    yield from reversed(open_blocks)


def _note(words: list[str], line: int, block: _Block) -> None:
    match words:
        case ["listen", address, *_]:
            block.listens.add(_port(address))
        case ["proxy_pass", address] if "://" not in address:
            block.passes.append((address, line))
        case ["proxy_protocol", "on"] | ["proxy_bind", _, "transparent"]:
            block.says_whose = True
        case ["server", address, *_]:
            block.servers.append(address)
        case _:
            pass
