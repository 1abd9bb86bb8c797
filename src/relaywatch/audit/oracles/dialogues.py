"""What a mail server answers to the stranger's own words, in a dialogue that goes nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditVerdict, OracleAnswer, Position
from relaywatch.audit.witness import STRANGER, witness
from relaywatch.model.evidence import Weakness

from .asking import Question, Said, SilentError, agrees, ask, disagrees

_SPOKEN = frozenset({ClaimKind.REVERSE_PATH, ClaimKind.HELO, ClaimKind.FORWARD_PATH})
_COMMANDS = ("EHLO", "MAIL", "RCPT")
_REPLY = re.compile(r"^(\d{3})(?: .*)?$", re.MULTILINE)
_RETURNS = re.compile(r"^check_rcpt\s+returns:(.*)$", re.MULTILINE)
_PATH = re.compile(r"<(.*)>")
_MOST = 5
"""Dialogues: the exim daemon's start costs its time."""


@dataclass(frozen=True, slots=True)
class _Words:
    """What a stranger says, and what we say that comes of it."""

    client: str
    commands: tuple[str, ...]
    gets_through: bool
    position: Position | None = None

    def path(self, verb: str) -> str:
        """The path of a command."""
        text = next((one for one in self.commands if one.startswith(verb)), "")
        found = _PATH.search(text)
        return found[1] if found else ""


def exim(question: Question) -> Iterator[OracleAnswer]:
    """Exim -bh: a fake SMTP session from an address of the stranger's; what it says holds for the real one."""
    if question.main.name == "update-exim4.conf.conf" and not question.is_installed:
        raise SilentError("Debian's questions are made into a configuration where it is installed only")
    named = () if question.main.name == "update-exim4.conf.conf" else ("-C", str(question.main))
    for words in _asked(question):
        lines = ["EHLO stranger.example", *words.commands, "QUIT"]
        if words.commands[0].startswith("EHLO"):
            lines = lines[1:]
        said = ask("exim4|exim", *named, "-bh", words.client, stdin="".join(f"{line}\r\n" for line in lines))
        replies = _REPLY.findall(said.output.replace("\r", ""))
        asked_for = len(lines)  # each has an answer, and the greeting comes first
        if len(replies) < asked_for:
            refusal = next((one for one in replies if one.startswith(("4", "5"))), "")
            if not refusal:
                raise SilentError(said.complaint or "it doesn't answer")
            replies = [refusal] * asked_for  # it hung up
        reply = replies[asked_for - 1]
        whole = next(line for line in said.output.splitlines()[::-1] if line.startswith(reply))
        yield _answered(said, words, accepted=reply.startswith("25"), reply=whole.strip())


def sendmail(question: Question) -> Iterator[OracleAnswer]:
    """Sendmail -bt: check_rcpt with the stranger's address."""
    if question.main.suffix != ".cf":
        raise SilentError("only what was made of it, sendmail.cf, can be asked")
    for words in _asked(question):
        lines = [
            f".D{{client_addr}}{words.client}",
            f".D{{client_name}}[{words.client}]",
            ".D{client_resolve}FAIL",
            f".Df{words.path('MAIL')}",
            f"check_rcpt <{words.path('RCPT')}>",
        ]
        said = ask("sendmail", "-C", str(question.main), "-bt", stdin="\n".join(lines) + "\n")
        returned = _RETURNS.findall(said.output)
        if not returned:
            raise SilentError(said.complaint or "it says nothing of check_rcpt")
        reply = " ".join(returned[-1].split())
        yield _answered(
            said, words, accepted="$# error" not in reply and "$# discard" not in reply, reply=reply
        )


def _answered(said: Said, words: _Words, *, accepted: bool, reply: str) -> OracleAnswer:
    subject = "; ".join([f"from {words.client}", *words.commands])
    if accepted == words.gets_through:
        return agrees(said, subject)
    ours = "accepted" if words.gets_through else "refused"
    return disagrees(said, subject, theirs=reply, ours=ours, position=words.position)


def _asked(question: Question) -> Iterator[_Words]:
    """The plain stranger, and whoever a finding says gets through by his words alone."""
    findings = [one for one in question.report.findings if one.verdict in _THROUGH]
    spoken = [
        one for one in findings if {claim.kind for claim in one.claims if not claim.negated} <= _SAYABLE
    ]
    is_open = any(not [claim for claim in one.claims if not claim.is_free] for one in findings)
    if question.report.verdict in {AuditVerdict.CLOSED, AuditVerdict.OPEN_IF} and not is_open:
        yield _Words(STRANGER, _commands(witness(Weakness.OPEN_RELAY, ())), gets_through=False)
    for finding in spoken[:_MOST]:
        yield _Words(
            _client(finding.claims), _commands(finding.witness), gets_through=True, position=finding.position
        )


_THROUGH = frozenset({AuditVerdict.OPEN, AuditVerdict.OPEN_IF})
_SAYABLE = _SPOKEN | {ClaimKind.CLIENT_ADDRESS}


def _client(claims: tuple[Claim, ...]) -> str:
    """An address out of the first network that he must come from."""
    for claim in claims:
        if claim.kind is ClaimKind.CLIENT_ADDRESS and not claim.negated:
            network = ip_network(claim.value.split(", ")[0], strict=False)
            return str(network[min(1, network.num_addresses - 1)])
    return STRANGER


def _commands(said: str) -> tuple[str, ...]:
    return tuple(part for part in said.split("; ") if part.startswith(_COMMANDS))
