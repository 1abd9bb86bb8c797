"""What a door speaks, told by its first words: so that a proxy is found on whatever port it is.

At most three connections, in which nothing is asked of the door but its own page: one that waits for a
greeting and then says GET, one that greets as a SOCKS5 client, one that says hello as a TLS client.
"""

from __future__ import annotations

import re

from relaywatch.model.errors import (
    NetworkError,
    PeerClosedError,
    ReadTimeoutError,
)
from relaywatch.model.evidence import Fact, Observation, Weakness
from relaywatch.model.places import Service

from .brief import Brief
from .link import Link
from .probe import Probe
from .tunnels import as_text

ALPN = ("h2", "http/1.1")
_SOCKS5_GREETING = b"\x05\x01\x00"
"""One method: no authentication (RFC 1928 section 3)."""
_SHOWN = 300
_INTERPRET_AS_COMMAND = b"\xff"
"""Telnet's IAC (RFC 854)."""
_TLS_ALERT = b"\x15\x03"
_TLS_WANTED = re.compile(
    rb"plain http request|speaking plain http|http request to an https|SSL-enabled", re.IGNORECASE
)
"""What web servers say on a TLS port to whom talks in the clear; they say it in the clear."""
_PROMPT = re.compile(rb"(?:[>#$%:]\s*|wingate.*)\Z", re.IGNORECASE | re.DOTALL)


async def recognise(link: Link, brief: Brief) -> None:
    """Report each service that the door is found to speak; `Service.MUTE` if it answers nothing at all."""
    await link.connect(within=brief.patience.connect)
    greeting = await _read(link, brief.patience.first_words)
    if greeting:
        await _report(link, classify_greeting(greeting, brief.door.port), greeting)
        return
    answers = [
        await _ask_for_page(link, brief),
        await _greet_as_socks5(link, brief),
        await _say_hello(link, brief),
    ]
    services = {service for found in answers for service in found}
    if not services:
        await _report(link, Service.MUTE, b"")


def classify_greeting(greeting: bytes, port: int) -> Service:
    """Tell who speaks first in these words."""
    text = greeting.lower()
    if text.startswith(b"ssh-"):
        return Service.SSH
    if greeting.startswith(_INTERPRET_AS_COMMAND):
        return Service.TELNET
    if re.match(rb"[245][0-9]{2}[ -]", text):
        return Service.FTP if b"ftp" in text or (port == 21 and b"smtp" not in text) else Service.SMTP
    if text.startswith(b"http/"):
        return Service.HTTP
    return Service.TELNET if _PROMPT.search(greeting) else Service.OTHER


async def _ask_for_page(link: Link, brief: Brief) -> set[Service]:
    """Ask for its own page, on the connection on which it had nothing to say."""
    request = f"GET / HTTP/1.1\r\nHost: {brief.endpoint}\r\nConnection: close\r\n\r\n"
    try:
        await link.send(request.encode())
        answer = await _read(link, brief.patience.canary)
    except NetworkError:
        return set()
    found: set[Service] = set()
    if answer.startswith(b"HTTP/"):
        found.add(Service.HTTP)
    if answer.startswith(_TLS_ALERT) or _TLS_WANTED.search(answer):
        found = {Service.TLS}
    for service in found:
        await _report(link, service, answer)
    return found


async def _greet_as_socks5(link: Link, brief: Brief) -> set[Service]:
    try:
        await link.connect(within=brief.patience.connect)
        await link.send(_SOCKS5_GREETING)
        answer = await _read(link, brief.patience.canary)
    except NetworkError:
        return set()
    if len(answer) != 2 or answer[0] != 5:
        return set()
    await _report(link, Service.SOCKS5, answer)
    return {Service.SOCKS5}


async def _say_hello(link: Link, brief: Brief) -> set[Service]:
    try:
        await link.connect(within=brief.patience.connect)
        session = await link.start_tls(next(iter(brief.target_names), None), alpn=ALPN)
    except NetworkError:
        return set()
    await _report(link, Service.TLS, session.alpn.encode())
    return {Service.TLS}


async def _read(link: Link, within: float) -> bytes:
    """What it says, if anything; hanging up is saying nothing."""
    try:
        return (await link.read_some(within=within))[:_SHOWN]
    except (ReadTimeoutError, PeerClosedError):
        return b""


async def _report(link: Link, service: Service, words: bytes) -> None:
    await link.report(Observation(fact=Fact.SPEAKS, detail=service, reply=as_text(words)))


RECOGNITION = Probe(
    name="recognition",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(),
    references=("RFC 9110", "RFC 1928 section 3", "RFC 8446 section 4.1.2"),
    script=recognise,
)
"""No probe of a weakness: what it finds decides which of them are tried at the door."""
