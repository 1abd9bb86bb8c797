"""A mend's proof as a JSON line, its field names a contract (``relaywatch.audit-proof/1``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relaywatch.model.results import ResultLine
from relaywatch.runs.proofs import Proof, SignedInUsers, Stage, Tried
from relaywatch.script.signing_in import SigningIn

from .lines import named_line, named_schema_of

PROOF_SCHEMA = "relaywatch.audit-proof/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLine:
    """Who tried, and what he came to."""

    client: str
    """The address from which he came."""
    is_own_machine: bool
    """Whether that is the server's own."""
    gets_through: bool
    """Whether something of ours arrived through the server."""
    is_refused: bool
    """Whether everything was asked, and refused."""
    is_cut_short: bool
    """Whether there was no time to ask everything."""
    results: tuple[ResultLine, ...]
    """What the check came to: the lines of ``relaywatch check``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInLine:
    """What signing in came to at one port."""

    port: int
    protocol: str
    """smtp, http or socks5."""
    outcome: SigningIn
    """Offered is what is seen where no credentials were given."""
    said: str
    """The answer that decided it; the password is left out of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLine:
    """One configuration, running in the sandbox."""

    trouble: str | None
    """Why it doesn't run, with the server's last words."""
    listeners: tuple[str, ...]
    """Address and port, a space between them."""
    stranger: ClientLine | None
    controls: tuple[ClientLine, ...]
    signed_in: tuple[SignedInLine, ...]
    """The control with the owner's credentials, from the stranger's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofLine:
    """What the sandbox showed of one server, before and after the mend."""

    server: str
    path: str
    is_proven: bool
    """All of the three that follow, and with credentials of the owner's that ``signed_in`` is neither lost nor refused."""
    is_open_before: bool
    is_closed_after: bool
    is_control_kept: bool
    """Whether the owner's clients who got through before still do, and there are any."""
    is_left_to_credentials: bool
    """Whether the mended one serves nobody but who has credentials."""
    signed_in: SignedInUsers
    """What the mend does to users who sign in: tried with the owner's credentials, if he gave any."""
    diff: str
    """The mend that was tried; empty where there is none."""
    before: StageLine
    after: StageLine | None


def proof_line(proof: Proof) -> bytes:
    """The proof as a JSON line, with its LF."""
    line = ProofLine(
        server=proof.server,
        path=proof.path,
        is_proven=proof.holds,
        is_open_before=proof.is_open_before,
        is_closed_after=proof.is_closed_after,
        is_control_kept=proof.is_control_kept,
        is_left_to_credentials=proof.is_left_to_credentials,
        signed_in=proof.signed_in,
        diff=proof.diff,
        before=_stage(proof.before),
        after=_stage(proof.after) if proof.after else None,
    )
    return named_line(line, PROOF_SCHEMA)


def proof_schema() -> dict[str, Any]:
    """The JSON Schema of a line, made from the type itself."""
    return named_schema_of(ProofLine, PROOF_SCHEMA)


def _stage(stage: Stage) -> StageLine:
    return StageLine(
        trouble=stage.trouble or None,
        listeners=tuple(f"{one.address} {one.port}" for one in stage.listeners),
        stranger=_client(stage.stranger) if stage.stranger else None,
        controls=tuple(map(_client, stage.controls)),
        signed_in=tuple(
            SignedInLine(port=one.port, protocol=one.protocol, outcome=one.outcome, said=one.said)
            for one in stage.signed_in
        ),
    )


def _client(tried: Tried) -> ClientLine:
    return ClientLine(
        client=tried.client,
        is_own_machine=tried.is_own_machine,
        gets_through=tried.gets_through,
        is_refused=tried.is_refused,
        is_cut_short=tried.is_cut_short,
        results=tuple(report.line for report in tried.reports),
    )
