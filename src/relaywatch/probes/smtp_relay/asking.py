"""Asking at RCPT level: a batch of cases in one connection, in one write where the server takes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relaywatch.model.errors import PeerClosedError
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.smtp import Session, commands

from .cases import Envelope
from .planning import by_transaction

POSTMASTER = "<Postmaster>"
"""RFC 5321 section 4.5.1: every server takes mail for it, without a domain, in any case of letters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one envelope: to its MAIL, and to its RCPT if it came to that."""

    envelope: Envelope
    mail: Reply
    rcpt: Reply | None = None


@dataclass(slots=True)
class _Line:
    verb: str
    argument: str = ""
    envelopes: tuple[Envelope, ...] = ()
    """Whose MAIL or RCPT this is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a batch went: the answers that came, the control's reply, whether the server hung up."""

    answers: tuple[Answer, ...] = ()
    control: Reply | None = None
    was_cut: bool = field(default=False)


async def ask(
    link: Link, brief: Brief, session: Session, envelopes: Sequence[Envelope], *, with_control: bool = False
) -> Asked:
    """Ask about the envelopes in an open session; MAIL once for those that share a reverse-path.

    With ``with_control`` the first transaction ends with the positive control, RCPT for the
    postmaster, which every server must take from those to whom it talks at all. Nothing goes further
    than RCPT.
    """
    lines = _lines(envelopes, with_control=with_control)
    replies: list[Reply] = []
    was_cut = False
    try:
        await commands(
            link,
            [(line.verb, line.argument) for line in lines],
            pipelined=session.pipelines,
            replies=replies,
            within=brief.patience.reply,
        )
    except PeerClosedError:
        was_cut = True
    return _read(lines, replies, was_cut=was_cut or len(replies) < len(lines))


def _lines(envelopes: Sequence[Envelope], *, with_control: bool) -> list[_Line]:
    lines: list[_Line] = []
    helo = envelopes[0].helo
    for number, run in enumerate(by_transaction(envelopes)):
        if run[0].helo != helo:
            helo = run[0].helo
            lines.append(_Line(helo.verb, helo.argument))  # which resets as well: RFC 5321 section 4.1.4
        elif number:
            lines.append(_Line("RSET"))
        lines.append(_Line("MAIL", f"FROM:{run[0].mail}", run))
        if run[0].case.forward.after_local:
            lines.append(_Line("RCPT", f"TO:{POSTMASTER}"))
        lines += [_Line("RCPT", f"TO:{envelope.rcpt}", (envelope,)) for envelope in run]
        if with_control and not number:
            lines.append(_Line("RCPT", f"TO:{POSTMASTER}"))
    return lines


def _read(lines: Sequence[_Line], replies: Sequence[Reply], *, was_cut: bool) -> Asked:
    answers: list[Answer] = []
    control: Reply | None = None
    mail: Reply | None = None
    for line, reply in zip(lines, replies, strict=False):
        if line.verb == "MAIL":
            mail = reply
            if not reply.is_positive:
                answers += [Answer(envelope, reply) for envelope in line.envelopes]
        elif line.verb == "RCPT" and mail is not None and mail.is_positive:
            if line.envelopes:
                answers.append(Answer(line.envelopes[0], mail, reply))
            else:
                control = reply
    return Asked(tuple(answers), control, was_cut)
