"""The audit of what lies at some paths: every server that is found there, each with its verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from stat import S_ISDIR

from relaywatch.model.errors import UsageError

from .addresses import NOBODY, AddressSet
from .catalogue import load_rules
from .claims import Claim, ClaimKind
from .conditions import Way, joined
from .deciding import verdict_of
from .findings import AuditFinding, AuditVerdict, Cause, Gap, GapKind, Position, ServerReport, ServiceReport
from .passing_on import local_front_ends
from .server import Server, Service, load_servers, recognised
from .setup import FrontEnd, Setup
from .text import SourceFile
from .trees import FolderTree, NotReadError, Tree, open_tree
from .witness import witness

NOT_EVALUATED = "not-evaluated"
"""The rule of what nobody knows: a way through that hangs on a gap."""
RANK = (
    AuditVerdict.OPEN,
    AuditVerdict.OPEN_IF,
    AuditVerdict.UNKNOWN,
    AuditVerdict.DOWN,
    AuditVerdict.CLOSED,
)
"""What is worse comes first."""
_MOST_FINDINGS = 20
_MAIL_SERVERS = frozenset(
    {
        "chasquid",
        "courier",
        "exim",
        "haraka",
        "kumomta",
        "opensmtpd",
        "postfix",
        "qmail",
        "sendmail",
        "stalwart",
    }
)
_PEEK = 256 * 1024
_log = logging.getLogger(__name__)


def audit(
    paths: Iterable[Path | str],
    *,
    server: str | None = None,
    allowed: AddressSet = NOBODY,
    front_ends: tuple[FrontEnd, ...] = (),
) -> Iterator[ServerReport]:
    """Audit every server whose configuration is at these paths, a report each, in their order.

    ``server`` takes every path's files for that one's. ``allowed`` are the owner's own networks.

    :raises UsageError: if a path can't be read, no such server is known, or none is found at a path.
    """
    for path in paths:
        tree = open_tree(Path(path))
        found = 0
        for setup, known in setups(tree, server, allowed=allowed, front_ends=front_ends):
            found += 1
            yield report(known, setup)
        if not found:
            raise UsageError(f"{path}: no configuration of a server that we know; --server names one")


def setups(
    tree: Tree,
    server: str | None = None,
    *,
    allowed: AddressSet = NOBODY,
    front_ends: tuple[FrontEnd, ...] = (),
) -> Iterator[tuple[Setup, Server]]:
    """Every main file in the tree, with the server that it is of.

    :raises UsageError: if no such server is known.
    """
    servers = load_servers()
    if server is not None and server not in servers:
        raise UsageError(f"no server is called {server!r}; there are: {', '.join(sorted(servers))}")
    named = servers[server] if server is not None else None
    files = tree.files()
    ahead = list(islice(files, 2))
    for path in chain(ahead, files):
        for known in _of(tree, path, named, is_alone=len(ahead) == 1):
            yield _setup(known, tree, path, allowed, front_ends), known


def system_setups(
    server: str | None = None,
    *,
    allowed: AddressSet = NOBODY,
    root: Path = Path("/"),
    left_out: dict[str, None] | None = None,
) -> Iterator[tuple[Setup, Server]]:
    """The servers whose usual home is on this machine, each with its main files there.

    ``root`` is the machine's, unless it is a copy of another's. Into ``left_out`` go the folders that may not be
    looked into.
    """
    unseen: dict[str, None] = {} if left_out is None else left_out
    known_files: dict[str, tuple[PurePosixPath, ...]] = {}
    for known in load_servers().values():
        told: set[PurePosixPath] = set()
        for home in known.homes if server in {None, known.name} else ():
            tree = FolderTree(root, PurePosixPath(home))
            if home not in known_files:
                known_files[home] = tuple(_files_of_home(tree, root / home.lstrip("/"), unseen))
            for path in known_files[home]:
                for _ in recognised((known,), path, partial(_peek, tree, path)):
                    if path not in told:
                        yield _setup(known, tree, path, allowed), known
                    told.add(path)


def _files_of_home(tree: FolderTree, home: Path, left_out: dict[str, None]) -> Iterator[PurePosixPath]:
    try:
        is_there = S_ISDIR(home.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        left_out.setdefault(str(home))
        return
    if is_there:
        yield from tree.files()
        left_out.update(tree.left_out)


def _setup(
    known: Server, tree: Tree, main: PurePosixPath, allowed: AddressSet, front_ends: tuple[FrontEnd, ...] = ()
) -> Setup:
    """With what hides strangers from a mail server on the same machine, if this is a machine or a copy of one.

    In a copy, an absolute link leads where the configuration's own absolute names do.
    """
    home = next((home for home in known.homes if f"{home}/" in str(main)), known.home)
    setup = Setup(tree=tree, main=main, home=PurePosixPath(home), allowed=allowed, front_ends=front_ends)
    if not setup.is_live:
        floor = PurePosixPath(setup.system or "/")
        setup.tree = tree.led(lambda target: setup.places(str(target))[0], floor)
    if known.name in _MAIL_SERVERS and setup.system is not None:
        setup.front_ends += tuple(local_front_ends(setup.tree, setup.system))
    return setup


def _of(tree: Tree, path: PurePosixPath, named: Server | None, *, is_alone: bool) -> Iterable[Server]:
    if named is None:
        return recognised(load_servers().values(), path, partial(_peek, tree, path))
    return (named,) if is_alone or any(mark.fits(path) for mark in named.marks) else ()


def _peek(tree: Tree, path: PurePosixPath) -> SourceFile | None:
    try:
        return SourceFile.of(str(path), tree.read(path)[:_PEEK])
    except (FileNotFoundError, NotReadError):
        return None


def report(server: Server, setup: Setup) -> ServerReport:
    """Evaluate one server; a fault of ours is told, and is never *closed*."""
    try:
        services = tuple(server.evaluate(setup))
    except Exception as error:  # noqa: BLE001 -- one file that we trip over mustn't end the others' audit
        _log.error("the audit of %s went wrong", setup.main, exc_info=error)
        return ServerReport(
            server=server.name,
            verdict=AuditVerdict.UNKNOWN,
            path=setup.shown(setup.main),
            gaps=tuple(setup.gaps),
            error=f"{type(error).__name__}: {error}",
        )
    services = tuple(_reached(service, setup) for service in services)
    if not services and not setup.gaps_that_decide():
        setup.note(Gap(GapKind.NO_LISTENER, setup.main.name, Position(setup.shown(setup.main))))
    told = [_service_report(service) for service in services]
    harmless = tuple(gap for gap in setup.gaps if gap in setup.harmless)
    findings: dict[tuple[str, str, int, str], AuditFinding] = {}
    for finding in (one for service in services for one in findings_of(service, setup)):
        key = finding.rule, finding.file, finding.line, finding.service
        findings[key] = min(findings.get(key, finding), finding, key=_by_rank)
    return ServerReport(
        server=server.name,
        verdict=_worst([service.verdict for service in told], setup),
        findings=tuple(sorted(findings.values(), key=_by_rank))[:_MOST_FINDINGS],
        path=setup.shown(setup.main),
        services=tuple(told),
        gaps=(*setup.gaps_that_decide(), *harmless),
        harmless=harmless,
        files=tuple(source.name for source in setup.sources.values()),
    )


def _reached(service: Service, setup: Setup) -> Service:
    """A listener that no stranger reaches straight, if something on the same machine leads him there.

    Then he comes through that, and from no address of his own.
    """
    port = service.name.split("/")[0].rpartition(":")[2]
    leading = [front for front in setup.front_ends if front.reaches_loopback and front.leads_to(port)]
    if not service.is_out_of_reach or not leading:
        return service
    ways = [
        way
        for way in service.passing
        if not any(claim.kind is ClaimKind.CLIENT_ADDRESS and not claim.negated for claim in way.claims)
    ]
    through = [
        Way(frozenset({Claim(ClaimKind.FRONT_END, front.name)}), causes=(Cause(front.name, front.position),))
        for front in leading
    ]
    return replace(service, is_out_of_reach=False, passing=joined(ways, through))


def _by_rank(finding: AuditFinding) -> int:
    return RANK.index(finding.verdict)


def _service_report(service: Service) -> ServiceReport:
    return ServiceReport(
        name=service.name,
        verdict=_verdict(service),
        weakness=service.weakness,
        position=service.position,
    )


def _verdict(service: Service) -> AuditVerdict:
    if service.down is not None:
        return AuditVerdict.DOWN
    if service.is_out_of_reach or not service.passing:
        return AuditVerdict.CLOSED
    return min(map(verdict_of, service.passing), key=RANK.index)


def _worst(verdicts: list[AuditVerdict], setup: Setup) -> AuditVerdict:
    """The server's: the worst of its listeners'; with something unread and nothing found, nobody knows."""
    worst = min(verdicts, key=RANK.index, default=AuditVerdict.UNKNOWN)
    return AuditVerdict.UNKNOWN if worst is AuditVerdict.CLOSED and setup.gaps_that_decide() else worst


def findings_of(service: Service, setup: Setup) -> Iterator[AuditFinding]:
    """A finding for each way through, or for what keeps the server down."""
    if service.down is not None:
        yield _finding(setup, service, AuditVerdict.DOWN, service.down, Way(causes=(service.down,)))
    elif not service.is_out_of_reach:
        for way in service.passing:
            yield _finding(setup, service, verdict_of(way), _decisive(way), way)


def _decisive(way: Way) -> Cause:
    """The setting to mend: the first that breaks a rule."""
    broken = (cause for cause in way.causes if cause.rule)
    return next(broken, way.causes[0] if way.causes else Cause("", rule=NOT_EVALUATED))


def _finding(setup: Setup, service: Service, verdict: AuditVerdict, cause: Cause, way: Way) -> AuditFinding:
    rule = load_rules().get(cause.rule)
    position = cause.position or Position(setup.shown(setup.main))
    return AuditFinding(
        advisory=(rule.advisory if rule else None) or "",
        rule=cause.rule or NOT_EVALUATED,
        standing=rule.standing if rule else None,
        verdict=verdict,
        file=position.file,
        line=position.line,
        witness="" if verdict is AuditVerdict.DOWN else witness(service.weakness, way.claims),
        service=service.name,
        claims=tuple(sorted(way.claims)),
        causes=way.causes,
        gaps=tuple(sorted(way.gaps, key=str)),
    )
