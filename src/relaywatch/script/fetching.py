"""Requests that carry the token to our canary themselves, and what their answers say: no tunnel is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from relaywatch.model.canary import CANARY_PATH, canary_words, read_canary_answer
from relaywatch.model.tokens import Token
from relaywatch.wire.http1 import Exchange, ResponseHead

from . import http
from .asking import noted_name
from .brief import Brief
from .controls import AS_TO_THE_CONTROL, ask_plainly, nobody
from .link import Link
from .page import Page
from .software import recognise_answer
from .tunnels import Answer, CanaryKind, Destination, Opening

_OWN_STATUS_CODES = frozenset({407, 502, 503, 504})
"""Whoever answers so speaks for itself; any other answer may be what was fetched (RFC 9110 section 15)."""
ANSWER_FIELD = "X-Relaywatch-Answer"
"""Where our canary answers HEAD, which has no body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for: our token, and the request as a report shows it.

    ``control`` is what the same server has said to a plain request for the same host; without, a host that can't
    exist is asked for after an answer that has to be compared.
    """

    token: Token
    command: str
    control: Page | None = None


def canary_path(token: Token) -> str:
    """The path that is the token's at our HTTP canary."""
    return f"{CANARY_PATH}{token}"


def labelled(destination: Destination, brief: Brief, token: Token) -> str:
    """The destination's host, with the token as a label where our zone is, so that a look-up is noted too."""
    return noted_name(destination, brief.canaries, token) or destination.host


def request(
    brief: Brief,
    method: str,
    target: str,
    *,
    host: str,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Exchange:
    """One request, after whose answer the connection may go."""
    content = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))] if body else []
    own = [*http.own_fields(brief), ("Accept", "*/*"), ("Connection", "close")]
    return Exchange(method, target, [("Host", host), *fields, *own, *content], body)


def words(destination: Destination, token: Token) -> bytes:
    """What to say to the canary in a body: lines of their own, since SMTP servers read the fields as lines too."""
    if destination.kind is CanaryKind.SMTP:
        return b"\r\nVRFY " + token.encode() + b"\r\nQUIT\r\n"
    return canary_words(token) + b"\r\n"


async def fetch(link: Link, brief: Brief, exchange: Exchange, question: Question) -> Opening:
    """Ask, and tell what the answer says: yes only if it is our canary's.

    :raises ReadTimeoutError: if no answer comes.
    :raises PeerClosedError: if the peer closes first.
    :raises RemoteProtocolError: if the answer is no HTTP.
    """
    head = await http.exchange_with(link, exchange, brief)
    body = await http.read_rest(link, exchange, brief)
    return await read_answer(link, brief, head, body, question)


async def read_answer(link: Link, brief: Brief, head: ResponseHead, body: str, question: Question) -> Opening:
    """Tell what an answer says. Redirections are nobody's business but the browser's: they are a no."""
    heard = f"{head.field(ANSWER_FIELD) or ''}\n{body}"
    page = Page(head.status_code, body)
    opening = Opening(
        answer=http.classify(head),
        reply=str(head),
        command=question.command,
        heard=heard,
        page=page,
        software=recognise_answer(head.fields, body, is_own=head.status_code in _OWN_STATUS_CODES),
    )
    if read_canary_answer(brief.mint.key, question.token, heard) is not None:
        return replace(opening, answer=Answer.YES)
    if opening.answer is Answer.YES:
        return replace(opening, answer=Answer.PAGE)
    if _may_be_its_own(head):
        control = question.control or await ask_plainly(
            link, brief, nobody(brief), canary_path(question.token)
        )
        if control is not None and control.is_like(page):
            return replace(opening, answer=Answer.NO, detail=AS_TO_THE_CONTROL)
    return opening


def _may_be_its_own(head: ResponseHead) -> bool:
    """Whether a web server too may say so; 407 is a proxy's alone."""
    return http.classify(head) is Answer.FAILED or head.status_code == 401
