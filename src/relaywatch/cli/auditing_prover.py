"""``audit --prove``: the proof of each mend, told as the report is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import click

from relaywatch.audit.server import Server
from relaywatch.audit.setup import Setup
from relaywatch.runs.logins import read_login
from relaywatch.runs.proofs import Proof
from relaywatch.runs.proving import can_prove, prove
from relaywatch.runs.sandbox import require

from .language import Words
from .reports.auditing_proof import print_proof
from .reports.auditing_proof_lines import proof_line
from .reports.layout import console_for
from .untrusted import neutralise

_SYSTEM = (Path("/"),)


class Prover:
    """Proves mends, one after the other."""

    def __init__(
        self,
        words: Words,
        form: str,
        roots: tuple[Path, ...],
        login_file: Path | None,
        *,
        with_transcript: bool,
    ) -> None:
        """Refuse where there can be no sandbox, or the file with credentials is no such file.

        :raises UsageError: naming what is missing.
        """
        require()
        self._login = read_login(login_file) if login_file else None
        self._words, self._form, self._with_transcript = words, form, with_transcript
        self._layers = tuple(root.resolve() for root in roots) or _SYSTEM

    def prove(self, server: Server, setup: Setup, out: TextIO) -> Proof | None:
        """Prove one server's mend and tell what was seen; nothing if we don't know how to start it.

        Beside annotations and SARIF, which have no place for it, it is told on standard error.
        """
        if not can_prove(server):
            known = self._words("{server}: can't be started in the sandbox.", server=server.name)
            click.echo(known, err=True)
            return None
        proof = prove(server, setup, layers=self._layers, login=self._login, tell=self._tell)
        if self._form == "json":
            click.echo(proof_line(proof), file=out, nl=False)
        else:
            console = console_for(out if self._form == "text" else sys.stderr)
            print_proof(console, proof, self._words, with_transcript=self._with_transcript)
        return proof

    def _tell(self, client: str) -> None:
        said = self._words("The sandbox is up; checking from {address} ...", address=neutralise(client))
        click.echo(said, err=True)
