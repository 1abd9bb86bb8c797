"""Oracles: what the server's own tools say of the same configuration, and where that isn't what we say.

They read, and change nothing; the running service isn't asked. But they are the server's programs, and read the
configuration as it does: a module that it loads is loaded, a ``${run}`` of Exim's is run. Ask only about
configurations that you would start yourself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from relaywatch.audit.findings import OracleAnswer, OracleOutcome, ServerReport
from relaywatch.audit.server import Server
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree, NotReadError

from .asking import Question, SilentError
from .dialogues import exim, sendmail
from .files import apache, nginx, squid
from .postfix import parameters, tables
from .syntax import syntax_of

Oracle = Callable[[Question], Iterator[OracleAnswer]]
_MOST_ANSWERS = 40

ORACLES: MappingProxyType[str, tuple[Oracle, ...]] = MappingProxyType(
    {
        "postfix": (parameters, tables),
        "exim": (exim,),
        "sendmail": (sendmail,),
        "nginx": (nginx,),
        "apache": (apache,),
        "squid": (squid,),
        "caddy": (syntax_of("caddy", "adapt", "--adapter", "caddyfile", "--config", "{main}"),),
        "haproxy": (syntax_of("haproxy", "-c", "-f", "{main}"),),
        "openssh": (syntax_of("sshd", "-T", "-f", "{main}"),),
        "privoxy": (syntax_of("privoxy", "--config-test", "{main}"),),
        "dante": (syntax_of("danted|sockd", "-V", "-f", "{main}"),),
        "opensmtpd": (syntax_of("smtpd", "-n", "-f", "{main}"),),
    }
)


def asked(server: Server, setup: Setup, report: ServerReport) -> ServerReport:
    """The report with what the server's own tools say beside it; ``setup`` is as it was read for the report."""
    answers: list[OracleAnswer] = []
    for oracle in ORACLES.get(server.name, ()):
        try:
            answers.extend(oracle(Question(setup=setup, report=report, main=_place(setup))))
        except SilentError as error:
            answers.append(_silent(oracle, str(error)))
    return replace(report, oracles=tuple(answers[:_MOST_ANSWERS]))


def disagreements(report: ServerReport) -> tuple[OracleAnswer, ...]:
    """Where a tool says something else than we do."""
    return tuple(one for one in report.oracles if one.outcome is OracleOutcome.DISAGREES)


def _silent(oracle: Oracle, why: str) -> OracleAnswer:
    name = getattr(oracle, "tool", None) or oracle.__name__
    return OracleAnswer(tool=name, outcome=OracleOutcome.SILENT, theirs=why)


def _place(setup: Setup) -> Path:
    """Where the main file really is.

    :raises SilentError: if it is in no folder.
    """
    if not isinstance(setup.tree, FolderTree):
        raise SilentError("only files in a folder can be asked about")
    try:
        return setup.tree.place(setup.main).resolve()
    except (NotReadError, OSError) as error:
        raise SilentError(str(error)) from None
