"""The finding as a command to run by hand: swaks where it can send the envelope, else the dialogue."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.model.results import FindingLine, ResultLine
from relaywatch.runs.port_plan import proxy_ports, untold_doors
from relaywatch.runs.settings import DEFAULT_PORTS
from relaywatch.script.probe import load_probes

_TLS_OPTIONS = {Transport.PLAIN: [], Transport.STARTTLS: ["--tls"], Transport.TLS: ["--tls-on-connect"]}


@dataclass(frozen=True, slots=True)
class SentEnvelope:
    """The three commands of an envelope, their arguments as sent."""

    helo_verb: str
    helo: str
    mail: str
    rcpt: str


def parse_envelope(command: str) -> SentEnvelope | None:
    """Read the envelope as findings write it, ``EHLO a / MAIL FROM:b / RCPT TO:c``."""
    head, mail_mark, rest = command.partition(" / MAIL FROM:")
    mail, rcpt_mark, rcpt = rest.partition(" / RCPT TO:")
    verb, _, helo = head.partition(" ")
    if not mail_mark or not rcpt_mark or verb not in {"EHLO", "HELO"}:
        return None
    return SentEnvelope(verb, helo, mail, rcpt)


def swaks_command(line: ResultLine, finding: FindingLine) -> str | None:
    """Give a swaks command that asks the same and stops before DATA, so that nothing is sent.

    swaks puts the brackets on itself, takes commas for a list of recipients, and has no parameters to
    RCPT: an envelope that needs other than that is none for swaks, and the answer is nothing.
    """
    envelope = parse_envelope(finding.command)
    if envelope is None:
        return None
    reverse_path, forward_path = _within_brackets(envelope.mail), _within_brackets(envelope.rcpt)
    if reverse_path is None or not forward_path or "," in reverse_path + forward_path:
        return None
    options = [
        *("--server", _address_of(line), "--port", str(finding.port), *_family_option(line, finding)),
        *_TLS_OPTIONS[finding.transport],
        *(["--protocol", "SMTP"] if envelope.helo_verb == "HELO" else []),
        *("--ehlo", envelope.helo),
        *("--from", reverse_path or "<>"),
        *("--to", forward_path, "--quit-after", "RCPT"),
    ]
    return shlex.join(["swaks", *options])


def dialogue_by_hand(line: ResultLine, finding: FindingLine) -> list[str] | None:
    """Give the command that connects, and the lines to type, for what swaks can't send."""
    envelope = parse_envelope(finding.command)
    if envelope is None:
        return None
    address = _address_of(line)
    typed = [
        f"{envelope.helo_verb} {envelope.helo}",
        f"MAIL FROM:{envelope.mail}",
        f"RCPT TO:{envelope.rcpt}",
    ]
    return [_connecting(address, finding), *typed, "QUIT"]


def recheck_command(line: ResultLine) -> str:
    """The command that asks again: where something was found, else at every port that isn't a usual one."""
    if any(finding.via for finding in line.findings):
        return shlex.join(["relaywatch", "check", line.target])  # a chain is found by its proxy
    found = {finding.port for finding in line.findings}
    ports = found or {door.port for door in line.doors} - _usual_ports(line)
    named = [option for port in sorted(ports) for option in ("--port", str(port))]
    return shlex.join(["relaywatch", "check", line.target, *named])


def _usual_ports(line: ResultLine) -> set[int]:
    if line.weakness is Weakness.OPEN_RELAY:
        return set(DEFAULT_PORTS)
    untold = {
        port for probe in load_probes().values() for port, _ in untold_doors(probe, None, is_wanted=False)
    }
    return {port.number for port in proxy_ports()} | untold


def exempt_command(source_address: str) -> str:
    """The command by which fail2ban leaves our address alone; JAIL is the administrator's to fill in."""
    return f"fail2ban-client set JAIL addignoreip {shlex.quote(source_address)}"


def _connecting(address: str, finding: FindingLine) -> str:
    if finding.transport is Transport.PLAIN:
        return f"telnet {shlex.quote(address)} {finding.port}"
    host = f"[{address}]" if ":" in address else address
    start = " -starttls smtp" if finding.transport is Transport.STARTTLS else ""
    return f"openssl s_client -quiet -crlf{start} -connect {shlex.quote(host)}:{finding.port}"


def _family_option(line: ResultLine, finding: FindingLine) -> list[str]:
    """A name leads to addresses of both families; an address needs no telling."""
    host = _address_of(line)
    is_name = ":" not in host and not host.replace(".", "").isdigit()
    return [f"-{finding.family.removeprefix('ipv')}"] if is_name else []


def _address_of(line: ResultLine) -> str:
    """The target without port and brackets, as commands want it beside a port of its own."""
    text = line.target.removeprefix("mx:")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _within_brackets(argument: str) -> str | None:
    """The path within one pair of brackets; nothing if it stands in none, or in more, or has parameters."""
    inner = argument[1:-1]
    if argument[:1] != "<" or argument[-1:] != ">" or "<" in inner or ">" in inner:
        return None
    return inner
