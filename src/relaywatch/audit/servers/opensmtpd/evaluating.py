"""Which envelopes of strangers fit a match that relays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from relaywatch.audit.addresses import LOOPBACK, AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Way,
    any_of,
    claimed,
    joined,
    shortest,
    unknown,
)
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.domains import is_public_suffix, outsiders
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.patterns import NotEvaluatedError, Pattern, pattern, sample
from relaywatch.audit.proxies import AS_HE_LIKES
from relaywatch.audit.strangers import OUTSIDE_DOMAINS
from relaywatch.audit.witness import OUTSIDE_MAILBOX

from .reading import Match, Smtpd, Statement, Values

_DELIVERING = frozenset({"mbox", "maildir", "mda", "lmtp", "expand-only", "forward-only"})
_MOST_LISTED = 24
_SUBDOMAINS = re.compile(r"^\^\((?:\[[a-z0-9A-Z_-]+\]|\.)[+*](?:\\\.|\[\.\])\)[*?]")
"""The usual way to say *and everything below it*; what repeats a repetition would not be evaluated."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A ``listen``, and the matches that its envelopes meet."""

    smtpd: Smtpd
    statement: Statement
    matches: Sequence[Match]
    inside: bool

    def passing(self) -> tuple[Way, ...]:
        """The ways to a match that relays, for just any mailbox and for those that a wide entry means too."""
        ways: list[Way] = []
        for version in (4, 6):
            usual = self._usual(version)
            for mailbox in dict.fromkeys((usual, OUTSIDE_MAILBOX, *self._wide())):
                claims = Claim(ClaimKind.FORWARD_PATH, mailbox)
                own = Way() if mailbox == usual else Way(frozenset((claims,)))
                rules = [
                    Rule(self._fits(one, version, mailbox), answer=self._relays(one), causes=(_cause(one),))
                    for one in self.matches
                ]
                ways += joined((own,), first_match(rules, default=False).get(True, ()))
        return shortest(ways)

    def _usual(self, version: int) -> str:
        """Just any mailbox: of some below different top-level domains that which the fewest matches mean."""
        mailboxes = [f"someone@{domain}" for domain in OUTSIDE_DOMAINS]
        return min(
            mailboxes,
            key=lambda one: sum(bool(self._fits(match, version, one).true) for match in self.matches),
        )

    def _relays(self, match: Match) -> bool:
        return bool(match.action) and self.smtpd.actions[match.action] not in _DELIVERING

    def _fits(self, match: Match, version: int, mailbox: str) -> Condition:
        result = self._from(match, version)
        known = match.find("for")
        result &= NEVER if known is None else _signed(self._for(known[1], match, mailbox), known[0])
        for name, negated, words in match.conditions:
            if name not in {"from", "for"}:
                result &= _signed(self._other(name, words, match, mailbox), negated)
        return result

    def _from(self, match: Match, version: int) -> Condition:
        known = match.find("from")
        negated, words = known or (False, ("local",))
        kind, rest = (words[0] if words else ""), words[1:]
        if kind == "any":
            found = ALWAYS
        elif kind in {"auth", "socket"}:
            found = NEVER
        elif kind == "local":
            found = self._is_local(version)
        elif kind == "src":
            found = self._addresses(rest, match, version)
        elif kind == "rdns":
            found = self._said(ClaimKind.CLIENT_NAME, rest, match)
        elif kind == "mail-from":
            found = self._said(ClaimKind.REVERSE_PATH, rest, match)
        else:
            found = self._nobody_knows(match)
        return _signed(found, negated)

    def _is_local(self, version: int) -> Condition:
        """Loopback, the host's own addresses, and whoever lies about his own to a listener that believes it."""
        found = self.smtpd.setup.strangers(LOOPBACK, version)
        if not self.statement.has("proxy-v2") or self.inside:
            return found
        cause = Cause(self.statement.text(), self.statement.position, "os-proxy")
        return found | claimed(Claim(ClaimKind.PROXY_HEADER, "TCP4 127.0.0.1")).because(cause)

    def _for(self, words: tuple[str, ...], match: Match, mailbox: str) -> Condition:
        kind, rest = (words[0] if words else ""), words[1:]
        if kind == "any":
            return ALWAYS
        if kind == "local":
            return NEVER
        if kind == "domain":
            return self._holds(rest, match, mailbox.rpartition("@")[2])
        return self._other(kind, rest, match, mailbox) if kind == "rcpt-to" else self._nobody_knows(match)

    def _other(self, name: str, words: tuple[str, ...], match: Match, mailbox: str) -> Condition:
        if name == "auth":
            return NEVER
        if name == "tls":
            return AS_HE_LIKES if self._offers_tls() else NEVER
        if name == "tag":
            return self._holds(words, match, self.statement.after("tag"))
        if name == "rcpt-to":
            return self._holds(words, match, mailbox)
        kind = ClaimKind.HELO if name == "helo" else ClaimKind.REVERSE_PATH
        return self._said(kind, words, match)

    def _offers_tls(self) -> bool:
        return any(self.statement.has(word) for word in ("tls", "tls-require", "smtps"))

    def _nobody_knows(self, match: Match) -> Condition:
        gap = Gap(GapKind.NOT_EVALUATED, match.statement.text(), match.statement.position)
        return unknown(self.smtpd.setup.note(gap))

    def _values(self, words: tuple[str, ...]) -> tuple[bool, Values]:
        """Whether they are expressions, and the values."""
        is_regex = words[:1] == ("regex",)
        words = words[1:] if is_regex else words
        if words[:1] == ("<",):
            missing = Values(gap=Gap(GapKind.MISSING, f"table {''.join(words[1:])}"))
            return is_regex, self.smtpd.tables.get("".join(words[1:]), missing)
        return is_regex, Values(tuple(word for word in words[1:] if word not in {",", "="}))

    def _addresses(self, words: tuple[str, ...], match: Match, version: int) -> Condition:
        is_regex, values = self._values(words)
        if values.gap is not None:
            return unknown(self.smtpd.setup.note(values.gap))
        if is_regex:
            return self._nobody_knows(match)
        found, rest = AddressSet(), NEVER
        for value in values.values:
            try:
                found |= AddressSet.of([value.removeprefix("IPv6:").strip("[]")])
            except ValueError:
                rest |= ALWAYS if value == "*" else NEVER
        return self.smtpd.setup.strangers(found, version) | rest

    def _holds(self, words: tuple[str, ...], match: Match, text: str) -> Condition:
        """Whether what isn't for the stranger to choose freely is in a list."""
        is_regex, values = self._values(words)
        if values.gap is not None:
            return unknown(self.smtpd.setup.note(values.gap))
        if not is_regex:
            return ALWAYS if any(_is_meant(value, text) for value in values.values) else NEVER
        expressions = self._expressions(values.values, match)
        if expressions is None:
            return self._nobody_knows(match)
        return ALWAYS if any(one.holds(text) for one in expressions) else NEVER

    def _said(self, kind: ClaimKind, words: tuple[str, ...], match: Match) -> Condition:
        """Whether he says one of these."""
        is_regex, values = self._values(words)
        if values.gap is not None:
            return unknown(self.smtpd.setup.note(values.gap))
        said: list[str | None] = [*map(_one_of, values.values)]
        if is_regex:
            expressions = self._expressions(values.values, match)
            said = [None] if expressions is None else [sample(one.expression) for one in expressions]
        if None in said:
            return self._nobody_knows(match)
        if "*" in said:
            return ALWAYS
        return any_of(claimed(Claim(kind, text)) for text in said[:_MOST_LISTED] if text is not None)

    def _expressions(self, values: Iterable[str], match: Match) -> list[Pattern] | None:
        try:
            return [pattern(_SUBDOMAINS.sub("^(.+[.])?", value), "", is_pcre=False) for value in values]
        except NotEvaluatedError:
            self._nobody_knows(match)
            return None

    def _wide(self) -> Iterator[str]:
        """Mailboxes elsewhere that a list of domains means although it names others."""
        for match in self.matches:
            for name, _, words in match.conditions:
                if name not in {"for", "rcpt-to"} or words[:1] in {("any",), ("local",)}:
                    continue
                is_regex, values = self._values(words[1:] if name == "for" else words)
                for value in values.values[: _MOST_LISTED * 4]:
                    yield from _meant_too(value, match, self, is_regex=is_regex)


def _meant_too(value: str, match: Match, listener: Listener, *, is_regex: bool) -> Iterator[str]:
    if is_regex:
        for one in listener._expressions([value], match) or ():  # noqa: SLF001 -- its own module
            yield from (f"someone@{domain}" for domain in outsiders(one)[:2])
        return
    suffix = value.rpartition("@")[2].removeprefix("*").strip(".").lower()
    if "*" in value and suffix and is_public_suffix(suffix):
        yield f"someone@elsewhere.{suffix}"


def _signed(condition: Condition, negated: bool) -> Condition:
    return ~condition if negated else condition


def _is_meant(value: str, text: str) -> bool:
    """A domain, or a mailbox by its domain or local part; ``*`` stands for anything."""
    value, text = value.lower(), text.lower()
    if "@" in value and "@" in text:
        local, _, domain = value.rpartition("@")
        own, _, where = text.rpartition("@")
        return (not local or local == own) and fnmatchcase(where, domain)
    if "@" in text:
        return value == text.rpartition("@")[0]
    return fnmatchcase(text, value)


def _one_of(value: str) -> str:
    """What a stranger says so as to be meant."""
    if value in {"*", "@*"}:
        return "*"
    filled = value.replace("*", "a")
    return f"postmaster{filled}" if filled.startswith("@") else filled


_BY_WORDS: Mapping[str, str] = {"mail-from": "os-mail-from", "helo": "os-helo"}


def _cause(match: Match) -> Cause:
    """The match, and what is wrong with it where it lets strangers through."""
    names = [name for name, negated, _ in match.conditions if not negated]
    rule = next((_BY_WORDS[name] for name in names if name in _BY_WORDS), "")
    origin = match.find("from") or (False, ("local",))
    target = match.find("for")
    kinds = {"mail-from": "os-mail-from", "rdns": "os-rdns", "src": "os-src", "local": "os-front-end"}
    rule = rule or kinds.get(origin[1][0] if origin[1] and not origin[0] else "", "")
    if not rule and target is not None:
        is_list = target[1][:1] not in {("any",), ("local",)}
        rule = ("os-not-domain" if target[0] else "os-domain") if is_list else "os-any"
    return Cause(match.statement.text(), match.statement.position, rule or "os-any")
