"""What a server says, in its own words or in those of well-known software; ``{...}`` is filled in."""

from __future__ import annotations

from dataclasses import dataclass

from relaywatch.model.smtp import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """One line a situation, with its code; the EHLO keywords that go with it."""

    greeting: str = "220 {hostname} ESMTP"
    hello: str = "{hostname}"
    sender_ok: str = "250 2.1.0 Sender accepted"
    recipient_ok: str = "250 2.1.5 Recipient accepted"
    relay_denied: str = "550 5.7.1 <{path}> Relaying is not permitted"
    unknown_user: str = "550 5.1.1 <{path}> No such user here"
    go_ahead: str = "354 End data with <CR><LF>.<CR><LF>"
    queued: str = "250 2.0.0 Message {id} accepted"
    bye: str = "221 2.0.0 Bye"
    too_many_errors: str = "421 4.7.0 {hostname} Too many errors"
    help: str = "502 5.5.1 No help here"
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 1048576", "ENHANCEDSTATUSCODES", "8BITMIME")


def say(template: str, **values: str) -> Reply:
    """Fill in a line; the values may hold anything, since only the template is read for braces."""
    code, _, text = template.partition(" ")
    return Reply(int(code), tuple(line.format(**values) for line in text.split("\n")))


PLAIN = Phrases()

POSTFIX = Phrases(
    greeting="220 {hostname} ESMTP Postfix",
    sender_ok="250 2.1.0 Ok",
    recipient_ok="250 2.1.5 Ok",
    relay_denied="454 4.7.1 <{path}>: Relay access denied",
    unknown_user="550 5.1.1 <{path}>: Recipient address rejected: User unknown in local recipient table",
    queued="250 2.0.0 Ok: queued as {id}",
    too_many_errors="421 4.7.0 {hostname} Error: too many errors",
    help="500 5.5.2 Error: command not recognized",
    extensions=(
        "PIPELINING",
        "SIZE 10240000",
        "VRFY",
        "ETRN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "DSN",
        "SMTPUTF8",
    ),
)

EXIM = Phrases(
    greeting="220 {hostname} ESMTP Exim 4.98 {date}",
    hello="{hostname} Hello {helo} [{client}]",
    sender_ok="250 OK",
    recipient_ok="250 Accepted",
    relay_denied="550 relay not permitted",
    unknown_user="550 Unrouteable address",
    go_ahead='354 Enter message, ending with "." on a line by itself',
    queued="250 OK id={id}",
    bye="221 {hostname} closing connection",
    too_many_errors="421 too many syntax or protocol errors",
    help="214 Commands supported:\nAUTH HELO EHLO MAIL RCPT DATA BDAT NOOP QUIT RSET HELP",
    extensions=("SIZE 52428800", "LIMITS MAILMAX=1000 RCPTMAX=50000", "8BITMIME", "PIPELINING", "HELP"),
)

SENDMAIL = Phrases(
    greeting="220 {hostname} ESMTP Sendmail 8.18.1/8.18.1; {date}",
    hello="{hostname} Hello {helo} [{client}], pleased to meet you",
    sender_ok="250 2.1.0 <{path}>... Sender ok",
    recipient_ok="250 2.1.5 <{path}>... Recipient ok",
    relay_denied="550 5.7.1 <{path}>... Relaying denied",
    unknown_user="550 5.1.1 <{path}>... User unknown",
    go_ahead='354 Enter mail, end with "." on a line by itself',
    queued="250 2.0.0 {id} Message accepted for delivery",
    bye="221 2.0.0 {hostname} closing connection",
    too_many_errors="421 4.7.0 {hostname} Too many bad commands; closing connection",
    help="214 2.0.0 This is sendmail version 8.18.1",
    extensions=("ENHANCEDSTATUSCODES", "PIPELINING", "8BITMIME", "SIZE", "DSN", "DELIVERBY", "HELP"),
)

QMAIL = Phrases(
    greeting="220 {hostname} ESMTP",
    sender_ok="250 ok",
    recipient_ok="250 ok",
    relay_denied="553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    unknown_user="550 sorry, no mailbox here by that name (#5.1.1)",
    go_ahead="354 go ahead",
    queued="250 ok {number} qp {number}",
    bye="221 {hostname}",
    help="214 netqmail home page: http://qmail.org/netqmail",
    extensions=("PIPELINING", "8BITMIME"),
)
