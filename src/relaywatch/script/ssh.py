"""What an SSH server's answers to a forwarding without credentials come to (RFC 4252, RFC 4254 section 7.2)."""

from __future__ import annotations

import re

from relaywatch.model.canary import canary_words
from relaywatch.model.errors import NotPermittedError, PeerClosedError, RemoteProtocolError
from relaywatch.model.places import Endpoint
from relaywatch.model.tokens import Token

from .brief import Brief
from .link import Link
from .ops import ForwardBySSH, SSHForwarding
from .tunnels import Answer, CanaryKind, Destination, Opening, as_text

USERNAME = "anonymous"
"""A request names some user (RFC 4252 section 5): this one, which is nobody's, and method ``none`` alone.

That guesses no credentials, since ``none`` brings none; a server that admits it would admit whoever comes.
"""
_FAILED = re.compile(
    r"connection refused|timed? ?out|unreachable|no route|connect(?:ion)? failed|host is down", re.IGNORECASE
)
"""What servers say when they may forward, and can't connect; of what they may not do they say something else."""


async def forward(brief: Brief, destination: Destination, token: Token) -> SSHForwarding:
    """Ask for a forwarding to the destination, and say the token through it.

    :raises NetworkError: if there is no connection to be had.
    :raises RemoteProtocolError: if the server and we don't get as far as the question.
    """
    is_mail = destination.kind is CanaryKind.SMTP  # takes our words early, and greets before it answers
    words = b"VRFY " + token.encode() if is_mail else canary_words(token)
    to = Endpoint(destination.address, destination.port)
    within = brief.patience.tunnel + brief.patience.canary
    seen = await ForwardBySSH(username=USERNAME, to=to, words=words, within=within)
    if not seen.identification:
        raise PeerClosedError(seen.error or "no SSH identification came")
    if not (seen.is_admitted or seen.methods or "permission denied" in seen.error.lower()):
        raise RemoteProtocolError(f"SSH: {seen.error}")
    return seen


async def open_channel(_link: Link, brief: Brief, destination: Destination, token: Token) -> Opening:
    """The same for a survey; the link isn't used, since the operation opens a connection of its own."""
    try:
        seen = await forward(brief, destination, token)
    except NotPermittedError:  # the run has no such canary, dead or alive
        return Opening(answer=Answer.NO, detail="not asked")
    command = f"direct-tcpip to {destination} as {USERNAME}"
    if not seen.is_admitted:
        return Opening(answer=Answer.CREDENTIALS, reply=show_methods(seen), command=command)
    if not seen.is_opened:
        answer = Answer.FAILED if _FAILED.search(seen.error) else Answer.NO
        return Opening(answer=answer, reply=seen.error, command=command)
    return Opening(answer=Answer.YES, reply=seen.identification, command=command, heard=as_text(seen.heard))


def show_methods(seen: SSHForwarding) -> str:
    """What it would take instead of ``none``, after its identification."""
    return f"{seen.identification}: {', '.join(seen.methods) or seen.error}"
