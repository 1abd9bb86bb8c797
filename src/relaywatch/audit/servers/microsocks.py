"""microsocks: a command line, in a unit file or a script; without ``-u`` and ``-P`` it serves everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from relaywatch.audit.commands import CommandLine, command_lines
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind
from relaywatch.audit.proxies import headed, is_loopback
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_VALUED = frozenset("ipuPbw")
_USUAL: Mapping[str, str] = MappingProxyType({"i": "0.0.0.0", "p": "1080"})  # noqa: S104 -- microsocks's own default


def evaluate(setup: Setup) -> Iterator[Service]:
    """A server for each line that starts one."""
    source = setup.read_main()
    for line in command_lines(setup, source, "microsocks") if source else ():
        options = _options(line.words)
        address = options.get("i", _USUAL["i"])
        yield Service(
            name=f"{address}:{options.get('p', _USUAL['p'])}",
            weakness=Weakness.OPEN_PROXY,
            position=line.position,
            passing=_passing(setup, line, options),
            down=_refusal(line, options),
            is_out_of_reach=is_loopback(address),
        )


def _options(words: tuple[str, ...]) -> dict[str, str]:
    """As getopt has them: ``-i ::``, ``-i::``, ``-1qp 1081``; a shell's own words end them."""
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word in {"&", ";", "&&", "|", ">", ">>", "2>&1"}:
            break
        letters = word[1:] if word.startswith("-") else ""
        for number, letter in enumerate(letters):
            if letter in _VALUED:
                found[letter] = letters[number + 1 :] or next(rest, "")
                break
            found[letter] = ""
    return found


def _passing(setup: Setup, line: CommandLine, options: Mapping[str, str]) -> tuple[Way, ...]:
    if "u" in options and "P" in options:
        if "1" in options or "w" in options:
            setup.set_aside(Gap(GapKind.NOT_EVALUATED, f"{line.text}: admits whole addresses", line.position))
        return ()
    gaps = frozenset((setup.note(line.gap),)) if line.gap else frozenset()
    return (headed(Way(gaps=gaps, causes=(_cause(line, "ms-no-password"),)), f"{OUTSIDE_HOST}:25 by SOCKS5"),)


def _refusal(line: CommandLine, options: Mapping[str, str]) -> Cause | None:
    """A name without a password, or ``-1`` without both, and it says so and ends."""
    is_half = ("u" in options) != ("P" in options)
    is_once = ("1" in options or "w" in options) and not {"u", "P"} <= options.keys()
    return _cause(line, "ms-half") if (is_half or is_once) and not line.gap else None


def _cause(line: CommandLine, rule: str) -> Cause:
    return Cause(line.text[:120], line.position, rule)


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Bind it to loopback: it has no list of clients, and a password is the owner's to choose."""
    source = setup.read_main()
    if source is None or finding.rule != "ms-no-password" or setup.allowed:
        return
    line = source.lines[finding.line - 1]
    if re.search(r"\s-i\s*\S+", line):
        fresh = re.sub(r"(\s)-i\s*\S+", r"\1-i 127.0.0.1", line, count=1)
    else:
        fresh = re.sub(r"\bmicrosocks\b(?!.*\bmicrosocks\b)", "microsocks -i 127.0.0.1", line, count=1)
    yield Edit(setup.main, finding.line, finding.line, (fresh,))


_STARTED = re.compile(r"^[^#\n]*\bmicrosocks\b(?:\s|$)", re.MULTILINE)
SERVER = Server(
    name="microsocks",
    home="/etc/systemd/system",
    marks=(
        Mark(name="microsocks.service"),
        Mark(name="microsocks*.service", holds=re.compile(r"^ExecStart=.*\bmicrosocks\b", re.MULTILINE)),
        Mark(name="*.service", holds=re.compile(r"^ExecStart=\S*\bmicrosocks\b", re.MULTILINE)),
        Mark(name="microsocks*", holds=_STARTED),
    ),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "microsocks"),
)
