"""Varnish (VCL 4): backends that are made of what the client says, as vmod_dynamic and goto make them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.captures import compiled
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, claimed, joined, unknown
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import AS_HE_LIKES, first_of_each, headed, own_networks, path_of
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST, OUTSIDE_HOSTS
from relaywatch.model.evidence import Weakness

_TOKEN = re.compile(
    r'(?P<skip>\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)|(?P<word>\{".*?"\}|"[^"\n]*"|[\w.-]+|==|!=|!~|&&|\|\||\S)',
    re.DOTALL,
)
_BACKEND = frozenset({"req.backend_hint", "bereq.backend"})
_HOST = frozenset({"req.http.host", "bereq.http.host"})
_CLIENTS = re.compile(r"(?:be)?req\.(?:http\.[\w-]+|url)")
_MAKING = re.compile(r"\w+\.(?:backend|resolve|dns_backend|dns_director)")
_REFUSING = frozenset({"synth", "fail", "purge", "error", "abandon"})
_BETWEEN = ("vcl_hash", "vcl_hit", "vcl_miss", "vcl_pass", "vcl_pipe")
"""Of which a request comes through some: what one of them refuses may go by another."""
_MOST_DEPTH = 12


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    position: Position


@dataclass(slots=True)
class _Statement:
    """Words up to a semicolon, or those before a block."""

    words: list[_Word]
    block: list[_Statement] | None = None

    @property
    def texts(self) -> list[str]:
        return [word.text for word in self.words]

    def cause(self, rule: str = "") -> Cause:
        return Cause(" ".join(self.texts)[:200], self.words[0].position, rule)


@dataclass(frozen=True, slots=True)
class _State:
    """A way through so far, and what chose its backend by the client's words."""

    way: Way = field(default_factory=Way)
    chosen: Cause | None = None


def evaluate(setup: Setup) -> Iterator[Service]:
    """All that the VCL serves: where it listens is varnishd's command line."""
    source = setup.read_main()
    if source is None:
        return
    statements = list(_statements(setup, source, 0))
    ways = [
        way
        for version in (4, 6)
        for is_own in (False, True)
        for way in _Program(setup, statements, version, is_own).passing()
    ]
    yield Service(
        name="VCL", weakness=Weakness.OPEN_PROXY, position=source.at(1), passing=first_of_each(ways)
    )


# --- reading ------------------------------------------------------------------------------------------


def _statements(setup: Setup, source: SourceFile, depth: int) -> Iterator[_Statement]:
    for statement in _parsed(setup, source):
        if statement.texts[:1] != ["include"]:
            yield statement
        elif depth >= _MOST_DEPTH:
            setup.note(Gap(GapKind.LOOP, " ".join(statement.texts), statement.words[0].position))
        else:
            name = statement.texts[-1].strip('"')
            inner = setup.read(name, statement.words[0].position)
            if inner is not None:
                yield from _statements(setup, inner, depth + 1)


def _parsed(setup: Setup, source: SourceFile) -> list[_Statement]:
    stack: list[list[_Statement]] = [[]]
    words: list[_Word] = []
    line = 1
    for found in _TOKEN.finditer(source.text):
        word = found["word"]
        position = source.at(line)
        line += found[0].count("\n")
        if word is None:
            continue
        if word == "{":
            statement = _Statement(words or [_Word("{", position)], [])
            stack[-1].append(statement)
            stack.append(statement.block if statement.block is not None else [])
            words = []
        elif word in {";", "}"}:
            if words:
                stack[-1].append(_Statement(words))
            words = []
            if word == "}" and len(stack) == 1:
                setup.note(Gap(GapKind.SYNTAX, "}", position))
            elif word == "}":
                stack.pop()
        else:
            words.append(_Word(word, position))
    if words or len(stack) > 1:
        setup.note(
            Gap(GapKind.SYNTAX, " ".join(one.text for one in words)[:80] or "no }", source.at(line - 1))
        )
    return stack[0]


# --- running ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Program:
    setup: Setup
    said: list[_Statement]
    version: int
    is_own: bool
    """Whether it is asked for a host of the owner's, whichever."""
    done: list[_State] = field(default_factory=list)

    def passing(self) -> Iterator[Way]:
        """Through vcl_recv, what comes between, and then vcl_backend_fetch."""
        left = self._sub("vcl_recv", [_State()], 0)
        before, self.done = [*left, *self.done], []
        between = [state for name in _BETWEEN for state in self._sub(name, before, 0)]
        before, self.done = list(dict.fromkeys([*before, *between, *self.done])), []
        left = self._sub("vcl_backend_fetch", before, 0)
        for state in (*left, *self.done):
            if state.chosen is not None:
                yield headed(Way(causes=(state.chosen,)).joined(state.way), f"{OUTSIDE_HOST}:80 by GET")

    def _sub(self, name: str, states: list[_State], depth: int) -> list[_State]:
        """Subroutines of one name are joined in their order."""
        for one in self.said:
            if one.texts[:2] == ["sub", name] and one.block is not None and depth < _MOST_DEPTH:
                states = self._run(one.block, states, depth)
        return states

    def _run(self, block: Sequence[_Statement], states: list[_State], depth: int) -> list[_State]:
        """The states that go on behind it; those that it ends are put aside."""
        undecided: list[_State] = []
        for number, one in enumerate(block):
            head = one.texts[0]
            if one.block is None:
                states = self._step(one, states, depth)
                continue
            if head in {"else", "elsif", "elseif", "elif"}:
                entering = undecided
            else:
                entering, undecided = states, []
                states = []
            condition = self._condition(one)
            inside = _all_by(entering, condition.true)
            undecided = _all_by(entering, condition.false)
            states = [*states, *self._run(one.block, inside, depth)]
            following = block[number + 1].texts[0] if number + 1 < len(block) else ""
            if following not in {"else", "elsif", "elseif", "elif"}:
                states, undecided = [*states, *undecided], []
        return _fewest(states)

    def _step(self, one: _Statement, states: list[_State], depth: int) -> list[_State]:
        texts = one.texts
        if texts[0] == "return":
            if "vcl" in texts[1:]:  # another one goes on with it
                led = self._gap(texts, one).true
                self.done += [_State(state.way, one.cause()) for state in _all_by(states, led)]
            elif not _REFUSING & set(texts[1:]):
                self.done += states
            return []
        if texts[0] == "call" and len(texts) > 1:
            return self._sub(texts[1], states, depth + 1)
        if texts[0] == "set" and len(texts) > 3 and texts[1].lower() in _BACKEND:
            chosen = self._chosen(one)
            if isinstance(chosen, Condition):
                return _all_by(states, chosen.true)
            return [_State(state.way, chosen) for state in states]
        return states

    def _chosen(self, one: _Statement) -> Cause | Condition | None:
        """That a backend is made of the client's words; nothing if it isn't, and a gap if nobody knows."""
        value = one.texts[3:]
        if "(" not in value:
            return None
        inside = [word.lower() for word in value[1:] if word not in {"(", ")", ","}]
        name = value[0].partition(".")[0]
        maker = next((made for made in self._made() if made.texts[1:2] == [name]), None)
        kind = maker.texts[3] if maker is not None and len(maker.texts) > 3 else f"{name}."
        is_making = kind.startswith(("dynamic.", "goto.")) and _MAKING.fullmatch(value[0]) is not None
        # without a host it is the request's
        his = [word for word in inside or ("req.http.host",) if _CLIENTS.fullmatch(word)]
        if is_making and his:
            return one.cause("va-dynamic") if not self.is_own or not _HOST.issuperset(his) else None
        if kind.startswith("directors.") or (is_making and all(word.startswith('"') for word in inside)):
            return None
        return unknown(
            self.setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(one.texts)[:80], one.words[0].position))
        )

    def _made(self) -> Iterator[_Statement]:
        for sub in self.said:
            if sub.texts[:2] == ["sub", "vcl_init"]:
                yield from (one for one in sub.block or () if one.texts[0] == "new")

    # --- conditions ---

    def _condition(self, one: _Statement) -> Condition:
        if one.texts[0] in {"else", "{"} and "if" not in one.texts[:2]:
            return ALWAYS
        start = next((number for number, text in enumerate(one.texts) if text == "("), None)
        if start is None:
            return ALWAYS
        return self._either(one.texts[start + 1 : -1], one)

    def _either(self, words: list[str], one: _Statement) -> Condition:
        """``||`` binds less than ``&&``, and ``!`` and brackets most."""
        for mark in ("||", "&&"):
            at = _split(words, mark)
            if at is not None:
                first, rest = self._either(words[:at], one), self._either(words[at + 1 :], one)
                return first | rest if mark == "||" else first & rest
        if words[:1] == ["!"]:
            return ~self._either(words[1:], one)
        if words[:1] == ["("] and words[-1:] == [")"]:
            return self._either(words[1:-1], one)
        return self._compared(words, one)

    def _compared(self, words: list[str], one: _Statement) -> Condition:
        what = words[0].lower() if words else ""
        if len(words) > 2 and words[1] in {"~", "!~", "==", "!="}:
            found = self._holds(what, words[1].lstrip("!"), words[2], one)
            return ~found if words[1].startswith("!") else found
        if len(words) == 1 and what.startswith("req.http."):
            return ALWAYS if what in _HOST else AS_HE_LIKES
        return self._gap(words, one)

    def _holds(self, what: str, how: str, value: str, one: _Statement) -> Condition:
        bare = value.strip('"')
        if what == "client.ip" and how == "~":
            return self._from(bare, one)
        if what in _HOST:
            return self._is_host(what, how, bare, one)
        if what in {"req.url", "req.method", "bereq.url", "bereq.method", "req.proto", "req.restarts"}:
            return AS_HE_LIKES
        if what.startswith("req.http."):
            return claimed(Claim(ClaimKind.FIELD, f"{what.removeprefix('req.http.')}: {bare}"))
        return self._gap([what, bare], one)

    def _is_host(self, what: str, how: str, bare: str, one: _Statement) -> Condition:
        pattern = compiled(bare) if how == "~" else None
        if how == "~" and pattern is None:
            return self._gap([what, bare], one)
        fitting = [
            host for host in OUTSIDE_HOSTS if (pattern.search(host) if pattern else bare.lower() == host)
        ]
        if self.is_own or 0 < len(fitting) < len(OUTSIDE_HOSTS):
            return AS_HE_LIKES
        return ALWAYS if fitting else NEVER

    def _from(self, name: str, one: _Statement) -> Condition:
        """An acl: the narrowest entry decides, which is enough to take out what is negated."""
        meant, without = AddressSet(), AddressSet()
        found = next((acl for acl in self.said if acl.texts[:2] == ["acl", name]), None)
        if found is None:
            return self._gap([name], one)
        for entry in found.block or ():
            words = [word for word in entry.texts if word not in {"(", ")"}]
            is_not = words[:1] == ["!"]
            try:
                network = AddressSet.of(["".join(words[is_not:]).replace('"', "")])
            except ValueError:
                continue  # a name: this machine's, or a host's
            meant, without = (meant, without | network) if is_not else (meant | network, without)
        return self.setup.strangers(meant - without, self.version)

    def _gap(self, words: list[str], one: _Statement) -> Condition:
        return unknown(
            self.setup.note(Gap(GapKind.NOT_EVALUATED, " ".join(words)[:80], one.words[0].position))
        )


def _split(words: Sequence[str], mark: str) -> int | None:
    depth = 0
    for number, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word == mark and depth == 0:
            return number
    return None


def _all_by(states: Sequence[_State], ways: tuple[Way, ...]) -> list[_State]:
    return [_State(way, state.chosen) for state in states for way in joined((state.way,), ways)]


def _fewest(states: list[_State]) -> list[_State]:
    return list(dict.fromkeys(states))[:64]


# --- mending ------------------------------------------------------------------------------------------


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Refuse strangers before the line that makes the backend; where the owner has no networks, everybody."""
    path = path_of(setup, finding.file)
    if path is None or finding.rule != "va-dynamic" or "bereq" in finding.causes[0].text:
        return
    lines = setup.sources[path].lines
    line = lines[finding.line - 1]
    if not line.strip().startswith("set "):
        return
    indent = line[: len(line) - len(line.lstrip())]
    own = own_networks(setup)
    if not own:
        yield Edit(path, finding.line, finding.line, (f'{indent}return (synth(403, "Forbidden"));',))
        return
    head = next(
        (number for number, text in enumerate(lines, 1) if re.match(r"\s*vcl\s+[\d.]+\s*;\s*$", text)), None
    )
    if head is None:
        return
    acl = (
        "acl own_clients {",
        *(f'    "{one.partition("/")[0]}"/{one.partition("/")[2]};' for one in own),
        "}",
    )
    guard = f'{indent}if (client.ip !~ own_clients) {{ return (synth(403, "Forbidden")); }}'
    if "acl own_clients {" not in lines:
        yield Edit(path, head + 1, head, acl)
    yield Edit(path, finding.line, finding.line - 1, (guard,))


SERVER = Server(
    name="varnish",
    home="/etc/varnish",
    marks=(
        Mark(name="default.vcl"),
        Mark(name="*.vcl", holds=re.compile(r"^\s*vcl\s+[\d.]+\s*;", re.MULTILINE)),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("varnishd", "-C", "-f", "{main}"),
    reload=("systemctl", "restart", "varnish"),
)
