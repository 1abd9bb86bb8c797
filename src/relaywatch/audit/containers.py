"""Containers as a compose file has them (the Compose specification): ports, networks, mounts, environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import PurePosixPath

from .findings import Cause, Gap, GapKind, Position
from .setup import Setup
from .text import SourceFile
from .yaml_nodes import BadYamlError, Node, parse_yaml

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)(?:(:?[-+?])((?:[^{}]|\{[^{}]*\})*))?\})")
_PORTS = re.compile(
    r"(?:(?P<host>\[[^]]*\]|\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]*:[0-9a-fA-F:.]*):)?"
    r"(?:(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>\w+))?"
)
_MOST_PORTS = 1000
_DECIDING = re.compile(r"POSTFIX|\w*NETWORKS?\b|ALLOW|PERMIT|RELAY|SMTP", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Published:
    """A port that the host passes on to a container."""

    host: str
    """The host's address; empty for all of them, of both families."""
    ports: tuple[str, ...]
    targets: tuple[int, ...]
    """The container's; as many."""
    protocol: str
    mode: str
    """``ingress`` or ``host``; empty where the file doesn't say."""
    position: Position


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable of the environment, where it stands."""

    value: str
    position: Position


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host's in the container."""

    source: str
    target: PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One service of a compose file."""

    name: str
    image: str
    position: Position
    """Of its image, or of itself."""
    published: tuple[Published, ...] = ()
    network_mode: str = ""
    networks: tuple[str, ...] = ("default",)
    environment: Mapping[str, Setting] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    is_deployed: bool = False
    """Whether there is a ``deploy:``, so that it may run in a Swarm."""
    said_otherwise: tuple[Cause, ...] = ()
    """What changes the configuration in ways that aren't followed: a command line with settings, ``configs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of a compose file; what it doesn't say of one is the engine's to choose."""

    has_ipv6: bool = False
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """All of a compose file, with what an override file beside it changes."""

    containers: Mapping[str, Container]
    networks: Mapping[str, Network]


def read_composition(setup: Setup) -> Composition | None:
    """The compose file and its override; nothing, and a gap, if it can't be read."""
    source = setup.read_main()
    there = (setup.read(name) for name in _overrides(setup.main.name) if setup.has(name))
    read = [(_document(file, setup), file) for file in (source, *there) if file]
    documents = [(document, file) for document, file in read if document]
    if not documents:
        return None
    reading = _Reading(setup, _dot_env(setup))
    containers: dict[str, Container] = {}
    networks: dict[str, Network] = {}
    for document, file in documents:
        for key in ("include", "extends"):
            if node := document.at(key):
                setup.note(Gap(GapKind.NOT_EVALUATED, key, file.at(node.line)))
        for name, node in _pairs(document.at("services")):
            if not node.is_mapping:
                setup.note(Gap(GapKind.SYNTAX, f"services: {name}", file.at(node.line)))
            container = reading.container(name, node, file)
            containers[name] = _merged(containers[name], container) if name in containers else container
        for name, node in _pairs(document.at("networks")):
            networks[name] = reading.network(node, file)
    return Composition(containers=containers, networks=networks)


def _document(source: SourceFile, setup: Setup) -> Node | None:
    try:
        return parse_yaml(source.text)
    except BadYamlError as error:
        setup.note(Gap(GapKind.SYNTAX, str(error), source.at(error.line)))
        return None


def _overrides(main: str) -> tuple[str, ...]:
    stem, _, end = main.rpartition(".")
    return tuple(f"{stem}.override.{other}" for other in dict.fromkeys((end, "yml", "yaml")))


def _pairs(node: Node | None) -> Iterator[tuple[str, Node]]:
    yield from (node.pairs if node else {}).items()


def _dot_env(setup: Setup) -> dict[str, str]:
    """``.env``; mailcow's own file, to which its ``.env`` leads, does where a copy has lost the link."""
    name = next(filter(setup.has, (".env", "mailcow.conf")), None)
    source = setup.read(name) if name else None
    return {name: setting.value for name, setting in env_file(source)} if source else {}


def env_file(source: SourceFile) -> Iterator[tuple[str, Setting]]:
    """The variables of an ``env_file`` or ``.env``."""
    for number, line in enumerate(source.lines, 1):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            if value[:1] in {'"', "'"} and value[:1] == value[-1:]:
                value = value[1:-1]
            yield name.strip(), Setting(value, source.at(number))


class _Reading:
    def __init__(self, setup: Setup, variables: Mapping[str, str]) -> None:
        self._setup, self._variables = setup, variables

    def container(self, name: str, node: Node, file: SourceFile) -> Container:
        image = node.at("image")
        is_seen = node.at("ports") is not None or node.at("network_mode") is not None
        for key in ("extends", "build"):
            if (other := node.at(key)) and not (key == "build" and image):
                self._setup.note(Gap(GapKind.NOT_EVALUATED, f"{name}: {key}", file.at(other.line)))
        mode = self.text(node.at("network_mode"), file)
        return Container(
            name=name,
            image=self.text(image, file, decides=is_seen),
            position=file.at((image or node).line),
            published=tuple(one for port in self._items(node, "ports") for one in self._port(port, file)),
            network_mode=mode,
            networks=self._networks(node),
            environment=dict(self._environment(node, file)),
            mounts=tuple(
                one
                for mount in self._items(node, "volumes")
                for one in self._mount(mount, file, decides=is_seen)
            ),
            is_deployed=node.at("deploy") is not None,
            said_otherwise=tuple(self._said_otherwise(name, node, file)),
        )

    def _said_otherwise(self, name: str, node: Node, file: SourceFile) -> Iterator[Cause]:
        """A command without a path or a setting starts the server as the image does, and says nothing new."""
        for key in ("entrypoint", "command", "configs"):
            if found := node.at(key):
                items = found.items or (found,)
                words = " ".join(self.text(one, file, decides=False) for one in items)
                if key == "configs" or re.search(r"[/=]", words):
                    yield Cause(f"{name}: {key}: {words}".strip(": ")[:80], file.at(found.line))

    def network(self, node: Node, file: SourceFile) -> Network:
        configs = (node.at("ipam", "config") or node).items
        subnets = [self.text(one.at("subnet"), file) for one in configs]
        gateways = [self.text(one.at("gateway"), file) for one in configs]
        flag = node.at("enable_ipv6")
        return Network(
            has_ipv6=self.text(flag, file).lower() in {"true", "yes", "on"},
            subnets=tuple(filter(None, subnets)),
            gateways=tuple(filter(None, gateways)),
        )

    def text(self, node: Node | None, file: SourceFile, *, decides: bool = True) -> str:
        """A scalar with its variables put in; one that nobody says is a gap, which may decide or not."""

        def put(match: re.Match[str]) -> str:
            dollar, bare, braced, how, other = match.groups()
            if dollar:
                return "$"
            value = self._variables.get(bare or braced)
            if how in {":+", "+"}:
                return other if value else ""
            if value or (value is not None and how not in {":-", ":?"}):
                return value or ""
            if how in {":-", "-"}:
                return _VARIABLE.sub(put, other)
            gap = Gap(GapKind.EXTERNAL, match[0], file.at(node.line) if node else None)
            (self._setup.note if decides else self._setup.set_aside)(gap)
            return ""

        return _VARIABLE.sub(put, (node.text if node else "") or "")

    def _items(self, node: Node, key: str) -> tuple[Node, ...]:
        found = node.at(key)
        return found.items if found else ()

    def _networks(self, node: Node) -> tuple[str, ...]:
        found = node.at("networks")
        names = [*found.pairs, *(one.text or "" for one in found.items)] if found else []
        return tuple(names) or ("default",)

    def _environment(self, node: Node, file: SourceFile) -> Iterator[tuple[str, Setting]]:
        for named in self._env_files(node, file):
            if source := self._setup.read(named, file.at(node.line)):
                yield from env_file(source)
        found = node.at("environment")
        for name, value in _pairs(found):
            said = self.text(value, file, decides=_decides(name))
            yield name, Setting(said, file.at(value.line))
        for one in found.items if found else ():
            written = one.text or ""
            name, equals, said = self.text(one, file, decides=_decides(written)).partition("=")
            if equals:
                yield name, Setting(said, file.at(one.line))
            else:
                gap = Gap(GapKind.EXTERNAL, name, file.at(one.line))
                (self._setup.note if _decides(written) else self._setup.set_aside)(gap)

    def _env_files(self, node: Node, file: SourceFile) -> Iterator[str]:
        found = node.at("env_file")
        for one in (found.items or (found,)) if found else ():
            path = one.at("path") if one.is_mapping else one
            if name := self.text(path, file):
                yield name

    def _port(self, node: Node, file: SourceFile) -> Iterator[Published]:
        position = file.at(node.line)
        if node.is_mapping:
            target, published, host, mode, protocol = (
                self.text(node.at(key), file, decides=False)
                for key in ("target", "published", "host_ip", "mode", "protocol")
            )
        else:
            found = _PORTS.fullmatch(self.text(node, file, decides=False))
            if found is None or not _is_address((found["host"] or "0.0.0.0").strip("[]")):  # noqa: S104 -- read
                self._setup.note(Gap(GapKind.SYNTAX, f"ports: {node.text}", position))
                return
            target, published = found["target"], found["published"] or ""
            host, mode, protocol = (found["host"] or "").strip("[]"), "", found["protocol"] or ""
        targets = _range(target)
        if not targets:
            self._setup.note(Gap(GapKind.SYNTAX, f"ports: {target}", position))
            return
        ports = tuple(map(str, _range(published))) if published else ()
        yield Published(host, ports, targets, protocol or "tcp", mode, position)

    def _mount(self, node: Node, file: SourceFile, *, decides: bool) -> Iterator[Mount]:
        if node.is_mapping:
            kind = self.text(node.at("type"), file)
            source, target = (self.text(node.at(key), file, decides=decides) for key in ("source", "target"))
            if kind not in {"", "bind"}:
                return
        else:
            source, _, rest = self.text(node, file, decides=decides).partition(":")
            target = rest.partition(":")[0]
        if source.startswith((".", "/", "~")) and target.startswith("/"):
            yield Mount(source, PurePosixPath(target))


def _decides(name: str) -> bool:
    """Whether a variable of the environment may be one of an image of a mail server."""
    return _DECIDING.match(name) is not None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _range(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    try:
        numbers = range(int(first), int(last or first) + 1)
    except ValueError:
        return ()
    return tuple(numbers[:_MOST_PORTS])


def _merged(one: Container, other: Container) -> Container:
    """As compose merges an override: lists are joined, what stands once is replaced."""
    mounts = {mount.target: mount for mount in (*one.mounts, *other.mounts)}
    return Container(
        name=one.name,
        image=other.image or one.image,
        position=other.position if other.image else one.position,
        published=tuple(dict.fromkeys((*one.published, *other.published))),
        network_mode=other.network_mode or one.network_mode,
        networks=tuple(dict.fromkeys((*one.networks, *other.networks))),
        environment={**one.environment, **other.environment},
        mounts=tuple(mounts.values()),
        is_deployed=one.is_deployed or other.is_deployed,
        said_otherwise=(*one.said_otherwise, *other.said_otherwise),
    )
