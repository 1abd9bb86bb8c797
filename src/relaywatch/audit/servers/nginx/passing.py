"""Requests that are made for a location, and where it passes them on to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relaywatch.audit.captures import compiled, host_of, is_outside, subjects
from relaywatch.audit.findings import Gap, GapKind
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST

from .choosing import fits, is_chosen, is_led_to
from .reading import Node
from .values import Trial, Values, fits_name, patterns_in, words_to_try

PASSING = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")
_ASKED_FOR = (OUTSIDE_HOST, "elsewhere.test")
_MOST_TRIED = 3000


@dataclass(frozen=True, slots=True)
class Passed:
    """A directive that passes a request on to a host of the client's, and the request; a gap if nobody knows."""

    node: Node
    levels: tuple[Node, ...]
    trial: Trial
    gaps: frozenset[Gap] = frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """A location, or a part of one, with the levels that it is in, outermost first."""

    levels: tuple[Node, ...]

    @property
    def node(self) -> Node:
        """The innermost."""
        return self.levels[-1]


def places(levels: tuple[Node, ...]) -> Iterator[Place]:
    """The last level and every location in it."""
    yield Place(levels)
    for node in levels[-1].all("location", "if", "limit_except"):
        yield from places((*levels, node))


def passed(setup: Setup, http: Node, server: Node, hosts: Sequence[Trial]) -> Iterator[Passed]:
    """Every directive of a server that leads to an outside host."""
    upstreams = {node.words[0] for node in http.all("upstream") if node.words}
    name = next((word for node in server.all("server_name") for word in node.words), "")
    declared = frozenset(_set_in(server))
    for place in places((http, server)):
        named = next(
            (one for one in place.levels if one.name == "location" and one.words[0][:1] == "@"), None
        )
        if named is not None and not is_led_to(named, (server, *http.all("error_page"))):
            continue
        for node in place.node.all(*PASSING):
            target = node.words[0] if node.words else ""
            if "$" in target:
                yield from _tried(_Walk(setup, http, place, name, upstreams, declared), node, hosts)


def _set_in(node: Node) -> Iterator[str]:
    for one in node.inside:
        if one.name == "set" and one.words:
            yield one.words[0].lstrip("$")
        yield from _set_in(one)


def outside_host_of(server: Node, servers: Sequence[Node]) -> str | None:
    """A host that no server is named for and whose requests come to this one; empty: those without any host.

    A server is a port's default, or has names that mean any host. Before the default come all such names.
    """
    own = next(_taken(server), None)
    if own is not None:
        return own
    if not any(_default_of(listen, servers) is server for listen in listens(server)):
        return None
    others = [other for other in servers if other is not server]
    free = (host for host in _ASKED_FOR if not any(_takes(other, host) for other in others))
    return next(free, "")


def _taken(server: Node) -> Iterator[str]:
    for name in (word for node in server.all("server_name") for word in node.words):
        if fits_name(name, OUTSIDE_HOST):
            yield OUTSIDE_HOST
        elif name.startswith("~"):
            yield from (host for host in made_names(name) if is_outside(host))


def _takes(server: Node, host: str) -> bool:
    for name in (word for node in server.all("server_name") for word in node.words):
        regex = (
            compiled(name.lstrip("~").removeprefix("*"), ignoring_case=True) if name.startswith("~") else None
        )
        if fits_name(name, host) or (regex is not None and regex.search(host)):
            return True
    return False


def listens(server: Node) -> list[str]:
    """Where it listens, by nginx's default on port 80."""
    return [node.words[0] for node in server.all("listen") if node.words] or ["80"]


def made_names(name: str) -> Iterator[str]:
    """Hosts that a server's name by a pattern means; nginx takes any character in them but a slash."""
    pattern = name.lstrip("~").removeprefix("*")
    regex = compiled(pattern, ignoring_case=True)
    for host in subjects(pattern):
        for made in (host, _cut_short(host)):
            if regex is not None and regex.search(made) and re.fullmatch(r"[^/\s:]+", made):
                yield made


def _cut_short(text: str) -> str:
    """With a question mark behind the outside host: what follows it in a URL is no host any more."""
    return text.replace(OUTSIDE_HOST, f"{OUTSIDE_HOST}?", 1)


def _default_of(listen: str, servers: Sequence[Node]) -> Node | None:
    wanted = _normal(listen)
    there = [
        (server, node)
        for server in servers
        for node in [*server.all("listen")] or [Node("listen", ("80",), server.position, 0)]
        if node.words and _normal(node.words[0]) == wanted
    ]
    named = (server for server, node in there if {"default_server", "default"} & set(node.words))
    return next(named, there[0][0] if there else None)


def _normal(listen: str) -> str:
    text = listen.removeprefix("*:").removeprefix("0.0.0.0:")
    return text if text.isdigit() or ":" in text else f"{text}:80"


@dataclass(frozen=True, slots=True)
class _Walk:
    setup: Setup
    http: Node
    place: Place
    server_name: str
    upstreams: set[str]
    declared: frozenset[str]
    """What is set anywhere in the server, and empty before."""


def _tried(walk: _Walk, node: Node, hosts: Sequence[Trial]) -> Iterator[Passed]:
    gaps: set[Gap] = set()
    inner = frozenset(_internal(walk))
    is_met = False
    for trial in list(_trials(walk, hosts))[:_MOST_TRIED]:
        values = Values(walk.setup, walk.http, trial, walk.server_name, declared=walk.declared)
        _by_name(walk.place.levels, values)
        arrives = _arrives(walk.place.levels, values)
        is_met |= arrives is not None
        if not arrives:
            continue
        target = values.expanded(node.words[0])
        host = _host_of(target)
        if is_outside(host) and host not in walk.upstreams and not values.gaps:
            yield Passed(node, walk.place.levels, trial, inner)
            return
        gaps |= values.gaps
    if not is_met:  # for its pattern no path was made
        gaps.add(walk.setup.note(Gap(GapKind.NOT_EVALUATED, walk.place.node.text[:80], node.position)))
    if gaps:
        yield Passed(node, walk.place.levels, hosts[0], frozenset(gaps))


def _host_of(target: str) -> str:
    """The host of a URL; none of one whose port is no number."""
    authority = re.split(r"[/?]", target.split("://", 1)[-1], maxsplit=1)[0]
    port = re.sub(r"^\[[^\]]*\]", "", authority).partition(":")[2]
    return host_of(target, userinfo=False) if not port or port.isdigit() else ""


def _by_name(levels: Sequence[Node], values: Values) -> None:
    """What the server's name captures, where it is a pattern."""
    for word in (word for level in levels for one in level.all("server_name") for word in one.words):
        if word.startswith("~") and values.matched(
            word[1:].removeprefix("*"), values.trial.host, ignoring_case=True
        ):
            return


def _internal(walk: _Walk) -> Iterator[Gap]:
    """What only nginx itself leads to, by ``error_page`` or at the word of a backend."""
    for level in walk.place.levels:
        node = level.last_of("internal")
        if node is not None:
            yield walk.setup.note(Gap(GapKind.NOT_EVALUATED, f"{level.text}: internal", node.position))


def _trials(walk: _Walk, hosts: Sequence[Trial]) -> Iterator[Trial]:
    own = [pattern for level in walk.place.levels for pattern in _patterns(level)]
    words = words_to_try(iter([*own, *patterns_in(walk.http)]))
    paths = list(dict.fromkeys(_paths(walk.place.levels)))
    named = (
        []
        if hosts[0].host != OUTSIDE_HOST
        else [Trial(one, said, "/") for one in _hosts_asked_for(walk) for said in (one, OUTSIDE_HOST)]
    )
    for host in (*hosts, *named):
        for path in paths:
            for word in words:
                yield Trial(host.host, host.http_host, path, word)


def _hosts_asked_for(walk: _Walk) -> Iterator[str]:
    """Hosts of which an ``if`` makes an exception, and that no other server names."""
    taken = {
        word
        for server in walk.http.all("server")
        for node in server.all("server_name")
        for word in node.words
    }
    for level in walk.place.levels:
        for node in (level, *level.all("if")):
            said = " ".join(node.words).removeprefix("(").removesuffix(")")
            words = said.split() if node.name == "if" else []
            if len(words) > 2 and words[0] in {"$host", "$http_host"} and words[1] in {"=", "!="}:
                yield from (word for word in words[2:] if word not in taken)
            elif len(words) > 2 and words[0] in {"$host", "$http_host"}:
                yield from list(dict.fromkeys(subjects(words[2])))[:12]


def _patterns(level: Node) -> Iterator[str]:
    if level.name == "if" and len(level.words) > 2:
        yield level.words[2].rstrip(")")
    for node in level.inside:
        if node.name == "if" and len(node.words) > 2:
            yield node.words[2].rstrip(")")


def _paths(levels: Sequence[Node]) -> Iterator[str]:
    """Paths for the innermost location: what begins with its prefix, or is made for its pattern."""
    start, pattern = "/", ""
    for level in levels:
        if level.name == "location" and level.words and not level.words[0].startswith("@"):
            if level.words[0].startswith("~"):
                pattern = level.words[-1]
            else:
                start, pattern = level.words[-1], ""
        elif (
            level.name == "if"
            and level.words[:1] in {("($uri",), ("($request_uri",)}
            and len(level.words) > 2
        ):
            pattern = level.words[2].rstrip(")")
        for node in level.all("rewrite"):
            pattern = pattern or (node.words[0] if node.words else "")
    if pattern:
        made = list(dict.fromkeys(subjects(pattern, "/")))[:60]
        yield from (*made, *map(_cut_short, made))
    yield from (start, f"{start}{OUTSIDE_HOST}/", f"{start.rstrip('/')}/{OUTSIDE_HOST}", f"{start}a7/b")


def _arrives(levels: Sequence[Node], values: Values) -> bool | None:
    """Whether a request comes through the levels to the innermost, and isn't sent away; nothing if it isn't for it."""
    for number, level in enumerate(levels):
        if level.name == "location":
            if not fits(level, values):
                return None
            if not is_chosen(levels, number, values):
                return False
        if level.name == "if" and _holds(level, values) is False:
            return False
        following = levels[number + 1] if number + 1 < len(levels) else None
        if not _goes_on(level, values, following):
            return False
    return True


def _goes_on(level: Node, values: Values, following: Node | None) -> bool:
    """``set``, ``if``, ``rewrite`` and ``return`` in their order; an ``if`` that is gone into ends it."""
    for node in level.inside:
        if node is following and node.name == "if":
            return True
        if node.name == "set" and len(node.words) > 1:
            values.known[node.words[0].lstrip("$")] = values.expanded(node.words[1])
        elif node.name == "return":
            return False
        elif node.name == "rewrite" and len(node.words) > 1:
            if not _rewritten(node, values, is_inside=level.name == "location"):
                return False
        elif node.name == "if" and not _passes_by(node, values):
            return False
    return True


def _rewritten(node: Node, values: Values, *, is_inside: bool) -> bool:
    """Whether a request stays; from inside a location it goes to that of its new path, as if he had asked for it."""
    if values.matched(node.words[0], values.value("uri")):
        if node.words[-1] in {"redirect", "permanent"} or node.words[1].startswith(("http:", "https:")):
            return False
        if is_inside and node.words[-1] != "break":
            return False
        values.known["uri"] = values.expanded(node.words[1]).partition("?")[0]
    else:
        values.forget()
    return True


def _passes_by(node: Node, values: Values) -> bool:
    """Whether a request isn't sent away by an ``if``, as far as that is known; what is set in it is set."""
    if not _holds(node, values):
        return True
    asked = node.words[0].lstrip("(").rstrip(")").removeprefix("$")
    if values.is_free(asked) and any(True for _ in node.all("return")):
        return True
    return _goes_on(node, values, None)


def _holds(node: Node, values: Values) -> bool | None:
    """An ``if``'s condition; nothing, and a gap among the values, where it asks for what isn't known."""
    before, values.gaps = values.gaps, set()
    held = _is_so(node, values)
    is_known = not values.gaps
    values.gaps |= before
    return held if is_known else None


def _is_so(node: Node, values: Values) -> bool | None:
    """A variable alone, compared, or matched; files are there as he likes."""
    words = " ".join(node.words).removeprefix("(").removesuffix(")").split()
    if not words or words[0].startswith(("-", "!-")):
        return True
    subject = values.expanded(words[0])
    if len(words) < 3:
        return subject not in {"", "0"}
    operator, wanted = words[1], " ".join(words[2:]).strip("\"'")
    if operator in {"=", "!="}:
        return (subject == values.expanded(wanted)) == (operator == "=")
    matched = values.matched(wanted, subject, ignoring_case=operator.endswith("*"))
    if matched is False:
        values.forget()
    return None if matched is None else matched != operator.startswith("!")
