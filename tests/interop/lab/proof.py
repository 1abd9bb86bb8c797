"""The proof of a truth: swaks sends a case's envelopes, and the sink's journal says what arrived."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import swaks
from .cases import Case, Envelope, Outcome

_ARRIVES = 30.0  # seconds a message has to arrive
_SILENT = 4.0  # seconds without an arrival that count as none; a delivery on one machine takes less than one

#: The forms that every closed server is asked, by label: what differs from a plain envelope.
_CLASSIC: dict[str, dict[str, str]] = {
    "plain": {},
    "null reverse-path": {"reverse_path": ""},
    "claims its host": {"reverse_path": "postmaster@{host}"},
    "claims its domain": {"reverse_path": "postmaster@{hosted}"},
    "claims localhost": {"reverse_path": "root@localhost"},
    "greets by its name": {"ehlo": "{host}"},
    "greets as localhost": {"ehlo": "localhost"},
    "percent, host": {"forward_path": "{token}%sink.example@{host}"},
    "percent, domain": {"forward_path": "{token}%sink.example@{hosted}"},
    "quoted": {"forward_path": '"{token}@sink.example"@{hosted}'},
    "double at": {"forward_path": "{token}@sink.example@{hosted}"},
    "source route": {"forward_path": "@{host}:{token}@sink.example"},
    "bang path": {"forward_path": "sink.example!{token}@{hosted}"},
    "bare bang path": {"forward_path": "sink.example!{token}"},
    "MX pointing": {"forward_path": "{token}@{pointing}"},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one envelope, the server's refusing reply ("" if none) and the dialogue."""

    envelope: Envelope
    outcome: str
    reply: str
    dialogue: str

    @property
    def holds(self) -> bool:
        """Whether the outcome is the one that the case states."""
        return self.outcome == self.envelope.outcome and self.reply.startswith(self.envelope.reply)

    def __str__(self) -> str:
        """Say the envelope and its outcome in one line."""
        wanted = f"{self.envelope.outcome} {self.envelope.reply}".strip()
        label = self.envelope.label or self.envelope.forward_path
        return f"{label}: {self.outcome} {self.reply} (stated: {wanted})"


class Journal:
    """What arrived at the sink, read from the recorder's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def outcome(self, token: str) -> Outcome | None:
        """Return DELIVERED if the token's mailbox got mail, BOUNCED if its reverse-path did, else None."""
        outcome = None
        for line in self._path.read_text(encoding="utf-8").splitlines():
            arrival = json.loads(line)
            mailboxes = " ".join(arrival["forward_paths"])
            if token not in mailboxes:
                continue
            if f"bounce-{token}" not in mailboxes:
                return Outcome.DELIVERED
            outcome = Outcome.BOUNCED
        return outcome

    def wait(self, token: str, seconds: float) -> Outcome | None:
        """Return the token's outcome as soon as there is one, None if there is none in the time."""
        deadline = time.monotonic() + seconds
        while not (outcome := self.outcome(token)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return outcome


def envelopes(case: Case) -> list[Envelope]:
    """Return a case's own envelopes, then the classic forms if it states their outcome."""
    own = list(case.truth.envelopes)
    return own if case.truth.classic is None else [*own, *_classic(case.truth.classic)]


def prove(case: Case, inside: list[str], journal: Journal, note: Callable[[Finding], None]) -> list[Finding]:
    """Send every envelope of a case and return what became of each."""
    findings = []
    for envelope in envelopes(case):
        findings.append(_prove(case, envelope, inside, journal))
        note(findings[-1])
    return findings


def _classic(outcome: Outcome) -> list[Envelope]:
    forms = [
        msgspec.convert({"outcome": outcome, "label": label} | form, Envelope)
        for label, form in _CLASSIC.items()
    ]
    return [*forms, Envelope(outcome=outcome, label="plain, IPv6", family="ipv6")]


def _prove(case: Case, envelope: Envelope, inside: list[str], journal: Journal) -> Finding:
    token = secrets.token_hex(8)
    answer = swaks.send(inside, case, envelope, token)
    if envelope.retry_after:
        if answer.accepted or not answer.reply.startswith("4"):
            return Finding(envelope, "not deferred", answer.reply, answer.dialogue)
        time.sleep(envelope.retry_after)
        answer = swaks.send(inside, case, envelope, token)
    arrived = journal.wait(token, _patience(envelope, answer))
    outcome = arrived or (Outcome.KEPT if answer.accepted else Outcome.REFUSED)
    return Finding(envelope, outcome, answer.reply, answer.dialogue)


def _patience(envelope: Envelope, answer: swaks.Answer) -> float:
    if not answer.accepted:
        return 0
    return _SILENT if envelope.outcome in {Outcome.KEPT, Outcome.REFUSED} else _ARRIVES
