"""Asking at RCPT level: a batch of cases in one connection, in one write where the server takes that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relaywatch.model.errors import PeerClosedError, ReadTimeoutError, RemoteProtocolError
from relaywatch.model.smtp import Reply
from relaywatch.script.brief import Brief
from relaywatch.script.link import Link
from relaywatch.script.smtp import Session, command, commands, leave

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
    local: Reply | None = None
    """What it said to the target's own forward-path that went before, where the form wants one."""


@dataclass(frozen=True, slots=True)
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
    refusals: int = 0
    """Refusals that it cost; what a pipelined RCPT gets behind a refused MAIL is part of that one."""
    farewell: Reply | None = None
    """The 421 with which the server closed: an answer to nothing that was asked."""
    was_cut: bool = False
    """Whether the server closed before the end."""
    trouble: ReadTimeoutError | RemoteProtocolError | None = None
    """What else ended it: silence, or words that are no reply."""


async def ask(
    link: Link,
    brief: Brief,
    session: Session,
    envelopes: Sequence[Envelope],
    *,
    with_control: bool = False,
    transaction_size: int | None = None,
) -> Asked:
    """Ask about the envelopes in an open session; MAIL once for those that share a reverse-path.

    With ``with_control`` the first transaction ends with the positive control, RCPT for the
    postmaster, which every server must take from those to whom it talks at all. Nothing goes further
    than RCPT.
    """
    lines = _lines(by_transaction(envelopes, transaction_size), with_control=with_control)
    asked: list[tuple[_Line, Reply]] = []
    was_cut = False
    trouble: ReadTimeoutError | RemoteProtocolError | None = None
    try:
        if session.pipelines:
            await _ask_in_groups(link, brief, lines, asked)
        else:
            await _ask_one_by_one(link, brief, lines, asked)
    except PeerClosedError:
        was_cut = True
    except (ReadTimeoutError, RemoteProtocolError) as error:
        trouble = error
    farewell = asked.pop()[1] if asked and asked[-1][1].code == 421 else None
    read = _read(asked)
    return replace(read, farewell=farewell, was_cut=was_cut or farewell is not None, trouble=trouble)


async def finish(link: Link, asked: Asked) -> None:
    """Take leave, of a server that hasn't done so itself."""
    if asked.was_cut or asked.trouble:
        await link.close()
    else:
        await leave(link)


async def _ask_in_groups(
    link: Link, brief: Brief, lines: Sequence[_Line], asked: list[tuple[_Line, Reply]]
) -> None:
    replies: list[Reply] = []
    written = [(line.verb, line.argument) for line in lines]
    try:
        await commands(link, written, pipelined=True, replies=replies, within=brief.patience.reply)
    finally:
        asked += zip(lines, replies, strict=False)


async def _ask_one_by_one(
    link: Link, brief: Brief, lines: Sequence[_Line], asked: list[tuple[_Line, Reply]]
) -> None:
    """Send each command when the one before is answered, and none that has become pointless."""
    is_pointless = False
    for line in lines:
        if line.verb != "RCPT":
            is_pointless = False
        if is_pointless:
            continue
        reply = await command(link, line.verb, line.argument, within=brief.patience.reply)
        asked.append((line, reply))
        if reply.code == 421:
            return
        is_pointless = line.verb == "MAIL" and not reply.is_positive


def _lines(runs: Iterable[tuple[Envelope, ...]], *, with_control: bool) -> list[_Line]:
    lines: list[_Line] = []
    for number, run in enumerate(runs):
        if number:
            lines.append(_Line("RSET"))
        lines.append(_Line("MAIL", f"FROM:{run[0].mail}", run))
        if run[0].case.forward.after_local:
            lines.append(_Line("RCPT", f"TO:{POSTMASTER}"))
        lines += [_Line("RCPT", f"TO:{envelope.rcpt}", (envelope,)) for envelope in run]
        if with_control and not number:
            lines.append(_Line("RCPT", f"TO:{POSTMASTER}"))
    return lines


def _read(asked: Sequence[tuple[_Line, Reply]]) -> Asked:
    answers: list[Answer] = []
    control: Reply | None = None
    mail: Reply | None = None
    refusals = 0
    for line, reply in asked:
        if line.verb == "MAIL":
            mail = reply
            refusals += not reply.is_positive
            if not reply.is_positive:
                answers += [Answer(envelope, reply) for envelope in line.envelopes]
        elif line.verb == "RCPT" and mail is not None and mail.is_positive:
            refusals += not reply.is_positive
            if line.envelopes:
                local = control if line.envelopes[0].case.forward.after_local else None
                answers.append(Answer(line.envelopes[0], mail, reply, local))
            else:
                control = reply
    return Asked(tuple(answers), control, refusals)
