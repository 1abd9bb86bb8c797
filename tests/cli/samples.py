"""Hand-made reports: one of each verdict, with a stranger's rubbish in every place where it may stand."""

from datetime import UTC, datetime
from ipaddress import ip_address

from relaywatch.cli.reports.entry import Entry
from relaywatch.model.evidence import (
    Arrival,
    ArrivalKind,
    Attempt,
    AttemptStatus,
    Direction,
    TranscriptEntry,
    Weakness,
)
from relaywatch.model.places import Door, Endpoint, Family, Transport
from relaywatch.model.results import DoorLine, FindingLine, ResultLine, SoftwareLine
from relaywatch.model.verdicts import Proof, Reason, Vantage, Verdict

BEGAN = datetime(2026, 11, 24, 2, 10, tzinfo=UTC)
TOKEN = "abcdefghijklmnopqrstuvwxyz234567"
COMMAND = f"EHLO checker.test / MAIL FROM:<back@sink.test> / RCPT TO:<{TOKEN}@sink.test>"
RUDE = "250 \x1b]0;owned\x07\x9b31m[red]bold[/red] <script>alert(1)</script> \u202egnp.exe\udcff\r\nX"


def door(verdict=Verdict.CLOSED, port=25, transport=Transport.PLAIN, family=Family.IPV4, **more):
    return DoorLine(
        port=port,
        transport=transport,
        family=family,
        verdict=verdict,
        reasons=more.pop("reasons", ()),
        **more,
    )


def finding(**more):
    given = {
        "advisory": "RW-1001",
        "probe": "smtp-relay",
        "case": "plain",
        "port": 25,
        "transport": Transport.PLAIN,
        "family": Family.IPV4,
        "via": None,
        "proof": Proof.DELIVERED,
        "exit_address": "192.0.2.7",
        "reply": RUDE,
        "command": COMMAND,
        "token": TOKEN,
    }
    return FindingLine(**given | more)


def line(verdict=Verdict.CLOSED, **more):
    given = {
        "target": "192.0.2.7",
        "name": "mail.example.org",
        "weakness": Weakness.OPEN_RELAY,
        "verdict": verdict,
        "reasons": (),
        "software": SoftwareLine(name="postfix"),
        "findings": (),
        "doors": (door(verdict, asked=46, planned=46),),
        "attempts": 3,
        "began": BEGAN,
        "seconds": 1.8,
        "vantage": Vantage.OUTSIDE,
        "source_address": "203.0.113.5",
    }
    return ResultLine(**given | more)


def open_line(**more):
    return line(Verdict.OPEN, **{"findings": (finding(),)} | more)


def inconclusive_line(**more):
    return line(Verdict.INCONCLUSIVE, **{"reasons": (Reason.GREYLISTED, Reason.TARPIT)} | more)


def attempt():
    endpoint = Endpoint(ip_address("192.0.2.7"), 25)
    return Attempt(
        probe="smtp-relay",
        weakness=Weakness.OPEN_RELAY,
        endpoint=endpoint,
        door=Door(25, Transport.PLAIN, Family.IPV4),
        status=AttemptStatus.COMPLETED,
        began=BEGAN,
        seconds=1.8,
        source="203.0.113.5",
        transcript=(
            TranscriptEntry(0.01, Direction.SERVER, b"220 mail.example.org \x1b[2JESMTP\r\n"),
            TranscriptEntry(0.02, Direction.CLIENT, b"EHLO checker.test\r\nMAIL FROM:<back@sink.test>\r\n"),
            TranscriptEntry(1.5, Direction.CLIENT, f"RCPT TO:<{TOKEN}@sink.test>\r\n".encode()),
            TranscriptEntry(1.6, Direction.SERVER, b"250 ok <b>\xff\x00\r\n"),
        ),
    )


def arrival(**more):
    given = {
        "token": TOKEN,
        "kind": ArrivalKind.MAIL,
        "at": datetime(2026, 11, 24, 2, 10, 5, tzinfo=UTC),
        "came_from": Endpoint(ip_address("192.0.2.7"), 41234),
        "reverse_path": "back@sink.test",
        "forward_path": f"{TOKEN}@sink.test",
        "helo": "mail.example.org",
        "received": ("from checker.test ([203.0.113.5])\r\n\tby mail.example.org\x1b[1m",),
    }
    return Arrival(**given | more)


def open_entry(**more):
    return Entry(open_line(**more), (attempt(),), (arrival(),))


def proxy_finding(**more):
    given = {
        "advisory": "RW-2001",
        "probe": "http-connect",
        "case": "address-443",
        "port": 3128,
        "proof": Proof.CANARY_REACHED,
        "exit_address": "198.51.100.9",
        "reply": "HTTP/1.1 200 Connection established",
        "command": "CONNECT 203.0.113.5:443 HTTP/1.1",
        "destination_ports": (23, 443, 40025),
    }
    return finding(**given | more)


def proxy_line(verdict=Verdict.OPEN, **more):
    given = {
        "weakness": Weakness.OPEN_PROXY,
        "software": SoftwareLine(name="squid", version="5.7"),
        "findings": (proxy_finding(),) if verdict is Verdict.OPEN else (),
        "doors": (door(verdict, port=3128, asked=7, planned=10),),
    }
    return line(verdict, **given | more)


def chain_finding(**more):
    given = {
        "advisory": "RW-2020",
        "via": "http-connect",
        "through": "3128 to 127.0.0.1",
        "proof": Proof.DELIVERED,
    }
    return finding(**given | more)


def chain_line(**more):
    way = {"via": "http-connect", "through": "3128 to 127.0.0.1"}
    given = {"findings": (chain_finding(),), "doors": (door(Verdict.OPEN, asked=1, planned=24, **way),)}
    return line(Verdict.OPEN, **given | more)


def tunnelled(**more):
    """An arrival at a canary that takes connections, which no mail names."""
    given = {"kind": ArrivalKind.TCP, "came_from": Endpoint(ip_address("198.51.100.9"), 41234), "port": 443}
    return Arrival(token=TOKEN, at=datetime(2026, 11, 24, 2, 10, 6, tzinfo=UTC), **given | more)
