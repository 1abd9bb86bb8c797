"""The auditing of text: what every server's tests begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import report
from relaywatch.audit.catalogue import load_rules
from relaywatch.audit.findings import AuditFinding, ServerReport
from relaywatch.audit.mending import Mended, mended
from relaywatch.audit.server import Server
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.trees import TextTree

Files = str | Mapping[str, str]
"""The text of the main file, or of several files by their paths, the main one first."""


def setup_of(
    server: Server,
    files: Files,
    *,
    allowed: Iterable[str] = (),
    main: str | None = None,
    front_ends: Iterable[FrontEnd] = (),
) -> Setup:
    """A set-up in which these files lie; a text alone is the main file at its usual place.

    ``main`` is the main file's path, by default the first of the files.
    """
    named = {f"{server.home}/{main or _usual_name(server)}": files} if isinstance(files, str) else dict(files)
    return Setup(
        tree=TextTree(named),
        main=PurePosixPath(main if main and not isinstance(files, str) else next(iter(named))),
        home=PurePosixPath(server.home),
        allowed=AddressSet.of(allowed),
        front_ends=tuple(front_ends),
    )


def audited(
    server: Server,
    files: Files,
    *,
    allowed: Iterable[str] = (),
    main: str | None = None,
    front_ends: Iterable[FrontEnd] = (),
) -> ServerReport:
    """The report of these files; a fault of ours or a rule that isn't in the catalogue fails the test."""
    told = report(server, setup_of(server, files, allowed=allowed, main=main, front_ends=front_ends))
    return sound(told)


def sound(told: ServerReport) -> ServerReport:
    """The report, if nothing went wrong in us and each finding's rules exist."""
    assert told.error is None, told.error
    known = load_rules()
    for finding in told.findings:
        assert finding.rule in known, finding
        assert all(cause.rule in known for cause in finding.causes if cause.rule), finding
        assert finding.advisory == (known[finding.rule].advisory or ""), finding
    return told


def only(told: ServerReport) -> AuditFinding:
    """The finding of a report that has one."""
    assert len(told.findings) == 1, [(one.rule, one.line, one.verdict) for one in told.findings]
    return told.findings[0]


def seen(told: ServerReport) -> list[tuple[str, str, int]]:
    """Verdict, rule and line of each finding, in order."""
    return [(finding.verdict.value, finding.rule, finding.line) for finding in told.findings]


def mending(server: Server, files: Files, *, allowed: Iterable[str] = (), main: str | None = None) -> Mended:
    """What mending these files comes to."""
    outcome = mended(server, setup_of(server, files, allowed=allowed, main=main))
    sound(outcome.report)
    return outcome


def mended_texts(
    server: Server, files: Files, *, allowed: Iterable[str] = (), main: str | None = None
) -> dict[str, str]:
    """The text of each file that mending changes, by its path."""
    outcome = mending(server, files, allowed=allowed, main=main)
    return {str(path): source.text for path, source in outcome.after.items()}


def _usual_name(server: Server) -> str:
    """The first mark's name, if it is one."""
    name = PurePosixPath(server.marks[0].name).name
    return "server.conf" if set(name) & set("*?[") else name
