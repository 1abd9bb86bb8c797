"""Compose files: each published container as the server that it runs, seen with the addresses that reach it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way, unknown
from relaywatch.audit.containers import Composition, Container, Mount, read_composition
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.passing_on import MAIL_PORTS
from relaywatch.audit.server import Edit, Mark, Server, Service, load_servers, recognised
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.trees import NotReadError
from relaywatch.model.evidence import Weakness

from .fronts import Engine, front_ends, is_public, read_engine, subnets_of
from .images import CHANGES, NETWORKS, OWN_FOLDERS, evaluated, takes_postfix_variables, written_by

_PROXY_PORTS = frozenset({1080, 3128, 3478, 8118, 8123, 8888})
_MOST_FILES = 500


@dataclass(frozen=True, slots=True)
class _Inner:
    """A server in a container whose configuration is mounted."""

    server: Server
    setup: Setup


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every container that strangers reach at a port of mail servers or proxies, or whose configuration is mounted."""
    composition = read_composition(setup)
    if composition is None or not composition.containers:
        return  # no service at all: nothing was evaluated
    engine = read_engine(setup)
    found = [
        service
        for container in composition.containers.values()
        for service in _services(container, composition, engine, setup)
    ]
    yield from found or [Service(name="", weakness=Weakness.OPEN_RELAY)]


def _services(
    container: Container, composition: Composition, engine: Engine, setup: Setup
) -> Iterator[Service]:
    fronts = tuple(front_ends(container, composition, engine, setup))
    ports = _ports(container)
    if not ports and not fronts and container.network_mode != "host":
        return  # no stranger comes to it
    inner = list(_inner(container, fronts, setup))
    for one in inner:
        for service in one.server.evaluate(one.setup):
            yield replace(_placed(service, one.setup), name=f"{container.name}: {service.name}")
        _take_over(one.setup, setup)
    lines = written_by(container, subnets_of(container, composition, engine))
    if lines and not inner:
        for service in evaluated(container, lines, fronts, setup):
            yield replace(service, name=f"{container.name}: {service.name}")
    elif not inner and (port := _telling(ports, container)):
        yield _untold(container, port, setup)
    if lines or inner:
        _note_the_rest(container, setup, is_written=bool(lines))


def _note_the_rest(container: Container, setup: Setup, *, is_written: bool) -> None:
    """What changes a container's configuration, and isn't followed."""
    for cause in container.said_otherwise:
        setup.note(Gap(GapKind.NOT_EVALUATED, cause.text, cause.position))
    for mount in container.mounts if is_written else ():
        if any(mount.target.is_relative_to(folder) for folder in OWN_FOLDERS):
            inside = [target for _, target in _mounted(mount, setup)]
            if not inside or any(CHANGES.fullmatch(target.name) for target in inside):
                setup.note(Gap(GapKind.NOT_EVALUATED, f"{mount.source}:{mount.target}", container.position))


def _placed(service: Service, inner: Setup) -> Service:
    """The listener, what its defaults bring about told at its own main file and not at the compose file."""
    main = Position(inner.shown(inner.main))

    def placed(cause: Cause) -> Cause:
        return cause if cause.position else replace(cause, position=main)

    passing = tuple(Way(way.claims, way.gaps, tuple(map(placed, way.causes))) for way in service.passing)
    return replace(service, passing=passing, down=placed(service.down) if service.down else None)


def _ports(container: Container) -> set[int]:
    """Those that strangers reach."""
    return {port for one in container.published if is_public(one) for port in one.targets}


def _telling(ports: set[int], container: Container) -> int:
    """A port at which mail servers or proxies are, or any of an image that is named so.

    All may be where the host's network is the container's.
    """
    named = re.search(r"postfix|exim|smtp|sendmail|mail|squid|proxy|socks|dante", container.image)
    if container.network_mode == "host":
        return 25 if named else 0
    return min(ports & (MAIL_PORTS | _PROXY_PORTS) or (ports if named else set()), default=0)


def _untold(container: Container, port: int, setup: Setup) -> Service:
    said = f"{container.name}: {container.image or 'build'}, {port}"
    gap = setup.note(Gap(GapKind.NOT_EVALUATED, said, container.position))
    return Service(
        name=f"{container.name}: {port}",
        weakness=Weakness.OPEN_RELAY if port in MAIL_PORTS else Weakness.OPEN_PROXY,
        passing=unknown(gap).true,
        position=container.position,
    )


def _inner(container: Container, fronts: tuple[FrontEnd, ...], setup: Setup) -> Iterator[_Inner]:
    """The servers whose main files are mounted into the container."""
    for mount in container.mounts:
        for file, inside in _mounted(mount, setup):
            for server in recognised(_others(), inside, partial(_peek, file, setup)):
                yield _Inner(
                    server,
                    Setup(
                        tree=setup.tree,
                        main=file,
                        home=inside.parent,
                        allowed=setup.allowed,
                        front_ends=fronts,
                    ),
                )


def _others() -> list[Server]:
    return [server for server in load_servers().values() if server is not SERVER]


def _mounted(mount: Mount, setup: Setup) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """The files of a mount: where they are, and where the container has them."""
    source = mount.source.removeprefix("~")
    for place in setup.places(source):
        plain = PurePosixPath("/") / str(place).lstrip("/")
        try:
            files = list(setup.tree.folder(plain))
            for folder in setup.tree.folders(plain):
                files += setup.tree.folder(folder)
        except NotReadError as error:
            setup.note(Gap(GapKind.UNREADABLE, f"{mount.source}: {error}"))
            return
        if not files and setup.has(source):
            yield place, mount.target
        for file in files[:_MOST_FILES]:
            yield file, mount.target / file.relative_to(plain)
        if files:
            return


def _peek(file: PurePosixPath, setup: Setup) -> SourceFile | None:
    try:
        return SourceFile.of(str(file), setup.tree.read(file))
    except (FileNotFoundError, NotReadError):
        return None


def _take_over(inner: Setup, setup: Setup) -> None:
    setup.sources.update(inner.sources)
    for gap in inner.gaps:
        (setup.set_aside if gap in inner.harmless else setup.note)(gap)


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """In a mounted file as its server does; in the compose file the trusted networks that the image takes."""
    composition = read_composition(setup)
    if composition is None:
        return
    engine = read_engine(setup)
    for container in composition.containers.values():
        if finding.file == container.position.file:
            yield from _set(container, finding, setup, engine, composition)
            continue
        for inner in _inner(container, tuple(front_ends(container, composition, engine, setup)), setup):
            list(inner.server.evaluate(inner.setup))
            if any(source.name == finding.file for source in inner.setup.sources.values()):
                yield from inner.server.mend(inner.setup, finding)
                return


def _set(
    container: Container, finding: AuditFinding, setup: Setup, engine: Engine, composition: Composition
) -> Iterator[Edit]:
    path, source = next(
        (item for item in setup.sources.items() if item[1].name == finding.file), (None, None)
    )
    lines = written_by(container, subnets_of(container, composition, engine))
    if path is None or source is None or finding.position not in {line.position for line in lines}:
        return
    names = [name for name in NETWORKS if name in container.environment]
    if names:
        number = container.environment[names[0]].position.line
        yield from _replaced(source, path, number, names[0], setup.allowed)
    elif takes_postfix_variables(container):
        yield from _added(container, source, path, setup)


def _replaced(
    source: SourceFile, path: PurePosixPath, number: int, name: str, allowed: AddressSet
) -> Iterator[Edit]:
    """The variable's value, in the quotes that it has; nothing if it stands in another file or on several lines."""
    line = source.lines[number - 1]
    found = re.fullmatch(
        rf"""(\s*(?:-\s*)?["']?{name}["']?\s*[:=]\s*)(["']?)([^"'#|>]*?)(["']?)(\s*(?:#.*)?)""", line
    )
    if found is None:
        return
    value = "none" if name == "PERMIT_DOCKER" else _own_networks(allowed)
    quote = found[2] or '"' * found[1].rstrip().endswith(":")
    yield Edit(path, number, number, (f"{found[1]}{quote}{value}{found[4] or quote}{found[5]}",))


def _added(container: Container, source: SourceFile, path: PurePosixPath, setup: Setup) -> Iterator[Edit]:
    """The variable, in the style of those beside it."""
    value = _own_networks(setup.allowed)
    beside = [one.position.line for one in container.environment.values() if one.position.file == source.name]
    number = min(beside, default=container.position.line)
    first = source.lines[number - 1]
    indent = first[: len(first) - len(first.lstrip())]
    if not beside:
        new = (f"{indent}environment:", f'{indent}  POSTFIX_mynetworks: "{value}"')
        yield Edit(path, number + 1, number, new)
    elif first.lstrip().startswith("-"):
        yield Edit(path, number, number - 1, (f'{indent}- "POSTFIX_mynetworks={value}"',))
    else:
        yield Edit(path, number, number - 1, (f'{indent}POSTFIX_mynetworks: "{value}"',))


def _own_networks(allowed: AddressSet) -> str:
    four = [str(network) for network in allowed.networks(4)]
    six = [f"[{network.network_address}]/{network.prefixlen}" for network in allowed.networks(6)]
    return ", ".join(["127.0.0.0/8", "[::1]/128", *four, *six])


SERVER = Server(
    name="compose",
    home="/etc/docker/compose",
    marks=tuple(
        Mark(name=name)
        for name in ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
    ),
    evaluate=evaluate,
    mend=mend,
    check=("docker", "compose", "-f", "{main}", "config", "--quiet"),
    reload=("docker", "compose", "up", "-d"),
)
