"""What a door speaks, told by its first words: so that a proxy is found on whatever port it is.

At most four connections, in which nothing is asked of the door but a page: one that waits for a greeting and
then says GET, one that greets as a SOCKS5 client, and two at most that say hello as a TLS client. The first of
these says our canary's words too, since an SNI proxy has led it there.
"""

from __future__ import annotations

import re

from relaywatch.model.errors import NetworkError, TLSRefusedError
from relaywatch.model.evidence import Fact, Observation, Weakness
from relaywatch.model.places import Service

from .asking import as_text, listen
from .brief import Brief
from .hello import hello_names, is_led_away
from .link import Link
from .probe import Probe
from .software import Where, recognise_words

ALPN = ("h2", "http/1.1")
_SOCKS5_GREETING = b"\x05\x01\x00"
"""One method: no authentication (RFC 1928 section 3)."""
_SOCKS5_METHODS = (b"\x05\x00", b"\x05\x02", b"\x05\xff")
"""No authentication; a user's name, though nobody offered that; none of these. An echo says 05 01."""
_READ = 2048
"""Octets of an answer that are looked at: Apache httpd says far down in a page that it wants TLS."""
_SHOWN = 300
_PAUSE = 1.0
"""Seconds without a word after which we take it that all has been said."""
_INTERPRET_AS_COMMAND = b"\xff"
"""Telnet's IAC (RFC 854)."""
_TLS_ALERT = b"\x15\x03"
_TLS_WANTED = re.compile(
    rb"plain http request|speaking plain http|http request to an https|SSL-enabled", re.IGNORECASE
)
"""What web servers say on a TLS port to whom talks in the clear; they say it in the clear, and with a 400."""
_BAD_REQUEST = re.compile(rb"HTTP/\S+ +400\b", re.IGNORECASE)
_WHOLE_GREETING = re.compile(rb"SSH-[^\n]*\n|([245][0-9]{2})(?: |-.*?\n\1 )[^\n]*\n", re.DOTALL)
"""Behind these nothing more comes until we speak (RFC 4253 section 4.2, RFC 5321 section 4.2.1)."""
_PROMPT = re.compile(rb"(?:[>#$%:?]\s*|(?:wingate|telnet).*)\Z", re.IGNORECASE | re.DOTALL)
"""What waits for a host to be named; CCProxy says ``CCProxy Telnet>CCProxy Telnet Service Ready.``"""
_WORDS_OF = {
    Service.HTTP: Where.PAGE,
    Service.SSH: Where.SSH,
    Service.FTP: Where.FTP,
    Service.TELNET: Where.TELNET,
}
"""Where the software is looked for in what a service says; mail servers are asked by their own probe."""
_LATE = frozenset({Service.SSH, Service.SMTP, Service.FTP})
"""Those who may take their time before they greet, and greet then whatever we have said meanwhile."""


async def recognise(link: Link, brief: Brief) -> None:
    """Report each service that the door is found to speak; `Service.MUTE` if it answers nothing at all.

    :raises NetworkError: if there is no connection to be had.
    """
    await link.connect(within=brief.patience.connect)
    greeting = await _read(link, brief.patience.first_words)
    if greeting:
        await _report(link, classify_greeting(greeting, brief.door.port), greeting)
        return
    answers: list[bytes] = []
    page = await _ask_for_page(link, brief, answers)
    if page in _LATE:
        return
    socks = await _greet_as_socks5(link, brief, answers)
    # A door that talks in the clear is asked for no TLS: most would wait for more of our hello.
    found = page or socks or await _say_hello(link, brief)
    if found is None:
        # Only alerts, or our canary: an SNI proxy, or TLS that won't speak for the target's name.
        words = next((said for said in answers if said and not said.startswith(_TLS_ALERT)), b"")
        await _report(link, Service.OTHER if words else Service.MUTE, words)


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


async def _ask_for_page(link: Link, brief: Brief, answers: list[bytes]) -> Service | None:
    """Ask for a page of its own, on the connection on which it had nothing to say."""
    # A host that can't exist (RFC 6761 section 6.4): a server that fetches from the host it is shown would ask
    # itself without end if that were its own, or none.
    host = f"{brief.mint.random_local_part('page')}.invalid"
    try:
        await link.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    except NetworkError:
        return None
    answer = await _read(link, brief.patience.canary)
    answers.append(answer)
    service = _classify_page(answer, brief.door.port)
    if service is not None:
        await _report(link, service, answer)
    elif answer.upper().startswith(b"HTTP/"):  # it wants TLS, and says by what it is
        await _report_software(link, Service.HTTP, answer)
    return service


def _classify_page(answer: bytes, port: int) -> Service | None:
    if answer.startswith(_TLS_ALERT):
        return None  # the hello will tell
    if answer.upper().startswith(b"HTTP/"):
        wants_tls = _BAD_REQUEST.match(answer) and _TLS_WANTED.search(answer)
        return None if wants_tls else Service.HTTP
    late = classify_greeting(answer, port)
    return late if late in _LATE else None


async def _greet_as_socks5(link: Link, brief: Brief, answers: list[bytes]) -> Service | None:
    try:
        await link.connect(within=brief.patience.connect)
        await link.send(_SOCKS5_GREETING)
    except NetworkError:
        return None
    answer = await listen(link, _is_telling, within=brief.patience.first_words)
    answers.append(answer)
    if answer.startswith(_SOCKS5_METHODS):
        service = Service.SOCKS5
    elif answer.startswith(b"HTTP/"):  # it finds fault with what isn't its own language
        service = Service.HTTP
    else:
        return None
    await _report(link, service, answer)
    return service


def _is_telling(said: bytes) -> bool:
    return len(said) >= (5 if said.startswith(b"H") else 2)


async def _say_hello(link: Link, brief: Brief) -> Service | None:
    for name in hello_names(brief):
        try:
            await link.connect(within=brief.patience.connect)
            session = await link.start_tls(name, alpn=ALPN)
        except TLSRefusedError:
            await link.close()
            continue
        except NetworkError:
            break
        if name == brief.canaries.name and await is_led_away(link, brief, session.certificate):
            break  # what is there leads away, and says nothing of its own
        await _report(link, Service.TLS, session.alpn.encode())
        return Service.TLS
    return None


async def _read(link: Link, within: float) -> bytes:
    """What it says, if anything, until it pauses; hanging up is saying nothing."""
    first = await listen(link, bool, within=within)
    if not first:
        return b""
    link.unread(first)
    said = await listen(
        link, lambda said: _WHOLE_GREETING.match(said) is not None, within=_PAUSE, limit=_READ
    )
    whole = _WHOLE_GREETING.match(said)
    return whole[0] if whole else said[:_READ]


async def _report(link: Link, service: Service, words: bytes) -> None:
    await link.report(Observation(fact=Fact.SPEAKS, detail=service, reply=as_text(words[:_SHOWN])))
    await _report_software(link, service, words)


async def _report_software(link: Link, service: Service, words: bytes) -> None:
    where = _WORDS_OF.get(service)
    told = recognise_words(where, as_text(words)) if where is not None else None
    if told is not None:
        await link.report(Observation(fact=Fact.SOFTWARE, reply=told.words, detail=told.detail))


RECOGNITION = Probe(
    name="recognition",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(),
    references=("RFC 9110", "RFC 1928 section 3", "RFC 8446 section 4.1.2"),
    script=recognise,
)
"""No probe of a weakness: what it finds decides which of them are tried at the door."""


async def look_again(link: Link, brief: Brief) -> None:
    """Connect, and say nothing: whether the door still takes our connections.

    :raises NetworkError: if there is no connection to be had.
    """
    await link.report(Observation(fact=Fact.PLANNED, count=0))  # no question, and so no trait of the door
    await link.connect(within=brief.patience.connect)
    await link.close()


PRESENCE = Probe(
    name="presence",
    weakness=Weakness.OPEN_PROXY,
    default_doors=(),
    references=("RFC 9293 section 3.5",),
    script=look_again,
)
"""No probe of a weakness either: whether a door that was heard is silent by now, as others are."""
