"""Proving a yes: one message to our own mailbox, and waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relaywatch.model.errors import NetworkError, RemoteProtocolError
from relaywatch.model.evidence import Fact
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.smtp import Session, command, open_session, read_reply
from relaywatch.wire.smtp import encode_command, encode_message

from .asking import POSTMASTER
from .cases import Envelope
from .message import build_message
from .readings import read_refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far an envelope got."""

    envelope: Envelope
    fact: Fact
    reply: Reply | None = None
    detail: str = ""
    is_sent: bool = False
    """Whether the message left us whole, whatever was answered then."""


def reason_not_to_send(envelope: Envelope, brief: Brief, *, may_be_local: bool) -> str:
    """Why this envelope stops before DATA, empty if it needn't.

    ``may_be_local``: the message may well end in somebody's mailbox at the target, or at a domain that
    nobody named.
    """
    if not brief.leave.mail:
        return brief.leave.mail_withheld_because or "not-sent"
    if not envelope.case.reverse.is_ours and not brief.leave.local_reverse_paths:
        return "not-sent"  # a bounce would land in a mailbox of the target's
    if (may_be_local or envelope.case.forward.after_local) and not brief.leave.local_mailboxes:
        return "not-sent"  # somebody at the target would get it, or a copy
    return ""


async def deliver(link: Link, brief: Brief, envelopes: Sequence[Envelope]) -> tuple[Outcome, ...]:
    """Hand one message over for envelopes that share HELO and reverse-path, and say how far each got.

    All of them have been accepted at RCPT level before; a server may change its mind, and does at
    DATA. A connection that breaks leaves what was accepted as accepted.
    """
    stage: dict[str, Outcome] = {}
    broken = ""
    try:
        session = await open_session(link, brief, envelopes[0].helo)
        if session.is_ready and session.has_tls_for(brief.door.transport):
            await _transact(link, brief, session, envelopes, stage)
        else:
            stage.update({envelope.token: _withheld(envelope, session.last_reply) for envelope in envelopes})
    except (NetworkError, RemoteProtocolError) as error:
        broken = str(error) or type(error).__name__
    await link.close()
    return tuple(
        stage.get(envelope.token, Outcome(envelope, Fact.ACCEPTED, None, f"not-sent: {broken}"))
        for envelope in envelopes
    )


async def _transact(
    link: Link, brief: Brief, session: Session, envelopes: Sequence[Envelope], stage: dict[str, Outcome]
) -> None:
    within = brief.patience.reply
    mail = await command(link, "MAIL", f"FROM:{envelopes[0].mail}", within=within)
    if mail.is_positive and envelopes[0].case.forward.after_local:
        await command(link, "RCPT", f"TO:{POSTMASTER}", within=within)
    accepted: list[Envelope] = []
    for envelope in envelopes:
        reply = (
            await command(link, "RCPT", f"TO:{envelope.rcpt}", within=within) if mail.is_positive else mail
        )
        stage[envelope.token] = _stopped(envelope, reply)
        if reply.is_positive:
            accepted.append(envelope)
    if not accepted:
        return
    message = build_message(accepted, brief)
    wants_bdat = any(envelope.case.forward.name == "bdat" for envelope in accepted)
    if wants_bdat and "CHUNKING" in session.extensions:
        octets = encode_command("BDAT", f"{len(message)} LAST") + message
    else:
        octets = encode_message(message)
        go_ahead = await command(link, "DATA", within=brief.patience.data_reply)
        if not go_ahead.is_intermediate:
            stage.update({envelope.token: _no_go_ahead(envelope, go_ahead) for envelope in accepted})
            return
    # From here on the message may have been taken, whatever becomes of the connection.
    unanswered = "no reply to the message"
    stage.update({e.token: Outcome(e, Fact.HANDED_OVER, None, unanswered, is_sent=True) for e in accepted})
    await link.send(octets)
    reply = await read_reply(link, within=brief.patience.data_reply)
    stage.update({envelope.token: _ended(envelope, reply) for envelope in accepted})
    await link.send(encode_command("QUIT"))


def _stopped(envelope: Envelope, reply: Reply) -> Outcome:
    """How far it got by the reply to MAIL or RCPT."""
    if reply.is_positive:
        return Outcome(envelope, Fact.ACCEPTED, reply, "not-sent")
    return _refused(envelope, reply)


def _no_go_ahead(envelope: Envelope, reply: Reply) -> Outcome:
    """How far it got by a reply to DATA that is no 354."""
    if reply.is_positive:
        return Outcome(envelope, Fact.ACCEPTED, reply, "not-sent: a yes to DATA that is no 354")
    return _refused(envelope, reply)


def _ended(envelope: Envelope, reply: Reply) -> Outcome:
    """How far it got by the reply to the message."""
    outcome = Outcome(envelope, Fact.QUEUED, reply) if reply.is_positive else _refused(envelope, reply)
    return replace(outcome, is_sent=True)


def _refused(envelope: Envelope, reply: Reply) -> Outcome:
    fact = read_refusal(reply)
    if fact is Fact.RATE_LIMITED:
        return _withheld(envelope, reply)
    if fact is Fact.DEFERRED:
        return Outcome(envelope, fact, reply)
    return Outcome(envelope, Fact.REFUSED, reply, fact.value if fact is not Fact.REFUSED else "")


def _withheld(envelope: Envelope, reply: Reply) -> Outcome:
    """The server closed on us, which takes nothing back of the yes that it gave before."""
    return Outcome(envelope, Fact.ACCEPTED, reply, "not-sent: the server closed")
