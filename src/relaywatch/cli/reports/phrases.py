"""Verdicts, reasons and proofs in words; states are told by word and shape, never by colour alone."""

from __future__ import annotations

from types import MappingProxyType

from relaywatch.cli.language import N_, Words
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.model.results import ResultLine
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict

MARKS = MappingProxyType(
    {
        Verdict.OPEN: "●",
        Verdict.ACCEPTING: "◐",
        Verdict.CLOSED: "○",
        Verdict.ABSENT: "–",
        Verdict.INCONCLUSIVE: "?",
    }
)
VERDICTS = MappingProxyType(
    {
        Verdict.OPEN: N_("open"),
        Verdict.ACCEPTING: N_("accepting"),
        Verdict.CLOSED: N_("closed"),
        Verdict.ABSENT: N_("absent"),
        Verdict.INCONCLUSIVE: N_("inconclusive"),
    }
)
PROOFS = MappingProxyType(
    {
        Proof.ACCEPTED: N_("accepted: it said yes, and we stopped there"),
        Proof.QUEUED: N_("queued: it took the message; nothing has arrived"),
        Proof.DELIVERED: N_("delivered: our message arrived"),
        Proof.CANARY_REACHED: N_("canary reached: our own octets came back through it"),
    }
)
TRANSPORTS = MappingProxyType(
    {
        Transport.PLAIN: N_("in the clear"),
        Transport.STARTTLS: N_("STARTTLS"),
        Transport.TLS: N_("TLS from the start"),
        Transport.UDP: N_("datagrams"),
        Transport.QUIC: N_("QUIC"),
    }
)
REASONS = MappingProxyType(
    {
        Reason.GREYLISTED: N_(
            "It greylists, and had not let us in when our patience ended. Check again later."
        ),
        Reason.DEFERRED: N_("It answered “not now” (4yz) and gave no final answer. Check again later."),
        Reason.TLS_REQUIRED: N_("It wants TLS before it answers, and no door with TLS gave an answer."),
        Reason.TLS_FAILED: N_("The TLS handshake failed, so that nothing could be asked behind it."),
        Reason.AUTH_REQUIRED: N_("It wants credentials before it answers; none are ever tried."),
        Reason.CLIENT_BLOCKED: N_(
            "It refuses our address whatever is asked, or fell silent while we asked: a blocklist or a local block. "
            "That says nothing about strangers whom it doesn't block; check from another address."
        ),
        Reason.RATE_LIMITED: N_(
            "It said that we ask too much. Exempt our address, or check again more slowly."
        ),
        Reason.TARPIT: N_("It answers so slowly that the time for one connection ran out."),
        Reason.TIMEOUT: N_("It fell silent in an open connection."),
        Reason.NO_ANSWER: N_(
            "Nothing answered the connection request: a filter drops it, or the host is down."
        ),
        Reason.UNREACHABLE: N_("The network says that there is no way to it."),
        Reason.CUT_SHORT: N_("It closed the connection before it had answered."),
        Reason.PROTOCOL_ERROR: N_("What it said is not the protocol that it began to speak."),
        Reason.LIMIT: N_(
            "It went beyond a limit of ours: too many octets or commands, or it led us where no permission does."
        ),
        Reason.INTERRUPTED: N_("The check was stopped before it was done."),
        Reason.INCOMPLETE: N_("Fewer cases were answered than planned."),
        Reason.VOID: N_("Every case that was asked would have been answered alike for its own recipients."),
        Reason.NOT_SENT: N_(
            "It said yes, and no message was handed over: as it was asked of us, as safety demands, or since "
            "--contact and --ehlo-name don't say yet who checks."
        ),
        Reason.SINK_UNPROVED: N_(
            "It said yes; our own mailbox could not be shown to receive, so nothing was sent, or it could not be "
            "asked what has come."
        ),
        Reason.NOT_DELIVERED: N_(
            "It took the message, and nothing arrived in the waiting time: it drops mail, holds it, or is slow. "
            "A longer --wait would tell, and so may `relaywatch settle`."
        ),
        Reason.ACCEPTS_ANYTHING: N_("It also says yes to what can't exist, so that its yes means little."),
        Reason.BACKSCATTER: N_("It says yes and then sends a bounce to whoever was named as the sender."),
        Reason.NOT_REACHED: N_(
            "It said yes, and our canary was not reached in the waiting time: it leads nowhere, or not to us."
        ),
        Reason.DECEPTIVE: N_(
            "It also says yes to a port of ours at which nobody listens: a honeypot, a sinkhole or a captive portal."
        ),
        Reason.CANT_CONNECT: N_(
            "It tried to connect for us and could not; what it would reach for others is not known."
        ),
        Reason.INTERCEPTED: N_(
            "Our canary was reached from our own address: something on our own way answers in the target’s place."
        ),
        Reason.REACHED_LATER: N_(
            "Our canary was reached only later, and not from there: whoever has read our words may have done it."
        ),
        Reason.UNRESOLVED: N_("The name has no address."),
        Reason.BUG: N_("A fault of ours; please report it with the transcript."),
    }
)
_HEADLINES = MappingProxyType(
    {
        (Weakness.OPEN_RELAY, Verdict.OPEN): N_("{host} relays mail for strangers: our own message arrived."),
        (Weakness.OPEN_RELAY, Verdict.ACCEPTING): N_(
            "{host} says yes to relaying; that it delivers is not proven."
        ),
        (Weakness.OPEN_RELAY, Verdict.CLOSED): N_("{host} does not relay: whatever was asked was refused."),
        (Weakness.OPEN_RELAY, Verdict.ABSENT): N_("{host}: no mail server answers there."),
        (Weakness.OPEN_RELAY, Verdict.INCONCLUSIVE): N_("{host}: whether it relays could not be told."),
        (Weakness.OPEN_PROXY, Verdict.OPEN): N_("{host} is an open proxy: our own octets came through it."),
        (Weakness.OPEN_PROXY, Verdict.ACCEPTING): N_(
            "{host} says yes to proxying; that it does is not proven."
        ),
        (Weakness.OPEN_PROXY, Verdict.CLOSED): N_("{host} is no open proxy: whatever was asked was refused."),
        (Weakness.OPEN_PROXY, Verdict.ABSENT): N_("{host}: no proxy answers there."),
        (Weakness.OPEN_PROXY, Verdict.INCONCLUSIVE): N_(
            "{host}: whether it is an open proxy could not be told."
        ),
    }
)
_FROM_INSIDE = N_("{host} relays for this machine; strangers not tested.")
_PROXY_FROM_INSIDE = N_("{host} is a proxy for this machine; strangers not tested.")
NOBODY_THERE = N_("No proxy answers at: {ports}")
SILENT_THERE = N_("Silent, as behind a filter: {ports}")
FROM_OUTSIDE = N_(
    "This check ran inside the networks that the server trusts, and that it is meant to serve. To learn what "
    "strangers may do, run it on a machine that the server does not trust: at another provider, over no VPN of yours, "
    "and not in a container on the server."
)


def host_of(line: ResultLine) -> str:
    """The target, with its name where that says more."""
    return line.target if line.name in {None, line.target} else f"{line.target} ({line.name})"


def headline(line: ResultLine, words: Words) -> str:
    """The verdict in one sentence; the host in it is as untrusted as its name."""
    message = _HEADLINES[line.weakness, line.verdict]
    if line.verdict is Verdict.OPEN and line.vantage is Vantage.INSIDE:
        message = _FROM_INSIDE if line.weakness is Weakness.OPEN_RELAY else _PROXY_FROM_INSIDE
    return words(message, host=host_of(line))
