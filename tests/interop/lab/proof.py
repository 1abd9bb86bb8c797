"""The proof of a truth: swaks sends a case's envelopes, and the sink's journal says what arrived."""

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import swaks
from .cases import Case, Envelope, Outcome, Request

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
    """What became of one envelope or request, the server's refusing reply ("" if none) and the dialogue."""

    stated: Envelope | Request
    outcome: str
    reply: str
    dialogue: str

    @property
    def holds(self) -> bool:
        """Whether the outcome is the one that the case states."""
        stated = self.stated.outcome
        meant = {Outcome.REFUSED, Outcome.KEPT} if stated is Outcome.STOPPED else {stated}
        return self.outcome in meant and self.reply.startswith(self.stated.reply)

    def __str__(self) -> str:
        """Say what was asked and its outcome in one line."""
        wanted = f"{self.stated.outcome} {self.stated.reply}".strip()
        return f"{self.stated.title}: {self.outcome} {self.reply} (stated: {wanted})"


class Journal:
    """What arrived at the sink, read from the recorder's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def outcome(self, token: str) -> Outcome | None:
        """Return DELIVERED if the token's mailbox got mail, BOUNCED if its reverse-path did, else None."""
        outcome = None
        for line in self._path.read_text(encoding="utf-8").splitlines():
            arrival = json.loads(line)
            mailboxes = " ".join(arrival.get("forward_paths", ()))
            if token not in mailboxes:
                continue
            if f"bounce-{token}" not in mailboxes:
                return Outcome.DELIVERED
            outcome = Outcome.BOUNCED
        return outcome

    def wait(self, token: str, deadline: float) -> Outcome | None:
        """Return the token's outcome as soon as there is one, None if there is none by the (monotonic) time."""
        while not (outcome := self.outcome(token)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return outcome


def envelopes(case: Case) -> list[Envelope]:
    """Return a case's own envelopes, then the classic forms if it states their outcome."""
    own = list(case.truth.envelopes)
    return own if case.truth.classic is None else [*own, *_classic(case.truth.classic)]


def prove(case: Case, inside: list[str], journal: Journal) -> list[Finding]:
    """Send every envelope of a case, wait for what has to arrive, and return what became of each."""
    return [
        _settle(sent, journal) for sent in [_send(case, envelope, inside) for envelope in envelopes(case)]
    ]


@dataclass(frozen=True, slots=True)
class _Sent:
    envelope: Envelope
    token: str
    answer: swaks.Answer
    deferred: bool
    at: float


def _send(case: Case, envelope: Envelope, inside: list[str]) -> _Sent:
    token = secrets.token_hex(8)
    answer = swaks.send(inside, case, envelope, token)
    deferred = not answer.accepted and answer.reply.startswith("4")
    if envelope.retry_after and deferred:
        time.sleep(envelope.retry_after)
        answer = swaks.send(inside, case, envelope, token)
    return _Sent(envelope, token, answer, deferred, time.monotonic())


def _settle(sent: _Sent, journal: Journal) -> Finding:
    patience = _ARRIVES if sent.envelope.outcome in {Outcome.DELIVERED, Outcome.BOUNCED} else _SILENT
    arrived = journal.wait(sent.token, sent.at + (patience if sent.answer.accepted else 0))
    outcome: str = arrived or sent.answer.outcome
    if sent.envelope.retry_after and not sent.deferred:
        outcome += ", never deferred"
    return Finding(sent.envelope, outcome, sent.answer.reply, sent.answer.dialogue)


def _classic(outcome: Outcome) -> list[Envelope]:
    forms = [
        msgspec.convert({"outcome": outcome, "label": label} | form, Envelope)
        for label, form in _CLASSIC.items()
    ]
    return [*forms, Envelope(outcome=outcome, label="plain, IPv6", family="ipv6")]
