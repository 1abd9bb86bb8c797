"""Delivery: a message goes on by SMTP, or back to where it claims to come from; on loopback and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import re
import smtplib
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import IPv6Address

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address, Endpoint, parse_address

_LOG = logging.getLogger(__name__)
_CONNECTION_SECONDS = 5.0
_TRIES = 3
_PAUSE_SECONDS = 0.5
_HOPS_LIMIT = 10
_LITERAL = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An envelope with one forward-path, and its content with CR LF line endings."""

    reverse_path: str
    forward_path: str
    content: bytes

    @property
    def hops(self) -> int:
        """How many servers it has passed."""
        head = self.content.partition(b"\r\n\r\n")[0]
        return len(re.findall(rb"(?im)^received:", head))


def loopback(host: str, port: int) -> Endpoint:
    """A next hop.

    :raises UsageError: if it isn't on this machine's loopback.
    """
    address = parse_address(host)
    if not address.is_loopback:
        raise UsageError(f"the loopback world delivers to loopback only, not to {address}")
    return Endpoint(address, port)


class DeliveryError(Exception):
    """The next hop refused for good, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """Carries messages for the server ``hostname``.

    Everything goes to ``next_hop``; without one, to the address literal behind the at sign, port 25.
    """

    hostname: str
    next_hop: Endpoint | None = None

    async def deliver(self, message: Message) -> None:
        """Hand the message on; if that fails for good, send it back."""
        try:
            await self._hand_over(message)
        except DeliveryError as error:
            _LOG.info("%s can't deliver to <%s>: %s", self.hostname, message.forward_path, error)
            await self.bounce(message, str(error))

    async def bounce(self, message: Message, why: str) -> None:
        """Tell the reverse-path that the message couldn't be delivered; the null one is told nothing."""
        if not message.reverse_path:
            return
        notice = Message(
            reverse_path="",
            forward_path=message.reverse_path,
            content=_notice(self.hostname, message, why),
        )
        try:
            await self._hand_over(notice)
        except DeliveryError as error:
            _LOG.info("%s can't bounce to <%s>: %s", self.hostname, message.reverse_path, error)

    async def _hand_over(self, message: Message) -> None:
        if message.hops > _HOPS_LIMIT:
            raise DeliveryError("mail loop")
        endpoint = self.next_hop or _literal_hop(message.forward_path)
        for attempt in range(1, _TRIES + 1):
            try:
                await asyncio.to_thread(_send, self.hostname, endpoint, message)
            except (OSError, smtplib.SMTPException) as error:
                if attempt == _TRIES:
                    raise DeliveryError(str(error)) from error
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
            else:
                return


def _literal_hop(forward_path: str) -> Endpoint:
    match = _LITERAL.fullmatch(forward_path.rpartition("@")[2])
    if match is None:
        raise DeliveryError("no next hop is known, and the domain is no address literal")
    try:
        return loopback(match[1], 25)
    except (UsageError, ValueError) as error:
        raise DeliveryError(str(error)) from error


def _send(hostname: str, endpoint: Endpoint, message: Message) -> None:
    with smtplib.SMTP(local_hostname=hostname, timeout=_CONNECTION_SECONDS) as client:
        client.connect(str(endpoint.address), endpoint.port)
        client.ehlo_or_helo_if_needed()
        _ask(client, "MAIL", f"FROM:<{message.reverse_path}>")
        _ask(client, "RCPT", f"TO:<{message.forward_path}>")
        code, text = client.data(message.content)
        _require(code, text)


def _ask(client: smtplib.SMTP, verb: str, argument: str) -> None:
    _require(*client.docmd(verb, argument))


def _require(code: int, text: bytes) -> None:
    if 200 <= code < 300:
        return
    said = text.decode("utf-8", "replace")
    if code < 500:
        raise smtplib.SMTPResponseException(code, said)
    raise DeliveryError(f"the next hop said: {code} {said}")


def received_line(
    *, hostname: str, helo: str, client: Address, protocol: str, path: str, number: str
) -> bytes:
    """The trace line that a server puts on top (RFC 5321 section 4.4)."""
    literal = f"[IPv6:{client}]" if isinstance(client, IPv6Address) else f"[{client}]"
    lines = (
        f"Received: from {_traceable(helo)} ({literal})",
        f"\tby {hostname} with {protocol} id {number}",
        f"\tfor <{_traceable(path)}>; {formatdate()}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def with_trace(message: Message, line: bytes) -> Message:
    """The message with a trace line on top."""
    return replace(message, content=line + message.content)


def _traceable(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isprintable()) or "unknown"


def _notice(hostname: str, message: Message, why: str) -> bytes:
    head = message.content.partition(b"\r\n\r\n")[0]
    notice = EmailMessage()
    notice["From"] = f"Mail Delivery Subsystem <MAILER-DAEMON@{hostname}>"
    notice["Subject"] = "Undelivered mail returned to sender"
    notice["Date"] = formatdate()
    notice["Auto-Submitted"] = "auto-replied"
    notice.set_content(
        f"Your message to <{_traceable(message.forward_path)}> could not be delivered:\n{why}\n\n"
        f"--- its header ---\n{head.decode('utf-8', 'replace')}\n"
    )
    return notice.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
