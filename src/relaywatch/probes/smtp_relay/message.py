"""The test message: short, and honest about who sends it, why, for whom, and how to be left alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from relaywatch.script.brief import Brief

from .cases import Envelope

TOKEN_FIELD = "X-Relaywatch-Token"  # noqa: S105, a field name


def build_message(envelopes: Iterable[Envelope], brief: Brief) -> bytes:
    """Write the message for envelopes of one transaction, in octets with CR LF line ends.

    :raises ValueError: if the sink's domain holds a line break; the identity stands in the text only.
    """
    carried = tuple(envelopes)
    token = carried[0].token
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = f"relaywatch <{brief.token('author')}@{brief.sink.domain}>"
    message["To"] = f"relaywatch <{token}@{brief.sink.domain}>"
    message["Subject"] = "Mail relay test (relaywatch)"
    if brief.now is not None:
        message["Date"] = format_datetime(brief.now)
    message["Message-ID"] = f"<{token}@{brief.sink.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: responders, keep quiet
    message["Precedence"] = "bulk"
    message[TOKEN_FIELD] = " ".join(envelope.token for envelope in carried)
    message.set_content(_text(brief, [envelope.case.name for envelope in carried]))
    return message.as_bytes()


def _text(brief: Brief, cases: Iterable[str]) -> str:
    identity = brief.identity
    for_whom = f" for {identity.requested_by}" if identity.requested_by else ""
    contact = identity.contact or "the postmaster of the domain in From"
    paragraphs = (
        (
            f"This is a test by {identity.operator}{for_whom}, made with relaywatch. It asks whether the "
            f"mail server at {brief.endpoint} carries mail from strangers to strangers. If this message has "
            "come to our own mailbox, it does, and its administrator will be told."
        ),
        "If it has come to you instead, nothing is wanted of you, and nothing more will follow by itself.",
        f"Questions, and how not to be tested again: {contact}",
        f"Cases: {', '.join(cases)}.",
    )
    # An address to write to, or a page, is of no use in two pieces.
    whole = textwrap.TextWrapper(76, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(whole.fill(paragraph) for paragraph in paragraphs) + "\n"
