"""A mend's proof, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from relaywatch.cli.language import N_, Words
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.results import FindingLine
from relaywatch.runs.proofs import Proof, SignedInUsers, Stage, Tried
from relaywatch.script.signing_in import SigningIn

from .layout import Prose, Verbatim, print_parts, prose
from .phrases import PROOFS
from .transcript import transcript_lines

_MOST_SHOWN = 4
_LAST_LINES = 12
_AS_IT_IS, _MENDED = N_("As it is"), N_("Mended")


def print_proof(console: Console, proof: Proof, words: Words, *, with_transcript: bool = False) -> None:
    """Print what the sandbox showed, and every dialogue if that is wished for."""
    print_parts(console, *proof_report(proof, words))
    if with_transcript:
        for title, stage in _stages(proof):
            for tried in (*filter(None, (stage.stranger,)), *stage.controls):
                print_parts(console, *_transcripts(f"{words(title)}, {tried.client}", tried))


def proof_report(proof: Proof, words: Words) -> Iterator[RenderableType]:
    """The parts of the report, in the order in which they are read."""
    if proof.holds:
        yield Text.assemble(
            (words("PROVEN"), "bold green"),
            "  ",
            (words("{server}: open before, closed after, and it still serves.", server=proof.server), "bold"),
        )
    else:
        yield Text.assemble(
            (words("NOT PROVEN"), "bold yellow"), "  ", (f"{proof.server}: {_why_not(proof, words)}", "bold")
        )
    for title, stage in _stages(proof):
        yield from _stage(words(title), stage, words)
    if said := _left_untried(proof, words):
        yield prose(said, 2, "yellow")
    yield prose("")


def _left_untried(proof: Proof, words: Words) -> str:
    """What to say of users who sign in if nobody did; nothing where nobody could."""
    if proof.has_login:
        if proof.before.trouble or any(stage.has_signed_in for _, stage in _stages(proof)):
            return ""
        return words("The credentials of --login were not tried: none are asked for by SMTP, HTTP or SOCKS5.")
    if any(stage.signed_in_with(SigningIn.OFFERED) for _, stage in _stages(proof)):
        return words("Users who sign in were not tried: --login FILE names credentials of yours.")
    return ""


def _stages(proof: Proof) -> Iterator[tuple[str, Stage]]:
    yield _AS_IT_IS, proof.before
    if proof.after:
        yield _MENDED, proof.after


def _why_not(proof: Proof, words: Words) -> str:
    after = proof.after
    if proof.before.trouble:
        return words("it could not be started in the sandbox.")
    if not proof.is_open_before:
        return words("nothing of the stranger's got through as it is.")
    if after is None:
        return words("the stranger gets through, and there is no mend to try.")
    if after.trouble:
        return words("mended it doesn't start.")
    return (
        _why_not_served(proof, words)
        if proof.is_closed_after
        else words("mended it still doesn't refuse everything.")
    )


def _why_not_served(proof: Proof, words: Words) -> str:
    if proof.signed_in is SignedInUsers.LOST:
        return words("mended it no longer serves users who sign in.")
    if proof.signed_in is SignedInUsers.REFUSED:
        return words("the credentials of --login were refused as it is, so they say nothing of the mend.")
    if proof.is_left_to_credentials:
        return words(
            "closed, but for whoever has a password or a key: none are guessed, so try that yourself."
        )
    if proof.allowed:
        return words("mended it no longer serves the networks that --allow names.")
    return words("mended it no longer serves its own machine: name your networks with --allow.")


def _stage(title: str, stage: Stage, words: Words) -> Iterator[RenderableType]:
    if stage.trouble:
        head, *said = stage.trouble.splitlines()
        yield Prose(Text.assemble((f"{title}: ", "bold"), neutralise(head, 1000)), 2)
        yield from (Verbatim(neutralise(line, 400), 4, "dim") for line in said[-_LAST_LINES:])
        return
    ports = ", ".join(dict.fromkeys(str(one.port) for one in stage.listeners))
    yield Prose(Text.assemble((f"{title}: ", "bold"), words("listens on {ports}", ports=ports)), 2)
    if stage.stranger:
        who = words("a stranger, {address}", address=stage.stranger.client)
        yield from _tried(who, stage.stranger, words, is_wanted=False)
    for control in stage.controls:
        who = words("for control, {address}", address=control.client)
        yield from _tried(who, control, words, is_wanted=True)
    yield from _signed_in(stage, words)


_SIGNED_IN = {
    SigningIn.THROUGH: (N_("gets through"), "green"),
    SigningIn.REFUSED: (N_("is refused"), "yellow"),
    SigningIn.OFFERED: (N_("would be taken"), "dim"),
}


def _signed_in(stage: Stage, words: Words) -> Iterator[RenderableType]:
    for one in stage.signed_in:
        if one.outcome in _SIGNED_IN:
            said, style = _SIGNED_IN[one.outcome]
            who = words("with credentials, {protocol} at {port}", protocol=one.protocol, port=one.port)
            heard = f"  {neutralise(one.said, 200)}" if one.said else ""
            yield Prose(Text.assemble(f"{who}: ", (words(said), style), (heard, "dim")), 4)


def _tried(who: str, tried: Tried, words: Words, *, is_wanted: bool) -> Iterator[RenderableType]:
    if tried.gets_through:
        said, style = words("gets through"), "green" if is_wanted else "bold red"
    elif tried.is_refused:
        said, style = words("is refused"), "yellow" if is_wanted else "green"
    elif tried.is_cut_short:
        said, style = words("could not ask everything in time"), "magenta"
    else:
        said, style = words("doesn't get through"), "magenta"
    asked = sum(door.asked for report in tried.reports for door in report.line.doors)
    answered = words("{count} cases answered", count=asked)
    yield Prose(Text.assemble(f"{who}: ", (said, style), (f"  ({answered})", "dim")), 4)
    findings = [finding for report in tried.reports for finding in report.line.findings]
    for finding in findings[: 0 if is_wanted else _MOST_SHOWN]:
        yield prose(_finding(finding, words), 6, "dim")
    reasons = dict.fromkeys(reason for report in tried.reports for reason in report.line.reasons)
    if reasons and not tried.gets_through:
        yield prose(", ".join(reasons), 6, "dim")


def _finding(finding: FindingLine, words: Words) -> str:
    door = f"{finding.port} {finding.family}"
    reply = neutralise(finding.reply, 200)
    return f"{finding.advisory}  {finding.case}, {door}: {words(PROOFS[finding.proof])}; {reply}"


def _transcripts(title: str, tried: Tried) -> Iterator[RenderableType]:
    yield prose(title, style="bold")
    for attempt in (one for report in tried.reports for one in report.attempts):
        yield from (Verbatim(text, 0, "") for text in transcript_lines(attempt))
        yield prose("")
