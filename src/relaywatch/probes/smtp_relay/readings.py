"""What a reply means for a case: pure readings of a server's answer."""

from __future__ import annotations

import re
from functools import lru_cache

from relaywatch.model.evidence import Fact
from relaywatch.model.smtp import EnhancedStatusCode, Reply

_RELAY_WORDS = re.compile(
    r"relay|rcpthosts|invalid recipient|no such (?:user|recipient|mailbox)|user unknown"
    r"|unknown (?:user|recipient|mailbox|address)|not (?:a )?local|not (?:one of )?our|unrouteable|5\.7\.54|gateway"
    r"|(?:cannot|can't|not) deliver mail for|no such domain|domain not (?:hosted|here|served)",
    re.IGNORECASE,
)
_BLOCK_WORDS = re.compile(
    r"client (?:host |was |is )?(?:rejected|blocked|denied)|block ?list|black ?list|\blisted\b|\bon (?:our|a|the) list"
    r"|\bdnsbl\b|\brbl\b|\bpbl\b|spamhaus|spamcop|open relays|\bbanned\b|reputation|\bblocked\b"
    r"|your (?:ip|host|network|address|server|isp)|from your",
    re.IGNORECASE,
)
_SENDER_WORDS = re.compile(
    r"(?:sender|reverse.path|return.path|from)\b.{0,40}\b(?:rejected|not found|unverified|invalid|denied|does not"
    r"|doesn't|must|unknown)|domain of sender",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")
_TLS_WORDS = re.compile(r"STARTTLS|\bTLS\b|\bSSL\b|encrypt", re.IGNORECASE)
_AUTH_WORDS = re.compile(r"\bauth|log ?in|credential|password", re.IGNORECASE)
_GREYLIST_WORDS = re.compile(
    r"gr[ea]y-?\s?list|come back|try again in|postgrey|not yet authorized", re.IGNORECASE
)
_WAIT = re.compile(
    r"(\d{1,5})\s*(s\b|secs?\b|seconds?\b|m\b|mins?\b|minutes?\b)|(\d{1,2}):(\d{2}):(\d{2})", re.IGNORECASE
)
_ADDRESS = re.compile(r"<[^>]*>|\S+@\S+|\[[^\]]*\]")
_NAME = re.compile(r"\b(?=[\w.-]*[a-z])[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_OTHER_PROTOCOL = re.compile(
    rb"(?:SSH-|HTTP/|\* (?:OK|BYE)|\+OK|<\?xml|<!doctype|<html|RFB |\x15\x03|\x16\x03)", re.IGNORECASE
)
_FTP = re.compile(r"\bFTP\b|FileZilla|ftpd", re.IGNORECASE)

RELAYING_DENIED = EnhancedStatusCode(4, 7, 1)
"""With 454: the reply of Postfix's ``defer_unauth_destination``, a refusal in a transient's clothes."""


def read_refusal(reply: Reply) -> Fact:
    """Say what a reply other than a yes means: refused, deferred, or wanting something first."""
    if reply.code in {421, 452}:
        return Fact.RATE_LIMITED if reply.code == 421 else Fact.DEFERRED
    if reply.code in {523, 530, 538} or reply.enhanced == EnhancedStatusCode(5, 7, 0):
        if _TLS_WORDS.search(_own_words(reply)):
            return Fact.TLS_REQUIRED
        if _AUTH_WORDS.search(_own_words(reply)) or reply.code == 530:
            return Fact.AUTH_REQUIRED
    if reply.code == 454 and reply.enhanced == RELAYING_DENIED and not is_greylisting(reply):
        return Fact.REFUSED
    return Fact.DEFERRED if reply.is_transient else Fact.REFUSED


def speaks_of_relaying(reply: Reply) -> bool:
    """Whether a refusal says that it is about relaying, or the forward-path, rather than about us."""
    words = _own_words(reply)
    return bool(_RELAY_WORDS.search(words)) and not blames_us(reply) and not blames_reverse_path(reply)


def blames_us(reply: Reply) -> bool:
    """Whether a refusal is about our address: a block list's, or a ban's."""
    return bool(_BLOCK_WORDS.search(_own_words(reply)))


def blames_reverse_path(reply: Reply) -> bool:
    """Whether a refusal or deferral is about the reverse-path: X.1.7 and X.1.8 (RFC 3463), or in words."""
    if is_greylisting(reply):
        return False
    if reply.enhanced is not None and (reply.enhanced.subject, reply.enhanced.detail) in {(1, 7), (1, 8)}:
        return True
    return bool(_SENDER_WORDS.search(_own_words(reply)))


def is_full(reply: Reply) -> bool:
    """Whether the transaction takes no further forward-path (RFC 5321 section 4.5.3.1.10)."""
    return reply.code == 452 and (reply.enhanced is None or reply.enhanced.subject == 5)


def speaks_of_login(reply: Reply) -> bool:
    """Whether a refusal asks for credentials, in words if not in its code."""
    return bool(_AUTH_WORDS.search(_own_words(reply)))


def is_greylisting(reply: Reply) -> bool:
    """Whether a deferral is a greylist's."""
    return reply.is_transient and bool(_GREYLIST_WORDS.search(_own_words(reply)))


def read_waiting_time(reply: Reply) -> float | None:
    """The seconds that a deferral asks us to wait, if it names them."""
    match = _WAIT.search(_own_words(reply))
    if match is None:
        return None
    if match[3]:
        return float(int(match[3]) * 3600 + int(match[4]) * 60 + int(match[5]))
    return float(match[1]) * (60 if match[2].lower().startswith("m") else 1)


def in_same_words(one: Reply, other: Reply) -> bool:
    """Whether two replies differ in no more than the addresses and numbers that they hold."""
    return (one.code, _DIGITS.sub("", _own_words(one))) == (other.code, _DIGITS.sub("", _own_words(other)))


def is_another_protocol(octets: bytes) -> bool:
    """Whether the first words are those of a protocol that is known and is not SMTP."""
    return bool(_OTHER_PROTOCOL.match(octets))


def is_ftp(greeting: Reply) -> bool:
    """Whether the greeting, which FTP writes as SMTP does, is an FTP server's."""
    return bool(_FTP.search(_own_words(greeting))) and "SMTP" not in greeting.text.upper()


def _own_words(reply: Reply) -> str:
    """What the server says without the addresses and names in it: those are ours, or chosen by anybody."""
    return _without_names(reply.text)


@lru_cache(maxsize=256)
def _without_names(text: str) -> str:
    """Kept for a moment: each reply is read for several things."""
    return _NAME.sub("", _ADDRESS.sub("", text))
