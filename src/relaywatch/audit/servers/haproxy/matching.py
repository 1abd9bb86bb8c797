"""``acl`` lines and conditions, for a stranger who may write what he likes into his request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import compiled, is_of_own_names, is_outside, names_for
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, all_of, any_of, claimed, unknown
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST, OUTSIDE_HOSTS

from .reading import STAGES, Line, Section

_OWN: Mapping[str, Condition] = MappingProxyType(
    {"TRUE": ALWAYS, "FALSE": NEVER, "LOCALHOST": NEVER, "WAIT_END": ALWAYS}
)
_PREDEFINED = re.compile(r"HTTP(?:_\S+|2\.0)?|METH_\w+|REQ_CONTENT|RDP_COOKIE")
_SURE = frozenset({"always_true", "wait_end"})
"""What is true, if need be in the end."""
_SETTING = re.compile(r"(?:set-var|set-var-fmt|do-resolve)\(([^),]+)")
_KEPT = ("sess.", "proc.")
"""Scopes of variables that outlive a request."""
_MOST_DEPTH = 4
_PARTS = re.compile(r",(?![^(]*\))")
_SAME_HOST = frozenset({"lower", "upper", "host_only", "field(1,:)"})

_HOST = re.compile(
    r"(?:req\.|req_)?f?hdr(?:_\w+)?\(host(?:,-?\d+)?\)|(?:req\.ssl_sni|req_ssl_sni|ssl_fc_sni)(?:_\w+)?|base(?:_\w+)?"
)
_FIELD = re.compile(r"(?:req\.|req_)?f?hdr(?:_\w+)?\(([^,)]+)")
_AS_HE_LIKES = re.compile(
    r"(?:method|path|url|urlp|url_param|query|uri|pathq|req\.\w+|req_\w+|cook|req\.cook|body|ssl_fc|scheme|dst|dst_port"
    r"|src_port|payload|payload_lv|date|rand|fe_conn|be_conn|nbsrv|sc\w*|src_\w+|hdr_cnt)"
    r"(?:_\w+)?(?:\(.*)?"
)
_CREDENTIALS = ("http_auth", "ssl_c_used", "ssl_fc_has_crt", "always_false", "src_is_local")
"""What a stranger hasn't, and what nobody has."""
_WAYS = re.compile(r"hdr_(\w+)|_(beg|end|sub|dom|reg|dir|str)$")


@dataclass(frozen=True, slots=True)
class Matching:
    """The acls of a section."""

    setup: Setup
    section: Section
    version: int
    around: tuple[Section, ...] = ()
    """Whose rules set variables."""
    rule: Line | None = None
    """The rule whose condition it is: what is set behind it isn't set yet."""
    depth: int = 0

    def when(self, line: Line) -> Condition:
        """Whether a line's rule applies: always, without ``if`` and ``unless``."""
        words = line.words
        for word, negated in (("if", False), ("unless", True)):
            if word in words:
                found = replace(self, rule=line).holds(words[words.index(word) + 1 :], line)
                return ~found if negated else found
        return ALWAYS

    def holds(self, words: Sequence[str], line: Line) -> Condition:
        """Whether what stands behind ``if`` holds: groups of acls with ``or`` between them."""
        groups: list[list[str]] = [[]]
        for word in words:
            if word in {"or", "||"}:
                groups.append([])
            else:
                groups[-1].append(word)
        return any_of(all_of(self._terms(group, line)) for group in groups)

    def _terms(self, words: list[str], line: Line) -> Iterator[Condition]:
        negated = False
        rest = iter(words)
        for word in rest:
            if word == "!":
                negated = not negated
                continue
            bare = word.lstrip("!")
            negated ^= (len(word) - len(bare)) % 2 == 1
            found = self._within(rest, line) if bare == "{" else self._named(bare, line)
            yield ~found if negated else found
            negated = False

    def _within(self, rest: Iterator[str], line: Line) -> Condition:
        """``{ … }``: an acl without a name."""
        inside: list[str] = []
        for word in rest:
            if word == "}":
                break
            inside.append(word)
        return self._one(inside, line)

    def _named(self, name: str, line: Line) -> Condition:
        if name in _OWN:
            return _OWN[name]
        lines = [one for one in self.section.all("acl") if one.words[1:2] == (name,)]
        if not lines:
            return AS_HE_LIKES if _PREDEFINED.fullmatch(name) else self._gap(line)
        return any_of(self._one(one.words[2:], one) for one in lines)

    def _one(self, words: Sequence[str], line: Line) -> Condition:
        """A sample and what it is compared with."""
        if not words:
            return NEVER
        sample, *rest = words
        fetch, *converters = _PARTS.split(sample)
        how = next((one for found in _WAYS.findall(fetch) for one in found if one), "str")
        values: list[str] = []
        at = iter(rest)
        for word in at:
            if word == "-m":
                how = next(at, how)
            elif word == "-f":
                values += self._listed(next(at, ""), line)
            elif word == "--":
                values += at
            elif not word.startswith("-"):
                values.append(word)
        is_host = _HOST.fullmatch(fetch) is not None
        if (converters and fetch == "src") or (is_host and not _SAME_HOST.issuperset(converters)):
            return self._gap(line)
        return self._compared(fetch, how, values, line)

    def _compared(self, fetch: str, how: str, values: list[str], line: Line) -> Condition:
        if fetch == "src":
            return self._from(values)
        if fetch in _SURE or fetch.startswith(_CREDENTIALS):
            return ALWAYS if fetch in _SURE else NEVER
        if _HOST.fullmatch(fetch):
            return self._is_host(how, values, line)
        if named := _FIELD.match(fetch):
            return claimed(Claim(ClaimKind.FIELD, f"{named[1]}: {' '.join(values)}".strip()))
        if fetch.startswith("var(") and how == "found":
            return self._has(fetch, line)
        return AS_HE_LIKES if _AS_HE_LIKES.fullmatch(fetch) else self._gap(line)

    def _is_host(self, how: str, values: list[str], line: Line) -> Condition:
        if how == "reg" and not all(map(_is_sure, values)):
            return self._gap(line)
        return any_of(_host_is(how, value) for value in values) if how != "found" else ALWAYS

    def _has(self, fetch: str, line: Line) -> Condition:
        """Whether a variable is set: by which rules, and when they apply; one with a default always has a value."""
        name, comma, _ = fetch.removeprefix("var(").rstrip(")").partition(",")
        if comma:
            return ALWAYS
        if self.depth >= _MOST_DEPTH:
            return self._gap(line)
        found, is_kept = NEVER, name.startswith(_KEPT)
        for section, one, action, is_before in self._actions():
            if action.startswith(f"unset-var({name})"):
                return self._gap(one)
            if variable_of(action) != name:
                continue
            if is_before:
                when = replace(self, section=section, depth=self.depth + 1).when(one)
                found |= when & (AS_HE_LIKES if action.startswith("do-resolve") else ALWAYS)
            elif is_kept:
                found |= self._gap(one)  # by a request before, if that got so far
        return found

    def _actions(self) -> Iterator[tuple[Section, Line, str, bool]]:
        """What all rules do, in the order in which they are come to, and whether that is before the rule itself."""
        is_before = True
        for section, stage in product(self.around or (self.section,), STAGES):
            for one in section.obeyed(*stage):
                if one is self.rule and section is self.section:
                    is_before = False
                yield section, one, one.action(stage), is_before

    def _from(self, values: list[str]) -> Condition:
        named = AddressSet()
        for value in values:
            try:
                named |= AddressSet.of([value])
            except ValueError:
                continue  # a host's name: its addresses are nobody's from outside
        return self.setup.strangers(named, self.version)

    def _listed(self, name: str, line: Line) -> list[str]:
        source = self.setup.read(name, line.position)
        return (
            [text.split()[0] for text in source.lines if text.strip()[:1] not in {"", "#"}] if source else []
        )

    def _gap(self, line: Line) -> Condition:
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, line.text[:80], line.position)))


def variable_of(action: str) -> str:
    """The variable that an action sets; empty if it sets none."""
    found = _SETTING.match(action)
    return found[1] if found else ""


def _is_sure(pattern: str) -> bool:
    """Whether it is known what names a pattern means."""
    return any(True for _ in names_for(pattern)) or is_of_own_names(pattern)


def _host_is(how: str, value: str) -> Condition:
    """Whether an outside host's name matches: any, or one that is made for it."""
    wanted = value.lower()
    if how in {"beg", "sub", "dir", "dom"}:
        return claimed(Claim(ClaimKind.DESTINATION, f"{wanted}.{OUTSIDE_HOST}"))
    if how == "end":
        made = f"elsewhere{wanted}" if "." in wanted.strip(".") else f"elsewhere.{wanted.strip('.')}"
        return claimed(Claim(ClaimKind.DESTINATION, made)) if is_outside(made) else NEVER
    if how == "reg":
        named = next(names_for(value), "")
        if named == OUTSIDE_HOST:
            pattern = compiled(value, ignoring_case=True)
            return ALWAYS if pattern is not None and all(map(pattern.search, OUTSIDE_HOSTS)) else AS_HE_LIKES
        return claimed(Claim(ClaimKind.DESTINATION, named)) if named else NEVER
    return ALWAYS if wanted == OUTSIDE_HOST else NEVER
