"""``http_access`` and its like: the first line of which every acl matches decides, else the opposite of the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from relaywatch.audit.conditions import Condition, Way, all_of, any_of, unknown
from relaywatch.audit.deciding import Rule, first_match
from relaywatch.audit.findings import Cause

from .acls import OWN, Acls
from .reading import Directive
from .requests import Request

_ALLOWING = "sq-allow"
_NO_LAST = "sq-no-last"
_LISTS = frozenset(
    {"http_access", "http_access2", "adapted_http_access", "http_reply_access", "miss_access", "cache", "ident_lookup_access"}
    | {"always_direct", "never_direct", "follow_x_forwarded_for", "proxy_protocol_access", "url_rewrite_access"}
    | {"icp_access", "htcp_access", "htcp_clr_access", "snmp_access", "store_id_access", "send_hit", "store_miss"}
)  # fmt: skip
"""Directives of ``allow`` or ``deny`` and acls."""


@dataclass(frozen=True, slots=True)
class AccessList:
    """The lines of one name; ``default`` is what holds where there are none."""

    name: str
    lines: tuple[Directive, ...]
    default: bool

    @classmethod
    def of(cls, name: str, said: Iterable[Directive], *, default: bool) -> AccessList:
        """The lines that Squid takes: others it leaves out, and says so in its log."""
        lines = (one for one in said if (one.name == name and _is_taken(one)) or one.gap)
        return cls(name, tuple(lines), default)

    def allowing(self, acls: Acls, request: Request) -> tuple[Way, ...]:
        """The ways in which this request is allowed."""
        rules = [rule for line in self.lines for rule in _rules(line, acls, request, self.name)]
        own = [line for line in self.lines if line.gap is None]
        if not own:
            return first_match(rules, self.default).get(True, ())
        is_left = own[-1].words[0] == "deny"
        cause = own[-1].cause(_NO_LAST if is_left and self.name == "http_access" else "")
        return first_match(rules, is_left, cause).get(True, ())


def undefined(said: Iterable[Directive]) -> Cause | None:
    """The first line with an acl that isn't defined above it, which keeps Squid down.

    What was left unread may define any: then nobody knows.
    """
    defined = set(OWN)
    for one in said:
        if one.gap is not None:
            return None
        is_acl = one.name == "acl" and len(one.words) > 1
        if is_acl:
            within = one.words[2:] if one.words[1] in {"any-of", "all-of"} else ()
        else:
            within = one.words[1:] if one.name in _LISTS and _is_taken(one) else ()
        if any(word.removeprefix("!").lower() not in defined for word in within):
            return one.cause("sq-syntax")
        defined.update({one.words[0].lower()} if is_acl else ())
    return None


def _is_taken(line: Directive) -> bool:
    return len(line.words) > 1 and line.words[0] in {"allow", "deny"}


def _rules(line: Directive, acls: Acls, request: Request, name: str) -> Iterator[Rule[bool]]:
    """A line as rules: where an acl of it asks for credentials, whoever comes so far gets no further."""
    if line.gap is not None:
        yield Rule(unknown(line.gap), answer=True)
        yield Rule(unknown(line.gap), answer=False)
        return
    before: list[Condition] = []
    stops: list[Condition] = []
    for word in line.words[1:]:
        bare = word.removeprefix("!")
        if acls.is_demanding(bare):
            stops.append(all_of(before))
        condition = acls.condition(bare, request)
        before.append(condition if bare == word else ~condition)
    if stops:
        yield Rule(any_of(stops), answer=False, causes=(line.cause(),))
    if not stops:
        is_allowing = line.words[0] == "allow"
        rule = _ALLOWING if is_allowing and name == "http_access" else ""
        causes = (line.cause(f"{rule}-connect" if rule and request.method == "CONNECT" else rule),)
        yield Rule(all_of(before), answer=is_allowing, causes=causes)
