"""One envelope sent by swaks, and what the server said to it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from . import plan
from .cases import Case, Envelope, Outcome
from .errors import LabError
from .shell import tail

_REFUSED = frozenset({22, 23, 24, 25, 26})  # EHLO, MAIL, RCPT, DATA, message: see swaks, "EXIT CODES"
_UNREACHABLE = frozenset({2, 6, 21})  # no connection, lost before a greeting, no greeting
_PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server made of the message, its last refusing reply ("" if none), and the dialogue."""

    outcome: Outcome  # KEPT, REFUSED or UNREACHABLE: what arrives isn't known here
    reply: str
    dialogue: str

    @property
    def accepted(self) -> bool:
        """Whether the server took the message."""
        return self.outcome is Outcome.KEPT


def send(inside: Sequence[str], case: Case, envelope: Envelope, token: str) -> Answer:
    """Send the envelope from the stranger's room; raise LabError where no dialogue came about."""
    done = subprocess.run(
        [*inside, *command(case, envelope, token)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PATIENCE * 4,
        check=False,
    )
    dialogue = done.stdout + done.stderr
    if done.returncode in _UNREACHABLE and envelope.outcome is Outcome.UNREACHABLE:
        return Answer(Outcome.UNREACHABLE, "", dialogue)
    if done.returncode not in _REFUSED | {0}:
        raise LabError(f"{case.name}: swaks ended with {done.returncode}:\n{tail(dialogue, 30)}")
    refusals = [
        line.split(maxsplit=1)[1] for line in dialogue.splitlines() if line.startswith(("<** ", "<~* "))
    ]
    outcome = Outcome.REFUSED if done.returncode else Outcome.KEPT
    return Answer(outcome, refusals[-1] if refusals else "", dialogue)


def command(case: Case, envelope: Envelope, token: str) -> list[str]:
    """Return the swaks command of an envelope."""
    home = plan.home(case)
    server = home.address if envelope.family == "ipv4" else home.address_6
    words = ["swaks", *_way(case, envelope, server), "--timeout", str(_PATIENCE)]
    words += ["--ehlo", fill(envelope.ehlo, case, token)]
    words += ["--from", fill(envelope.reverse_path, case, token) or "<>"]
    words += ["--to", fill(envelope.forward_path, case, token)]
    words += ["--header", f"Subject: {token}", "--body", f"A message of the lab, {token}."]
    words += {"plain": [], "starttls": ["--tls"], "tls": ["--tls-on-connect"]}[envelope.transport]
    if envelope.source:
        words += ["--local-interface", envelope.source]
    if envelope.xclient:
        words += ["--xclient", envelope.xclient]
    if envelope.proxy_source:
        family = "TCP6" if ":" in envelope.proxy_source else "TCP4"
        words += ["--proxy-version", "1", "--proxy-family", family, "--proxy-protocol", "STREAM"]
        words += ["--proxy-source", envelope.proxy_source, "--proxy-source-port", "40000"]
        words += ["--proxy-dest", server, "--proxy-dest-port", str(envelope.port)]
    return words


def _way(case: Case, envelope: Envelope, server: str) -> list[str]:
    """Say how to reach the server: by its port, or through a proxy on its host."""
    if not envelope.via:
        return ["--server", server, "--port", str(envelope.port)]
    destination = fill(envelope.via.destination, case, "")
    tunnel = ["ncat", "--proxy-type", envelope.via.protocol, "--proxy", f"{server}:{envelope.via.port}"]
    return ["--pipe", " ".join([*tunnel, destination, str(envelope.port)])]


def fill(text: str, case: Case, token: str) -> str:
    """Put the names of this case and the token in an address."""
    return text.format(
        token=token,
        host=plan.host_name(case),
        ip=plan.home(case).address,
        hosted=plan.hosted_domain(case),
        pointing=plan.pointing_domain(case),
    )
