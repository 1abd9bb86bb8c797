"""OpenSSH's server (sshd_config(5), 9.2): whoever it admits without a password has it forward TCP for him.

Without an account that needs no password a stranger gets nowhere, whatever is forwarded for others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Way,
    all_of,
    any_of,
    joined,
    shortest,
    unknown,
)
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import (
    by_rule,
    first_of_each,
    headed,
    host_and_port,
    is_loopback,
    path_of,
    ports_to_try,
)
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*")
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_SHADOW = "/etc/shadow"
_MOST_DEPTH = 16
_MOST_ACCOUNTS = 8


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    words: tuple[str, ...]
    position: Position
    match: tuple[str, ...] = ()
    """The words of the ``Match`` line above it."""

    def cause(self, rule: str = "") -> Cause:
        return Cause(" ".join((self.name, *self.words)), self.position, rule)


def evaluate(setup: Setup) -> Iterator[Service]:
    """One server, on all its addresses."""
    source = setup.read_main()
    if source is None:
        return
    said = list(_lines(setup, source, (), ()))
    heard = [one for one in said if one.name == "listenaddress" and one.words]
    ports = [one.words[0] for one in said if one.name == "port" and one.words] or ["22"]
    sshd = _Sshd(setup, said)
    yield Service(
        name=", ".join(one.words[0] for one in heard) or f"*:{ports[0]}",
        weakness=Weakness.OPEN_PROXY,
        position=heard[0].position if heard else None,
        passing=first_of_each(way for version in (4, 6) for way in sshd.passing(version)),
        is_out_of_reach=bool(heard) and all(is_loopback(host_and_port(one.words[0])[0]) for one in heard),
    )


def _lines(
    setup: Setup, source: SourceFile, match: tuple[str, ...], within: tuple[str, ...]
) -> Iterator[_Line]:
    outer = match  # of the Match line above the Include
    for number, text in enumerate(source.lines, 1):
        found = _LINE.fullmatch(text)
        if found is None:
            if text.strip() and not text.strip().startswith("#"):
                setup.note(Gap(GapKind.SYNTAX, text.strip()[:80], source.at(number)))
            continue
        name = _ALIASES.get(found[1].lower(), found[1].lower())
        words = tuple(quoted or bare for quoted, bare in _WORD.findall(found[2]))
        words = words[: next((n for n, word in enumerate(words) if word.startswith("#")), len(words))]
        if name == "match":
            match = (*outer, *(words or ("all",)))
        elif name == "include":
            yield from _included(
                setup, words, _Line(name, words, source.at(number), match), (*within, source.name)
            )
        else:
            yield _Line(name, words, source.at(number), match)


def _included(setup: Setup, patterns: Sequence[str], at: _Line, within: tuple[str, ...]) -> Iterator[_Line]:
    for pattern in patterns:
        for name in setup.included(pattern):
            source = setup.read(name, at.position)
            if source is not None and (source.name in within or len(within) > _MOST_DEPTH):
                setup.note(Gap(GapKind.LOOP, name, at.position))
            elif source is not None:
                yield from _lines(setup, source, at.match, within)


@dataclass(frozen=True, slots=True)
class _Sshd:
    setup: Setup
    said: Sequence[_Line]

    def passing(self, version: int) -> Iterator[Way]:
        """The ways in which an account without a password forwards to an outside host."""
        if not any(
            one.name == "permitemptypasswords" and [word.lower() for word in one.words[:1]] == ["yes"]
            for one in self.said
        ):
            return
        for account, known in self._accounts():
            for way in self._let_in(account, version):
                for port, forwarding in self._forwarding(account, version):
                    for gap in known.gaps:
                        self.setup.note(gap)
                    yield headed(
                        _joined(by_rule(way, known), forwarding), f"{OUTSIDE_HOST}:{port} as {account}"
                    )

    def _accounts(self) -> Iterator[tuple[str, Way]]:
        """Those without a password; where the list of accounts isn't there, some account, and nobody knows."""
        source = self.setup.read(_SHADOW) if self.setup.has(_SHADOW) else None
        if source is None:
            gap = Gap(GapKind.MISSING, f"{_SHADOW}: accounts without a password")
            yield "anybody", Way(gaps=frozenset((gap,)))
            return
        fields = [(line.split(":"), number) for number, line in enumerate(source.lines, 1)]
        empty = [(one[0], number) for one, number in fields if len(one) > 1 and one[1] == ""]
        for name, number in empty[:_MOST_ACCOUNTS]:
            yield name, Way(causes=(Cause(f"{name}::", source.at(number)),))

    def _let_in(self, account: str, version: int) -> tuple[Way, ...]:
        """Past what forbids an account without a password to log in."""
        ways = self._is(account, version, "permitemptypasswords", {"yes"}, default=False)
        ways = joined(ways, self._asked(account, version))
        if not ways:
            return ()
        if account == "root":
            ways = joined(ways, self._is(account, version, "permitrootlogin", {"yes"}, default=False))
        for name, wanted in (("denyusers", False), ("allowusers", True)):
            ways = joined(ways, self._listed(account, name, wanted=wanted))
        for name in ("allowgroups", "denygroups", "authenticationmethods"):
            ways = joined(ways, self._not_evaluated(name, {"any"}))
        return joined(ways, self._not_evaluated("usepam", {"no"}))

    def _asked(self, account: str, version: int) -> tuple[Way, ...]:
        """He is asked for a password by sshd, or by PAM in a dialogue of its own, which may take an empty one too."""
        asked = self._is(account, version, "passwordauthentication", {"yes"}, default=True)
        if any(one.name == "usepam" and [word.lower() for word in one.words] == ["yes"] for one in self.said):
            asked += self._is(account, version, "kbdinteractiveauthentication", {"yes"}, default=True)
        return shortest(asked)

    def _not_evaluated(self, name: str, harmless: set[str]) -> tuple[Way, ...]:
        line = next((one for one in self.said if one.name == name), None)
        if line is None or set(line.words) <= harmless:
            return (Way(),)
        return unknown(self.setup.note(Gap(GapKind.EXTERNAL, line.cause().text, line.position))).true

    def _listed(self, account: str, name: str, *, wanted: bool) -> tuple[Way, ...]:
        lines = [one for one in self.said if one.name == name]
        patterns = [word.partition("@")[0] for one in lines for word in one.words]
        if not patterns:
            return (Way(),)
        odd = next((one for one in lines if one.match or any(_has_host(word) for word in one.words)), None)
        if odd is not None and any(fnmatchcase(account, one) for one in patterns) | bool(odd.match):
            return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, odd.cause().text, odd.position))).true
        return (Way(),) if any(fnmatchcase(account, one) for one in patterns) == wanted else ()

    def _is(
        self, account: str, version: int, name: str, wanted: set[str], *, default: bool
    ) -> tuple[Way, ...]:
        """A setting as it is for an account: a ``Match`` that holds goes before what stands outside of all."""
        return self._rules(account, version, name, wanted, default=default).get(True, ())

    def _rules(
        self, account: str, version: int, name: str, wanted: set[str], *, default: bool
    ) -> dict[bool, tuple[Way, ...]]:
        lines = [one for one in self.said if one.name == name and one.words]
        rules = [
            Rule(
                self._matches(one, account, version),
                answer=one.words[0].lower() in wanted,
                causes=(one.cause(_RULES.get(name, "")),),
            )
            for one in sorted(lines, key=lambda one: not one.match)
        ]
        return first_match(rules, default)

    def _forwarding(self, account: str, version: int) -> Iterator[tuple[str, tuple[Way, ...]]]:
        allowed = self._is(account, version, "allowtcpforwarding", {"yes", "all", "local"}, default=True)
        disabled = self._rules(account, version, "disableforwarding", {"yes"}, default=False).get(False, ())
        words = (word for one in self.said if one.name == "permitopen" for word in one.words)
        for port in map(str, ports_to_try(words)):
            ways = joined(joined(allowed, disabled), self._opened(account, version, port))
            if ways:
                yield port, ways

    def _opened(self, account: str, version: int, port: str) -> tuple[Way, ...]:
        """``PermitOpen``: any, none, or hosts with ports."""
        lines = [one for one in self.said if one.name == "permitopen" and one.words]
        rules = [
            Rule(self._matches(one, account, version), answer=any(_opens(word, port) for word in one.words))
            for one in sorted(lines, key=lambda one: not one.match)
        ]
        return first_match(rules, default=True).get(True, ())

    def _matches(self, line: _Line, account: str, version: int) -> Condition:
        words = iter(line.match)
        parts: list[Condition] = []
        for criterion in words:
            kind, _, value = criterion.lower().partition("=")
            if kind == "all":
                continue
            parts.append(self._fits(kind, value or next(words, ""), line, account, version))
        return all_of(parts)

    def _fits(self, kind: str, value: str, line: _Line, account: str, version: int) -> Condition:
        patterns = value.split(",")
        if kind == "user":
            denied = any(fnmatchcase(account, one[1:]) for one in patterns if one.startswith("!"))
            return ALWAYS if not denied and any(fnmatchcase(account, one) for one in patterns) else NEVER
        if kind == "address":
            return any_of(self._from(one, version) for one in patterns)
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(line.match), line.position)))

    def _from(self, pattern: str, version: int) -> Condition:
        try:
            return self.setup.strangers(AddressSet.of([pattern]), version)
        except ValueError:
            if pattern != "*" and any(wild in pattern for wild in "*?"):
                return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, f"Match Address {pattern}")))
            return ALWAYS if pattern == "*" else NEVER


def _joined(way: Way, others: Sequence[Way]) -> Way:
    """A way and the shortest of others."""
    return way.joined(others[0])


def _has_host(word: str) -> bool:
    return "@" in word and not word.endswith("@*")


def _opens(word: str, port: str) -> bool:
    if word.lower() in {"any", "none"}:
        return word.lower() == "any"
    host, wanted = host_and_port(word)
    return host == "*" and wanted in {"*", port}


_ALIASES = {"challengeresponseauthentication": "kbdinteractiveauthentication"}
_RULES = {"permitemptypasswords": "ss-empty-password"}


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """No account without a password logs in: the owner's own have passwords or keys."""
    path = path_of(setup, finding.file)
    if path is None or finding.rule not in _RULES.values() or finding.line < 1:
        return
    line = setup.sources[path].lines[finding.line - 1]
    fresh = re.sub(r"(?i)^(\s*PermitEmptyPasswords\s*[= ]\s*).*", r"\g<1>no", line)
    yield Edit(path, finding.line, finding.line, (fresh,))


SERVER = Server(
    name="openssh",
    home="/etc/ssh",
    marks=(Mark(name="sshd_config"),),
    evaluate=evaluate,
    mend=mend,
    check=("sshd", "-t", "-f", "{main}"),
    reload=("systemctl", "reload", "ssh"),
)
