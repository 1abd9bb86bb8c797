"""``relaywatch audit PATH...``: configurations read, evaluated for a stranger, and mended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import report, setups, system_setups
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.mending import mended
from relaywatch.audit.oracles import asked, disagreements
from relaywatch.audit.programs import found
from relaywatch.audit.server import Server, load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import FolderTree, Tree, open_tree
from relaywatch.audit.writing import write
from relaywatch.cli.auditing_prover import Prover
from relaywatch.cli.auditing_tally import AuditTally
from relaywatch.cli.language import N_, Words
from relaywatch.cli.reports.auditing import Sources, print_audit
from relaywatch.cli.reports.auditing_github import workflow_commands
from relaywatch.cli.reports.auditing_lines import audit_line
from relaywatch.cli.reports.auditing_sarif import sarif
from relaywatch.cli.reports.layout import console_for
from relaywatch.cli.speaking import CouldNotTestError, command, option, words_of
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.errors import UsageError
from relaywatch.runs.proofs import Proof

_RELOAD_SECONDS = 120
Found = Iterator[tuple[Setup, Server]]


@command(
    "audit",
    N_(
        "Read configurations and say whether they let strangers through, by which line, and what to set instead."
        "\n\nPATH is a configuration file, a folder with any number of them, a copied system, a compose file, or an "
        "archive (.tar, .tar.gz, .zip)."
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@option("--server", metavar="NAME", help=N_("Take the files for this server's: postfix, exim, squid ..."))
@option(
    "--system", is_flag=True, help=N_("Look where servers usually have their configuration on this machine.")
)
@option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="NETWORK",
    help=N_("A network of yours that may pass, and that a mend lets through; may be repeated."),
)
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    show_default=True,
    help=N_("Text, JSON lines, SARIF 2.1.0, or annotations for GitHub's workflows."),
)
@option(
    "--fix",
    is_flag=True,
    help=N_("Print the smallest change that closes the holes as a diff; the report goes to standard error."),
)
@option(
    "--write",
    "is_written",
    is_flag=True,
    help=N_("With --fix: make the change, keep a backup, and put it back if the server's own check says no."),
)
@option("--reload", "is_reloaded", is_flag=True, help=N_("With --write: make the server take it up, too."))
@option(
    "--oracle",
    is_flag=True,
    help=N_(
        "Ask the server's own tools as well where they are installed (postconf, exim -bh, nginx -T ...), and say "
        "where they don't agree. They read the configuration as the server does: ask about your own only."
    ),
)
@option(
    "--prove",
    is_flag=True,
    help=N_(
        "Run the configuration in a sandbox, as it is and mended, and check it as a stranger would; needs root. "
        "With --write: write only what is proven."
    ),
)
@option(
    "--prove-root",
    "roots",
    multiple=True,
    metavar="DIRECTORY",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=N_(
        "With --prove: the root of the system in which the server is installed; may be repeated, topmost layer "
        "first. By default this machine's."
    ),
)
@option(
    "--login",
    "login_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=N_(
        "With --prove: credentials of yours to sign in with as one more control, one line of user:password or TOML "
        "with user and password, readable by you alone."
    ),
)
@option(
    "--transcript", "with_transcript", is_flag=True, help=N_("With --prove: print the whole dialogue too.")
)
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    server: str | None,
    system: bool,
    allowed: tuple[str, ...],
    form: str,
    fix: bool,
    is_written: bool,
    is_reloaded: bool,
    oracle: bool,
    prove: bool,
    roots: tuple[Path, ...],
    login_file: Path | None,
    with_transcript: bool,
) -> int:
    """Audit, mend, and prove the mend."""
    _require_sense(paths, system=system, fix=fix, is_written=is_written, is_reloaded=is_reloaded)
    prover = _prover(words_of(ctx), form, roots, login_file, prove=prove, with_transcript=with_transcript)
    run = _Run(
        words_of(ctx), form, prover, fix=fix, is_written=is_written, is_reloaded=is_reloaded, oracle=oracle
    )
    networks = _networks(allowed)
    trees = [(path, open_tree(path)) for path in paths]
    _require_known(server)
    empty = [
        path
        for path, tree in trees
        if not run.take(setups(tree, server, allowed=networks), _left_out_of(tree))
    ]
    unseen: dict[str, None] = {}
    of_the_system = system_setups(server, allowed=networks, left_out=unseen)
    if system and not run.take(of_the_system, unseen) and not trees:
        raise CouldNotTestError(
            run.words("None of the servers that we know has its configuration on this machine.")
        )
    run.end()
    if empty:
        known = run.words("no configuration of a server that we know; --server names one")
        raise UsageError(f"{', '.join(map(str, empty))}: {known}")
    return run.tally.exit_code


def _require_sense(
    paths: tuple[Path, ...], *, system: bool, fix: bool, is_written: bool, is_reloaded: bool
) -> None:
    if not paths and not system:
        raise UsageError("name a PATH, or --system")
    if is_written and not fix:
        raise UsageError("--write goes with --fix")
    if is_reloaded and not is_written:
        raise UsageError("--reload goes with --write")


def _prover(
    words: Words,
    form: str,
    roots: tuple[Path, ...],
    login_file: Path | None,
    *,
    prove: bool,
    with_transcript: bool,
) -> Prover | None:
    if (roots or login_file or with_transcript) and not prove:
        raise UsageError("--prove-root, --login and --transcript go with --prove")
    return Prover(words, form, roots, login_file, with_transcript=with_transcript) if prove else None


def _require_known(server: str | None) -> None:
    if server is not None and server not in load_servers():
        raise UsageError(f"no server is called {server!r}; there are: {', '.join(sorted(load_servers()))}")


def _networks(texts: tuple[str, ...]) -> AddressSet:
    try:
        return AddressSet.of(texts)
    except ValueError as error:
        raise UsageError(f"--allow: {error}") from error


def _left_out_of(tree: Tree) -> Mapping[str, None]:
    return tree.left_out if isinstance(tree, FolderTree) else {}


class _Run:
    """One run: reports as they come, and what they come to."""

    def __init__(
        self,
        words: Words,
        form: str,
        prover: Prover | None,
        *,
        fix: bool,
        is_written: bool,
        is_reloaded: bool,
        oracle: bool,
    ) -> None:
        self._prover, self._oracle = prover, oracle
        self.words, self.tally = words, AuditTally()
        self._form, self._fix, self._is_written, self._is_reloaded = form, fix, is_written, is_reloaded
        self._kept: list[tuple[ServerReport, Sources]] = []
        self._out = sys.stderr if fix else sys.stdout

    def take(self, found: Found, left_out: Mapping[str, None]) -> bool:
        """Audit what was found, and name the folders that were left out meanwhile; whether anything was found."""
        count = 0
        for setup, server in found:
            count += 1
            told = report(server, setup)
            if self._oracle:
                told = asked(server, setup, told)
                if disagreements(told):  # one of us is wrong, and nobody knows which
                    self.tally.add_unread()
            self._tell(told, {source.name: source for source in setup.sources.values()})
            proof = self._prover.prove(server, setup, self._out) if self._prover else None
            if self._prover and (proof is None or proof.before.trouble):
                self.tally.add_unread()
            verdict = self._mend(setup, server, told, proof) if self._fix else told.verdict
            self.tally.add(
                AuditVerdict.OPEN if proof and proof.is_open_before and verdict is told.verdict else verdict
            )
        for folder in left_out:
            self.tally.add_unread()
            self._say(self.words("{folder}: this folder can't be listed.", folder=neutralise(folder)))
        return bool(count)

    def end(self) -> None:
        """What is told once all is known."""
        if self._form == "sarif":
            log = sarif(self._kept, load_catalogue(), self.words)
            click.echo(json.dumps(log, indent=2, ensure_ascii=True), file=self._out)
        if self.tally.servers > 1:
            self._say(self.tally.said(self.words))

    def _tell(self, told: ServerReport, sources: Sources) -> None:
        if self._form == "text":
            print_audit(console_for(self._out), told, sources, load_catalogue(), self.words)
        elif self._form == "json":
            click.echo(audit_line(told), file=self._out, nl=False)
        elif self._form == "github":
            for line in workflow_commands(told, self.words):
                click.echo(line, file=self._out)
        else:
            self._kept.append((told, sources))

    def _mend(self, setup: Setup, server: Server, told: ServerReport, proof: Proof | None) -> AuditVerdict:
        """Show the change, make it if that is wished for; the verdict that then holds."""
        outcome = mended(server, setup)
        click.echo(_shown(outcome.diff), nl=False)
        for finding in outcome.left:
            if finding.verdict is not AuditVerdict.UNKNOWN:
                known = f"{finding.position}: {finding.rule}"
                self._say(self.words("{finding}: not mended; do that by hand.", finding=neutralise(known)))
        if not self._is_written or not outcome.after:
            return told.verdict
        if self._prover and not (proof and proof.holds):
            self._say(self.words("Not written: {error}", error=self.words("the mend isn't proven")))
            return told.verdict
        try:
            backups = write(outcome, setup, server, datetime.now(UTC))
        except UsageError as error:
            self._say(self.words("Not written: {error}", error=neutralise(str(error), 1000)))
            return told.verdict
        for backup in backups:
            self._say(self.words("Written; as it was: {backup}", backup=neutralise(str(backup), 1000)))
        self._reload(setup, server)
        return outcome.report.verdict

    def _reload(self, setup: Setup, server: Server) -> None:
        if not server.reload:
            return
        said = " ".join(server.reload)
        if not self._is_reloaded:
            self._say(self.words("To take it up: {command}", command=said))
        elif not setup.is_live:
            self._say(self.words("Not this machine's, so not reloaded: {command}", command=said))
        else:
            _carry_out(server.reload)
            self._say(self.words("Reloaded: {command}", command=said))

    def _say(self, text: str) -> None:
        click.echo(text, err=True)


def _shown(diff: str) -> str | bytes:
    """Octet by octet where it goes into a file or a pipe, for ``patch``; on a terminal nothing that it obeys."""
    if not sys.stdout.isatty():
        return diff.encode("utf-8", "surrogateescape")
    lines = (line.removesuffix("\r") for line in diff.split("\n")[:-1])
    return "".join(f"{neutralise(line, 4000)}\n" for line in lines)


def _carry_out(reload: tuple[str, ...]) -> None:
    said = " ".join(reload)
    program = found(reload[0])
    if program is None:
        raise CouldNotTestError(f"{said}: there is no such program; the change is made, and not taken up")
    try:
        done = subprocess.run(  # noqa: S603 -- the server's own, by its name in its module
            [program, *reload[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_RELOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CouldNotTestError(f"{said}: nothing within {_RELOAD_SECONDS} s; the change is made") from None
    if done.returncode:
        complaint = neutralise((done.stderr or done.stdout).strip())
        raise CouldNotTestError(f"{said}: {complaint}; the change is made, and not taken up")


COMMAND = audit
