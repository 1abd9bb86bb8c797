"""Envelopes that strangers try, each fit to one hole; ``{mark}`` stands for the mailbox at the next hop."""

import secrets
import smtplib
import ssl
from dataclasses import dataclass, replace

US = "stranger.example"
"""Given to smtplib, which would otherwise ask the resolver for this machine's name."""
STRANGER = "<stranger@elsewhere.example>"


@dataclass(frozen=True)
class Envelope:
    reverse_path: str = STRANGER
    forward_paths: tuple[str, ...] = ("<{mark}@sink.example>",)
    helo: str = "stranger.example"
    starttls: bool = False
    implicit_tls: bool = False
    bdat: bool = False

    def filled(self, mark, domain):
        paths = (self.reverse_path, *self.forward_paths)
        reverse_path, *forward_paths = (path.format(mark=mark, domain=domain) for path in paths)
        return replace(self, reverse_path=reverse_path, forward_paths=tuple(forward_paths))


@dataclass(frozen=True)
class Outcome:
    """The reply codes in order, from MAIL on, and the last reply's text."""

    codes: tuple[int, ...]
    text: str

    @property
    def taken(self):
        return all(200 <= code < 400 for code in self.codes)


PLAIN = Envelope()

HOLES = {
    "open": PLAIN,
    "trusts-reverse-path": Envelope("<somebody@{domain}>"),
    "trusts-helo": Envelope(helo="localhost"),
    "null-reverse-path": Envelope("<>"),
    "percent-hack": Envelope(forward_paths=("<{mark}%sink.example@{domain}>",)),
    "source-route": Envelope(forward_paths=("<@{domain}:{mark}@sink.example>",)),
    "bang-path": Envelope(forward_paths=("<sink.example!{mark}>",)),
    "quoted-local-part": Envelope(forward_paths=('<"{mark}@sink.example"@{domain}>',)),
    "second-at": Envelope(forward_paths=("<{mark}@sink.example@{domain}>",)),
    "encapsulated": Envelope(forward_paths=("<IMCEASMTP-{mark}+40sink+2eexample@{domain}>",)),
    "lax-syntax": Envelope(forward_paths=("{mark}@sink.example",)),
    "second-recipient": Envelope(forward_paths=("<postmaster@{domain}>", "<{mark}@sink.example>")),
    "bdat": Envelope(bdat=True),
    "late-hole": Envelope(forward_paths=('<"x@sink.example, {mark}@sink.example"@{domain}>',)),
    "starttls-only": Envelope(starttls=True),
    "backup-mx": Envelope(forward_paths=("<{mark}@sink.example@larch.example>",)),
    "implicit-tls": Envelope(implicit_tls=True),
}

DOMAINS = {
    "open": "birch.example",
    "trusts-reverse-path": "cedar.example",
    "trusts-helo": "dogwood.example",
    "null-reverse-path": "elm.example",
    "percent-hack": "fir.example",
    "source-route": "ginkgo.example",
    "bang-path": "hazel.example",
    "quoted-local-part": "iroko.example",
    "second-at": "mail.juniper.example",
    "encapsulated": "kauri.example",
    "lax-syntax": "linden.example",
    "second-recipient": "mango.example",
    "bdat": "neem.example",
    "late-hole": "oak.example",
    "starttls-only": "pine.example",
    "backup-mx": "jujube.example",
    "implicit-tls": "kola.example",
    "closed": "alder.example",
    "postfix-like": "quince.example",
    "exim-like": "rowan.example",
    "sendmail-like": "spruce.example",
    "refuses-at-data": "tamarind.example",
    "drops-after-errors": "willow.example",
    "tls-required": "yucca.example",
}


def fresh_mark():
    return secrets.token_hex(8)


def anything_goes():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(host, port, *, implicit_tls=False):
    if implicit_tls:
        return smtplib.SMTP_SSL(host, port, US, timeout=10, context=anything_goes())
    return smtplib.SMTP(host, port, US, timeout=10)


def offer(host, port, envelope, mark, domain):
    """Try the envelope by hand, and stop at the first no."""
    filled = envelope.filled(mark, domain)
    with connect(host, port, implicit_tls=filled.implicit_tls) as client:
        client.ehlo(filled.helo)
        if filled.starttls:
            client.starttls(context=anything_goes())
            client.ehlo(filled.helo)
        return _transact(client, filled, mark)


def _transact(client, envelope, mark):
    codes = []
    for octets in _commands(envelope, mark):
        client.send(octets)
        code, text = client.getreply()
        codes.append(code)
        if code >= 400:
            break
    return Outcome(tuple(codes), text.decode())


def _commands(envelope, mark):
    content = f"Subject: {mark}\r\n\r\nA test of ours.\r\n".encode()
    yield f"MAIL FROM:{envelope.reverse_path}\r\n".encode()
    for path in envelope.forward_paths:
        yield f"RCPT TO:{path}\r\n".encode()
    if envelope.bdat:
        yield b"BDAT %d LAST\r\n" % len(content) + content
    else:
        yield b"DATA\r\n"
        yield content + b".\r\n"
