"""``RewriteRule … [P]`` and ``ProxyPassMatch``: whether the host of the backend comes out of the request.

Requests that are made for the rule are run through it and through what stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relaywatch.audit.captures import compiled, host_of, is_fixed, is_outside, subjects
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST

from .reading import Node

_FLAGS = re.compile(r"[\s,]+")
_MOST_TRIED = 400
_REFERENCE = re.compile(
    r"\$(\d)|%(\d)|%\{([^}]+)\}|\$\{([^:}]+):((?:[^{}|]|%\{[^}]*\})*)(?:\|((?:[^{}]|%\{[^}]*\})*))?\}"
)
_CLIENTS = re.compile(
    r"(?:LA-[UF]:)?(?:HTTP:.+|HTTP_(?!HOST)\w+|QUERY_STRING|THE_REQUEST|REQUEST_URI|REQUEST_FILENAME|PATH_INFO|SSL:.+|ENV:.+|SERVER_NAME)"
)
_FOLDING = frozenset({"int:tolower", "int:unescape", "int:escape"})
_OWN_ADDRESSES = re.compile(r"\^\(?(?:10|127|192\\?\.168|172\\?\.)|=(?:10|127|192\.168)\.")
_INNER = re.compile(r"-R\s+'([^']+)'")


@dataclass(frozen=True, slots=True)
class Try:
    """One request that is tried: the Host field, the path, and what the client writes elsewhere."""

    host: str
    path: str
    elsewhere: str = OUTSIDE_HOST


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule leads to: an outside host by a path, or a gap where nobody knows."""

    node: Node
    path: str = "/"
    gap: Gap | None = None


@dataclass(slots=True)
class Rewriting:
    """The rules of one context, in order."""

    setup: Setup
    nodes: Sequence[Node]
    hosts: tuple[str, ...]
    """For which hosts requests come here."""
    is_in_folder: bool = False
    """Whether the path comes without its first slash, as in ``<Directory>`` and ``.htaccess``."""
    maps: dict[str, str] = field(default_factory=dict)

    def outcomes(self) -> Iterator[Outcome]:
        """Each rule that leads, or may lead, to a host that the client names."""
        rules = list(_rules(self.nodes))
        for number, rule in enumerate(rules):
            if rule.is_proxying and (_may_vary(rule.target) or self._is_of_others(rule)):
                yield from self._outcome(rule, rules[:number])

    def _outcome(self, rule: _Rule, before: list[_Rule]) -> Iterator[Outcome]:
        pattern = compiled(rule.pattern.removeprefix("!"), ignoring_case="NC" in rule.flags)
        if pattern is None or self._is_of_others(rule):
            yield self._unknown(rule)
            return
        has_matched, has_held = False, False
        for trial in self._trials(rule):
            has_matched |= (pattern.search(trial.path) is None) == rule.pattern.startswith("!")
            found = self._target(rule, pattern, trial)
            has_held |= found is not None
            if found is None:
                continue
            if is_outside(host_of(found)) and not any(self._stops(one, trial) for one in before):
                yield Outcome(rule.node, trial.path)
                return
        is_made = (has_matched or is_fixed(rule.pattern)) and rule.node.name != "sethandler"
        if not is_made or (not has_held and any(_may_hold(one) for one in rule.conditions)):
            yield self._unknown(rule)

    def _is_of_others(self, rule: _Rule) -> bool:
        """Whether a program, a database or the environment has a say in the target."""
        if (
            any(word.lower().startswith("interpolate") for word in rule.node.words[2:])
            and "${" in rule.target
        ):
            return True
        named = re.findall(r"\$\{([^:}]+):", rule.target)
        return any(self.maps.get(one, "").startswith(("prg:", "dbd:", "fastdbd:")) for one in named)

    def _unknown(self, rule: _Rule) -> Outcome:
        return Outcome(
            rule.node,
            gap=self.setup.note(Gap(GapKind.NOT_EVALUATED, rule.node.text[:80], rule.node.position)),
        )

    def _trials(self, rule: _Rule) -> Iterator[Try]:
        """Paths for the rule's pattern, with what its conditions ask for in the client's other words."""
        others = [OUTSIDE_HOST, f"{OUTSIDE_HOST}/"]
        for condition in rule.conditions:
            others += (
                list(dict.fromkeys(subjects(condition.words[1])))[:20] if len(condition.words) > 1 else []
            )
        start = "" if self.is_in_folder else "/"
        paths = dict.fromkeys((f"{start}{OUTSIDE_HOST}/", start, *subjects(rule.pattern.lstrip("!"), start)))
        count = 0
        for host in self.hosts:
            for other in dict.fromkeys(others):
                for path in paths:
                    count += 1
                    if count > _MOST_TRIED * len(self.hosts):
                        return
                    yield Try(host, path, other)

    def _target(self, rule: _Rule, pattern: re.Pattern[str], trial: Try) -> str | None:
        """The URL that comes of it; nothing if the rule doesn't apply."""
        found = pattern.search(trial.path)
        if (found is None) != rule.pattern.startswith("!"):
            return None
        held = self._held(rule.conditions, trial, found)
        if held is None:
            return None
        return self._expanded(rule.target, trial, found, held)

    def _held(
        self, conditions: Sequence[Node], trial: Try, found: re.Match[str] | None
    ) -> re.Match[str] | _None | None:
        """Whether all conditions hold; what the last of them captured."""
        captured: re.Match[str] | _None = _None()
        either = False
        for condition in conditions:
            flags = _flags(condition.words[2] if len(condition.words) > 2 else "")
            held = self._one(condition, flags, trial, found)
            if isinstance(held, re.Match):
                captured = held
            is_or = bool(flags & {"OR", "ORNEXT"})
            if not (bool(held) or either) and not is_or:
                return None
            either = (either or bool(held)) if is_or else False
        return captured

    def _one(
        self, condition: Node, flags: frozenset[str], trial: Try, found: re.Match[str] | None
    ) -> re.Match[str] | bool:
        subject, test = [*condition.words[:2], "", ""][:2]
        if subject == "expr":
            return not _INNER.search(test) or "!" in test
        if test.startswith(("-", "!-", "=", "!=", "<", ">")):
            return self._compared(subject, test, trial, found)
        value = self._expanded(subject, trial, found, _None())
        pattern = compiled(test.removeprefix("!"), ignoring_case="NC" in flags or "NOCASE" in flags)
        if "REMOTE_" in subject:
            return test.startswith("!") or pattern is None or pattern.search("198.51.100.7") is not None
        if pattern is None or subject in _HE_CHOOSES:
            return True
        match = pattern.search(value)
        return match is None if test.startswith("!") else (match or False)

    def _compared(self, subject: str, test: str, trial: Try, found: re.Match[str] | None) -> bool:
        wanted = test.lstrip("!=<>")
        if test.startswith(("=", "!=")) and subject not in _HE_CHOOSES:
            return (self._expanded(subject, trial, found, _None()) == wanted) != test.startswith("!")
        return True

    def _stops(self, rule: _Rule, trial: Try) -> bool:
        """Whether a rule before it keeps the request from it."""
        if not rule.flags & {"F", "FORBIDDEN", "G", "GONE", "L", "LAST", "END", "P", "PROXY"} and not any(
            flag.startswith(("R=", "REDIRECT")) or flag == "R" for flag in rule.flags
        ):
            return False
        pattern = compiled(rule.pattern.removeprefix("!"), ignoring_case="NC" in rule.flags)
        return pattern is not None and self._target(rule, pattern, trial) is not None

    def _expanded(
        self, text: str, trial: Try, found: re.Match[str] | None, captured: re.Match[str] | _None
    ) -> str:
        def one(reference: re.Match[str]) -> str:
            if reference[1]:
                return _group(found, int(reference[1]))
            if reference[2]:
                return _group(captured if isinstance(captured, re.Match) else None, int(reference[2]))
            if reference[3]:
                return _variable(reference[3], trial)
            return self._looked_up(reference, trial, found, captured)

        return _REFERENCE.sub(one, text)

    def _looked_up(
        self,
        reference: re.Match[str],
        trial: Try,
        found: re.Match[str] | None,
        captured: re.Match[str] | _None,
    ) -> str:
        """What a map makes of a key: for one that isn't in its list, its default."""
        if self.maps.get(reference[4], "").lower() in _FOLDING:
            return self._expanded(reference[5], trial, found, captured)
        return self._expanded(reference[6] or "", trial, found, captured)


def _may_hold(condition: Node) -> bool:
    """Whether a condition that no request of ours fulfils may be fulfilled by another."""
    subject, test = [*condition.words[:2], "", ""][:2]
    if "REMOTE_" in subject:
        return _OWN_ADDRESSES.match(test) is None
    return any(_CLIENTS.fullmatch(name) for name in re.findall(r"%\{([^}]+)\}", subject))


class _None:
    """Nothing was captured."""


_HE_CHOOSES = frozenset(
    {
        "%{HTTPS}",
        "%{REQUEST_METHOD}",
        "%{REQUEST_SCHEME}",
        "%{SERVER_PORT}",
        "%{SERVER_PROTOCOL}",
        "%{TIME_HOUR}",
    }
)


@dataclass(frozen=True, slots=True)
class _Rule:
    node: Node
    pattern: str
    target: str
    flags: frozenset[str]
    conditions: tuple[Node, ...]
    is_proxying: bool


def _rules(nodes: Sequence[Node]) -> Iterator[_Rule]:
    conditions: list[Node] = []
    for node in nodes:
        if node.name == "rewritecond":
            conditions.append(node)
        elif node.name == "rewriterule" and len(node.words) > 1:
            flags = _flags(node.words[2] if len(node.words) > 2 else "")
            is_proxying = bool(flags & {"P", "PROXY"}) or node.words[1].startswith("proxy:")
            yield _Rule(node, node.words[0], node.words[1], flags, tuple(conditions), is_proxying)
            conditions = []
        elif node.name == "proxypassmatch" and len(node.words) > 1:
            yield _Rule(node, node.words[0], node.words[1], frozenset(), (), node.words[1] != "!")
        elif node.name == "sethandler" and "".join(node.words[:1]).startswith("proxy:"):
            yield _Rule(node, "", node.words[0].removeprefix("proxy:"), frozenset(), (), is_proxying=True)
        elif node.name == "proxypass" and len(node.words) > 1 and "$" in node.words[1]:
            yield _Rule(node, node.words[0], node.words[1], frozenset(), (), is_proxying=True)


def _flags(text: str) -> frozenset[str]:
    return frozenset(flag.upper() for flag in _FLAGS.split(text.strip("[]")) if flag)


def _may_vary(target: str) -> bool:
    """Whether anything of the request may get into the host."""
    authority = target.removeprefix("proxy:").split("://", 1)[-1]
    return bool(_REFERENCE.search(authority.split("/", 1)[0]) or _REFERENCE.search(authority[:2]))


def _group(found: re.Match[str] | None, number: int) -> str:
    if found is None or number > found.re.groups:
        return ""
    return found[number] or ""


def _variable(name: str, trial: Try) -> str:
    if name in {"HTTP_HOST", "HTTP:Host"}:
        return trial.host
    if name in {"REQUEST_URI", "REQUEST_FILENAME"}:
        return trial.path
    if _CLIENTS.fullmatch(name) and name != "SERVER_NAME":
        return trial.elsewhere
    return trial.host if name == "SERVER_NAME" else ""
