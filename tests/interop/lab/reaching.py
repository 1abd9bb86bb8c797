"""The proof of a proxy's truth: tools carry a case's requests, and the journals say what arrived, and from where."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from . import carriers, plan
from .cases import Case, Protocol, Reach, Request, chosen
from .proof import Finding

_ARRIVES = 5.0  # seconds in which an arrival is noted after the tool has ended
_SILENT = 0.5  # the same where none is stated: the witness notes before it answers

#: What these carry can't hold a word of ours: an arrival from the server in time is the proof.
_WORDLESS = frozenset({Protocol.FTP_BOUNCE, Protocol.TURN_UDP})

#: Nothing of the destination's answer comes back to the stranger.
_ONE_WAY = frozenset({Protocol.FTP_BOUNCE})


class Journals:
    """What arrived at the witness and at the recorder, read from their files."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def mark(self) -> list[int]:
        """Return how long each journal is now."""
        return [len(lines) for lines in self._lines()]

    def since(self, mark: list[int]) -> list[dict[str, Any]]:
        """Return every arrival after the mark."""
        pairs = zip(self._lines(), mark, strict=True)
        return [json.loads(line) for lines, length in pairs for line in lines[length:]]

    def _lines(self) -> list[list[str]]:
        return [
            path.read_text(encoding="utf-8").splitlines() if path.exists() else [] for path in self._paths
        ]


#: The connection comes from outside: the script makes it at the witness's address, and says what it brought.
_INWARD = frozenset({Protocol.SOCKS5_BIND})


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to one destination port, with what the tool and the journals say of it."""

    asked: carriers.Errand
    answer: carriers.Answer
    arrivals: tuple[dict[str, Any], ...]
    exits: tuple[str, str]  # the addresses from which it has to come

    @property
    def outcome(self) -> str:
        """The outcome in a word; what can't be is told in more, and never is what a case states."""
        request = self.asked.request
        if request.answer:
            return Reach.REACHED if request.answer in self.answer.dialogue else self.answer.outcome
        if request.protocol in _INWARD:
            came = f"brought {self.asked.token}" in self.answer.dialogue
            return Reach.REACHED if came else self.answer.outcome
        strays = {arrival["source"] for arrival in self.arrivals} - set(self.exits)
        if strays:
            return f"arrived, but from {', '.join(sorted(strays))}"
        if not self.arrivals:
            return self.answer.outcome
        heard = any(arrival["answer"] in self.answer.dialogue for arrival in self.arrivals)
        if heard or request.protocol in _ONE_WAY or _echoed(request, self.answer):
            return Reach.REACHED
        return "arrived, but no answer came back"


def prove(case: Case, inside: Sequence[str], journals: Journals) -> list[Finding]:
    """Carry every request of a case to each of its destination ports, and return what became of each."""
    return [
        _finding(request, port, visit(case, request, port, inside, journals))
        for request in case.truth.requests
        for port in request.destination_ports
    ]


def visit(case: Case, request: Request, port: int, inside: Sequence[str], journals: Journals) -> Visit:
    """Carry one request to one port of its destination."""
    home = plan.home(chosen((request.exit,))[0] if request.exit else case)
    asked = carriers.errand(case, request, port, secrets.token_hex(8))
    mark = journals.mark()
    answer = carriers.carry(inside, asked)
    patience = _ARRIVES if request.outcome is Reach.REACHED and not request.answer else _SILENT
    deadline = time.monotonic() + patience
    while not (arrivals := _arrivals(asked, journals.since(mark))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return Visit(asked, answer, tuple(arrivals), (home.address, home.address_6))


def _arrivals(asked: carriers.Errand, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    at_port = [line for line in lines if line.get("port") == asked.port]  # a message has none
    if asked.request.protocol in _WORDLESS:
        return [line for line in at_port if line["source"] == asked.proxy]
    return [line for line in at_port if asked.token in line["said"]]


def _echoed(request: Request, answer: carriers.Answer) -> bool:
    """Tell whether turnutils got back what they had sent."""
    return request.protocol is Protocol.TURN_UDP and "tot_recv_msgs=2" in answer.dialogue


def _finding(request: Request, port: int, seen: Visit) -> Finding:
    reply = seen.answer.reply if seen.outcome == Reach.REFUSED else ""
    stated = msgspec.structs.replace(request, destination_ports=(port,))
    return Finding(stated, seen.outcome, reply, seen.answer.dialogue)
