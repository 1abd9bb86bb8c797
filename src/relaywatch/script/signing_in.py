"""Signing in with the owner's own credentials, and asking for what a signed-in user may have.

Nothing but the proof of a mend (``audit --prove --login``) does that, in a sandbox on the owner's machine: no probe
has credentials, and none are guessed (docs/conduct.md). What is told of a dialogue never holds the password,
whatever the server echoes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from relaywatch.model.errors import PeerClosedError, RemoteProtocolError
from relaywatch.model.smtp import Reply
from relaywatch.wire import socks5 as socks_wire
from relaywatch.wire.http1 import Exchange

from . import smtp, socks5
from .asking import ask_canary
from .brief import Brief
from .http import exchange_with, own_fields
from .link import Link
from .tunnels import Answer, Destination, open_link

_MASK = "***"
_PROXY_AUTHENTICATION_REQUIRED = 407
"""RFC 9110 section 15.5.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Whom to sign in as."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    def masked(self, text: str) -> str:
        """The text without the password, in any of the forms in which it is sent."""
        forms = (_plain(self), _basic(self), _in_base64(self.password), self.password)
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, _MASK)
        return text


class SigningIn(StrEnum):
    """What signing in came to, the best last."""

    NOT_OFFERED = "not-offered"
    """Nobody is asked who he is."""
    OFFERED = "offered"
    """Credentials would be taken; we have none."""
    REFUSED = "refused"
    """They are, and these were refused, or whoever has them is."""
    THROUGH = "through"
    """A signed-in user gets what he asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What signing in came to at one door, and the answer that decided it, the password left out."""

    outcome: SigningIn
    said: str = ""


_NOT_OFFERED = SignedIn(outcome=SigningIn.NOT_OFFERED)


async def sign_in_by_smtp(link: Link, brief: Brief, login: Login | None) -> SignedIn:
    """Sign in by AUTH PLAIN, or LOGIN, and ask for mail to our sink; no message is sent (RFC 4954 section 4).

    TLS is negotiated first as the door's transport says, where it is offered. Without a login it is only seen
    whether there is AUTH.

    :raises NetworkError: if there is no connection to be had, or it breaks.
    :raises RemoteProtocolError: if what comes is no SMTP.
    """
    session = await smtp.open_session(link, brief, smtp.Helo("EHLO", brief.identity.ehlo_name))
    mechanisms = session.extensions.keywords.get("AUTH", "").upper().split() if session.is_ready else []
    if not mechanisms:
        signed = _NOT_OFFERED
    elif login is None:
        signed = SignedIn(outcome=SigningIn.OFFERED)
    else:
        signed = await _mail_as(link, brief, mechanisms, login)
    await smtp.leave(link)
    return signed


async def _mail_as(link: Link, brief: Brief, mechanisms: Sequence[str], login: Login) -> SignedIn:
    reply = await _authenticate(link, brief, mechanisms, login)
    if reply is None:
        known = f"AUTH {' '.join(mechanisms)}"
        return SignedIn(outcome=SigningIn.REFUSED, said=login.masked(known))
    is_taken = reply.code == 235
    if is_taken:
        for reverse_path in _reverse_paths(brief, login):
            reply = await _ask_for_mail(link, brief, reverse_path)
            if reply.is_positive:
                return SignedIn(outcome=SigningIn.THROUGH, said=login.masked(str(reply)))
    return SignedIn(outcome=SigningIn.REFUSED, said=login.masked(str(reply)))


async def _authenticate(link: Link, brief: Brief, mechanisms: Sequence[str], login: Login) -> Reply | None:
    """The last reply to AUTH; nothing if the server offers no mechanism that we have."""
    within = brief.patience.reply
    if "PLAIN" in mechanisms:  # RFC 4616
        return await smtp.command(link, "AUTH", f"PLAIN {_plain(login)}", within=within)
    if "LOGIN" not in mechanisms:
        return None
    reply = await smtp.command(link, "AUTH", "LOGIN", within=within)
    for word in (login.user, login.password):
        if reply.code != 334:
            break
        reply = await smtp.command(link, _in_base64(word), within=within)
    return reply


def _reverse_paths(brief: Brief, login: Login) -> tuple[str, ...]:
    """Ours, and the user's own: servers may hold a user to that."""
    domain = next(iter(brief.local_domains), "")
    own = login.user if "@" in login.user else f"{login.user}@{domain}"
    return (f"{brief.token('signed-in-return')}@{brief.sink.domain}", own)


async def _ask_for_mail(link: Link, brief: Brief, reverse_path: str) -> Reply:
    within = brief.patience.reply
    reply = await smtp.command(link, "MAIL", f"FROM:<{reverse_path}>", within=within)
    if reply.is_positive:
        forward_path = f"{brief.token('signed-in')}@{brief.sink.domain}"
        reply = await smtp.command(link, "RCPT", f"TO:<{forward_path}>", within=within)
    await smtp.command(link, "RSET", within=within)
    return reply


async def sign_in_by_http(link: Link, brief: Brief, login: Login | None, to: Destination) -> SignedIn:
    """Ask for a tunnel to our canary by HTTP's Basic authentication (RFC 7617), and whether it leads there.

    Without a login it is only seen whether one is asked for.

    :raises NetworkError: if there is no connection to be had, or it breaks.
    :raises RemoteProtocolError: if what comes is no HTTP.
    """
    if login is not None:
        status_code, said, is_there = await _connect_by_http(link, brief, login, to)
        said = login.masked(said)
        if is_there:
            return SignedIn(outcome=SigningIn.THROUGH, said=said)
        if status_code == _PROXY_AUTHENTICATION_REQUIRED:
            return SignedIn(outcome=SigningIn.REFUSED, said=said)
    else:
        said = ""
    asked, _, _ = await _connect_by_http(link, brief, None, to)
    if asked != _PROXY_AUTHENTICATION_REQUIRED:
        return _NOT_OFFERED
    return SignedIn(outcome=SigningIn.REFUSED if login else SigningIn.OFFERED, said=said)


async def _connect_by_http(
    link: Link, brief: Brief, login: Login | None, to: Destination
) -> tuple[int, str, bool]:
    """The status code, the answer's first line, and whether our canary was reached."""
    fields = [("Host", str(to)), *own_fields(brief)]
    if login is not None:
        fields.append(("Proxy-Authorization", f"Basic {_basic(login)}"))
    await open_link(link, brief)
    exchange = Exchange("CONNECT", str(to), fields)
    head = await exchange_with(link, exchange, brief)
    is_there = False
    if head.is_successful:
        link.unread(exchange.rest())
        is_there = await _is_there(link, brief, to)
    await link.close()
    return head.status_code, str(head), is_there


async def sign_in_by_socks5(link: Link, brief: Brief, login: Login | None, to: Destination) -> SignedIn:
    """Ask for a tunnel to our canary with username and password (RFC 1929 section 2), and whether it leads there.

    Without a login it is only seen whether one is asked for.

    :raises NetworkError: if there is no connection to be had, or it breaks.
    :raises RemoteProtocolError: if what comes is no SOCKS5.
    """
    within = brief.patience.tunnel
    await open_link(link, brief)
    await link.send(socks_wire.encode_greeting(socks_wire.USERNAME_PASSWORD))
    version, method = choice = await link.read_exactly(2, within=within)
    if version != socks_wire.VERSION:
        raise RemoteProtocolError("no SOCKS5 method selection", choice)
    if method != socks_wire.USERNAME_PASSWORD:
        return _NOT_OFFERED
    if login is None:
        return SignedIn(outcome=SigningIn.OFFERED)
    try:
        return await _connect_by_socks5(link, brief, login, to)
    except PeerClosedError:  # RFC 1929 section 2: whoever refuses must close
        return SignedIn(outcome=SigningIn.REFUSED, said="closed")


async def _connect_by_socks5(link: Link, brief: Brief, login: Login, to: Destination) -> SignedIn:
    within = brief.patience.tunnel
    await link.send(socks_wire.encode_username_password(login.user, login.password))
    _, status = await link.read_exactly(2, within=within)
    if status:
        return SignedIn(outcome=SigningIn.REFUSED, said=f"STATUS 0x{status:02x}")
    await link.send(socks_wire.encode_request(socks_wire.Command.CONNECT, to.address, to.port))
    reply = await socks5.read_reply(link, within=within)
    is_there = reply.answer is Answer.YES and await _is_there(link, brief, to)
    return SignedIn(outcome=SigningIn.THROUGH if is_there else SigningIn.REFUSED, said=reply.text)


async def _is_there(link: Link, brief: Brief, to: Destination) -> bool:
    reached_from, _ = await ask_canary(link, brief, to, brief.token("signed-in"))
    return reached_from is not None


def _plain(login: Login) -> str:
    return _in_base64(f"\0{login.user}\0{login.password}")


def _basic(login: Login) -> str:
    return _in_base64(f"{login.user}:{login.password}")


def _in_base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
