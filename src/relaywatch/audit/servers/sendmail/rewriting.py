"""Sendmail's rewriting (Installation and Operation Guide, section 5.1): a ruleset called with tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.patterns import NotEvaluatedError, pattern

from .cf import META, Cf, Map, RewriteRule
from .tables import UnknownError

Tokens = tuple[str, ...]
_MOST_DEPTH = 60
_MOST_TURNS = 100
_MOST_STEPS = 30_000
_MOST_TOKENS = 400
_ANY, _SOME, _ONE, _NONE = (META + sign for sign in "*+-@")
_END, _ONCE, _CALL = META + "@", META + ":", META + ">"
_LOOKUP, _LOOKED_UP, _HOST, _HOSTED = (META + sign for sign in "()[]")
MAILER = META + "#"
_PARSED = "RELAY"


@dataclass(slots=True)
class Rewriting:
    """One stranger's dialogue: the macros that it sets, the names that the DNS has, and what was hit on the way."""

    cf: Cf
    macros: dict[str, str]
    resolves: frozenset[str]
    """Names with an address, and outside ones that have a mail server of their own."""
    pointing: str = ""
    """A domain whose MX is this server."""
    hits: dict[Cause, None] = field(default_factory=dict)
    """Lines of tables and classes that were found, in order."""
    decided: Cause | None = None
    """The last rule that ended a ruleset with *RELAY*."""
    _steps: int = 0

    def run(self, name: str, tokens: Tokens, depth: int = 0) -> Tokens:
        """What a ruleset makes of the tokens; they stay as they are if there is none of that name.

        :raises UnknownError: if something that it asks can't be told, or it doesn't come to an end.
        """
        ruleset = self.cf.ruleset(name)
        if ruleset is None:
            return tokens
        if depth > _MOST_DEPTH:
            raise UnknownError(Gap(GapKind.LOOP, f"ruleset {name}", ruleset.position))
        for rule in ruleset.rules:
            for _ in range(_MOST_TURNS):
                self._steps += 1
                if self._steps > _MOST_STEPS or len(tokens) > _MOST_TOKENS:
                    raise UnknownError(Gap(GapKind.TOO_MANY, f"rules of {name}", rule.position))
                found = self._matched(rule.left, tokens)
                if found is None:
                    break
                tokens, ends, once = self._applied(rule, found, depth)
                if ends and tokens[:1] == (_PARSED,):
                    self.decided = Cause(rule.text, rule.position)
                if ends or tokens[:1] == (MAILER,):
                    return tokens
                if once:
                    break
        return tokens

    # --- the left side ---------------------------------------------------------------------------

    def _matched(  # noqa: C901 -- one search with its way back
        self, left: Tokens, tokens: Tokens
    ) -> list[Tokens] | None:
        left = tuple(part for one in left for part in self._deferred(one))
        dead: set[tuple[int, int]] = set()
        taken: list[Tokens] = []
        hits: list[Cause] = []

        def fits(  # noqa: PLR0911
            at: int, here: int
        ) -> bool:
            if at == len(left):
                return here == len(tokens)
            if (at, here) in dead:
                return False
            sign = left[at]
            if not _is_fuzzy(sign):
                if sign == _NONE:
                    return here == len(tokens) and fits(at + 1, here)
                if here < len(tokens) and tokens[here].lower() == sign.lower() and fits(at + 1, here + 1):
                    return True
                dead.add((at, here))
                return False
            for end in self._ends(sign, tokens, here):
                cause = self._class_hit(sign, tokens[here:end])
                taken.append(tokens[here:end])
                if cause is not None:
                    hits.append(cause)
                if fits(at + 1, end):
                    return True
                taken.pop()
                if cause is not None:
                    hits.pop()
            dead.add((at, here))
            return False

        if not fits(0, 0):
            return None
        self.hits.update(dict.fromkeys(hits))
        return taken

    def _ends(self, sign: str, tokens: Tokens, here: int) -> Sequence[int]:
        """Where what stands for a sign may end, shortest first."""
        if sign == _ANY:
            return range(here, len(tokens) + 1)
        if sign == _SOME:
            return range(here + 1, len(tokens) + 1)
        one = (here + 1,) if here < len(tokens) else ()
        if sign == _ONE:
            return one
        members = self.cf.classes.get(sign[2:], {})
        if sign[2:] == "m" and not members:
            raise UnknownError(Gap(GapKind.NOT_EVALUATED, "class m: the machine's own name"))
        if sign.startswith(META + "~"):
            return () if not one or tokens[here].lower() in members else one
        ends = range(here + 1, len(tokens) + 1)
        return [end for end in ends if "".join(tokens[here:end]).lower() in members]

    def _class_hit(self, sign: str, phrase: Tokens) -> Cause | None:
        if not sign.startswith(META + "="):
            return None
        text = "".join(phrase)
        position = self.cf.classes.get(sign[2:], {}).get(text.lower())
        rule = {"R": "sm-relay-domains", "m": "sm-entire"}.get(sign[2:], "")
        return Cause(f"class {sign[2:]}: {text}", position, rule)

    def _deferred(self, token: str) -> Tokens:
        return self.cf.tokens(self.macros.get(token[2:], "")) if token.startswith(META + "&") else (token,)

    # --- the right side --------------------------------------------------------------------------

    def _applied(self, rule: RewriteRule, found: list[Tokens], depth: int) -> tuple[Tokens, bool, bool]:
        right = rule.right
        ends, once = right[:1] == (_END,), right[:1] == (_ONCE,)
        filled: list[str] = []
        for token in right[1:] if ends or once else right:
            if len(token) == 2 and token[0] == META and token[1].isdigit():
                number = int(token[1])
                filled.extend(found[number - 1] if 1 <= number <= len(found) else ())
            else:
                filled.extend(self._deferred(token))
        tokens = self._looked_up(tuple(filled))
        return self._called(tokens, depth), ends, once

    def _called(self, tokens: Tokens, depth: int) -> Tokens:
        """The last call first: what it comes to is the argument of the one before."""
        for at in range(len(tokens) - 1, -1, -1):
            if tokens[at] == _CALL and at + 1 < len(tokens):
                outcome = self.run(tokens[at + 1], tokens[at + 2 :], depth + 1)
                tokens = (*tokens[:at], *outcome)
        return tokens

    def _looked_up(self, tokens: Tokens) -> Tokens:
        done: list[str] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token not in {_LOOKUP, _HOST}:
                done.append(token)
                at += 1
                continue
            closing = _LOOKED_UP if token == _LOOKUP else _HOSTED
            end = tokens.index(closing, at) if closing in tokens[at:] else len(tokens)
            done.extend(self._asked(tokens[at + 1 : end], is_host=token == _HOST))
            at = end + 1
        return tuple(done)

    def _asked(self, inside: Tokens, *, is_host: bool) -> Tokens:
        name, rest = ("host", inside) if is_host else (inside[0] if inside else "", inside[1:])
        default: Tokens | None = None
        if _ONCE in rest:
            split = rest.index(_ONCE)
            rest, default = rest[:split], rest[split + 1 :]
        arguments: list[Tokens] = [()]
        for token in rest:
            if token == _END:
                arguments.append(())
            else:
                arguments[-1] = (*arguments[-1], token)
        key = "".join(arguments[0])
        value = self._value(name, key, ["".join(one) for one in arguments[1:]], is_host=is_host)
        if value is None:
            return arguments[0] if default is None else default
        return self.cf.tokens(value)

    def _value(self, name: str, key: str, arguments: list[str], *, is_host: bool) -> str | None:
        if is_host or name == "host":
            return self._resolved(key, "")
        known = self.cf.maps.get(name)
        if known is None:
            return self._builtin(name, key)
        answer = _KINDS.get(known.kind)
        if answer is not None:
            return answer(self, known, key, arguments)
        if known.table is None:
            raise UnknownError(Gap(GapKind.EXTERNAL, f"map {name} ({known.kind})", known.position))
        folded = key.strip('"') if "q" not in known.flags else key
        entry = known.table.find(folded)
        if entry is None:
            return None
        self.hits.setdefault(entry.cause)
        value = key if "m" in known.flags else entry.value
        for number, argument in enumerate([key, *arguments]):
            value = value.replace(f"%{number}", argument)
        return value + known.flags.get("a", "")

    def _builtin(self, name: str, key: str) -> str | None:
        if name == "dequote":
            return key.strip('"') if '"' in key else None
        raise UnknownError(Gap(GapKind.NOT_EVALUATED, f"map {name}"))

    def _resolved(self, key: str, appended: str) -> str | None:
        """A name in the DNS: strangers' and own ones are there, lists of blocked addresses have none of them."""
        name = key.rstrip(".").lower()
        if name in self.resolves or name in self.cf.classes.get("w", {}):
            return f"{name}.{appended}" if not appended else f"{name}{appended}"
        return None


def _is_fuzzy(token: str) -> bool:
    """Whether it stands for tokens that the right side may call by number."""
    return token in {_ANY, _SOME, _ONE} or token.startswith((META + "=", META + "~"))


def _host(rewriting: Rewriting, known: Map, key: str, _arguments: list[str]) -> str | None:
    return rewriting._resolved(key, known.flags.get("a", ""))  # noqa: SLF001 -- its own module


def _bestmx(rewriting: Rewriting, _known: Map, key: str, _arguments: list[str]) -> str | None:
    name = key.rstrip(".").lower()
    if name == rewriting.pointing:
        return f"{rewriting.macros.get('j', rewriting.cf.macros['j'])}."
    return f"mx.{name}." if name in rewriting.resolves else None


def _dequote(_rewriting: Rewriting, _known: Map, key: str, _arguments: list[str]) -> str | None:
    return key.strip('"') if '"' in key else None


def _macro(rewriting: Rewriting, _known: Map, key: str, arguments: list[str]) -> str:
    rewriting.macros[key.strip("{}")] = arguments[0] if arguments else ""
    return ""


def _null(_rewriting: Rewriting, _known: Map, _key: str, _arguments: list[str]) -> None:
    return None


def _regex(_rewriting: Rewriting, known: Map, key: str, _arguments: list[str]) -> str | None:
    try:
        found = pattern(" ".join(known.words), "i" if "f" in known.flags else "", is_pcre=False)
    except NotEvaluatedError:
        raise UnknownError(Gap(GapKind.NOT_EVALUATED, " ".join(known.words), known.position)) from None
    if "s" in known.flags:
        raise UnknownError(Gap(GapKind.NOT_EVALUATED, "regex -s", known.position))
    holds = found.holds(key) is not ("n" in known.flags)
    return (key if "m" in known.flags else "") + known.flags.get("a", "") if holds else None


def _arith(_rewriting: Rewriting, known: Map, key: str, arguments: list[str]) -> str | None:
    try:
        first, second = (int(one) for one in arguments[:2])
    except ValueError:
        return None
    if key in {"l", "="}:
        return str(first < second if key == "l" else first == second).upper()
    if key not in "+-*|&":
        raise UnknownError(Gap(GapKind.NOT_EVALUATED, f"arith {key}", known.position))
    return str(
        {
            "+": first + second,
            "-": first - second,
            "*": first * second,
            "|": first | second,
            "&": first & second,
        }[key]
    )


def _sequence(rewriting: Rewriting, known: Map, key: str, arguments: list[str]) -> str | None:
    for name in known.words:
        if name in rewriting.cf.maps and rewriting.cf.maps[name].kind != "sequence":
            value = rewriting._value(name, key, arguments, is_host=False)  # noqa: SLF001 -- its own module
            if value is not None:
                return value
    return None


_KINDS = {
    "host": _host,
    "bestmx": _bestmx,
    "dequote": _dequote,
    "macro": _macro,
    "null": _null,
    "regex": _regex,
    "arith": _arith,
    "sequence": _sequence,
}


def shown(tokens: Tokens) -> str:
    """Tokens as a line of text."""
    return " ".join(token.replace(META, "$") for token in tokens)


def is_refused(tokens: Tokens) -> bool:
    """Whether a check ends with a refusal, or throws the message away."""
    return tokens[:1] == (MAILER,) and len(tokens) > 1 and tokens[1].lower() in {"error", "discard"}
