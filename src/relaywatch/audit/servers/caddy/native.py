"""Caddy's own JSON: servers of routes, each with its matchers and handlers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relaywatch.audit.conditions import ALWAYS, Condition, Way, all_of, any_of, joined, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import by_rule, first_of_each, headed, host_and_port, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.audit.yaml_nodes import BadYamlError, parse_yaml
from relaywatch.audit.yaml_nodes import Node as Value
from relaywatch.model.evidence import Weakness

from .matching import Matching
from .reading import Node
from .upstreams import chosen, note_layer4, trusts_strangers

_ENDING = frozenset({"static_response", "error", "authentication", "acme_server"})
_GOING_ON = frozenset(
    {"headers", "encode", "rewrite", "vars", "map", "request_body", "templates", "push", "tracing", "metrics", "log_append"}
    | {"copy_response", "copy_response_headers", "intercept"}
)  # fmt: skip
_CREDENTIALS = ("auth_credentials", "auth_user_deprecated")
_MOST_DEPTH = 12
_MOST_STATES = 64
_State = tuple[Way, frozenset[str]]
"""A way so far, and the groups of which a route was taken already."""


def servers(setup: Setup) -> Iterator[Service]:
    """Every server of the http app; of layer4 it is told that nobody knows."""
    source = setup.read_main()
    if source is None:
        return
    try:
        root = parse_yaml(source.text.replace("\t", " "))
    except BadYamlError as error:
        setup.note(Gap(GapKind.SYNTAX, str(error), source.at(error.line) if error.line else None))
        return
    layer4 = root.at("apps", "layer4") if root else None
    if layer4 is not None:
        note_layer4(setup, "layer4", source.at(layer4.line))
    listed = root.at("apps", "http", "servers") if root else None
    for name, server in listed.pairs.items() if listed else ():
        heard = [_bound(one) for one in _texts(server, "listen")]
        ways = [
            way
            for version in (4, 6)
            for is_own in (False, True)
            for way in _Server(setup, source, server, version, is_own=is_own).passing()
        ]
        yield Service(
            name=" ".join((name, *_texts(server, "listen"))),
            weakness=Weakness.OPEN_PROXY,
            position=source.at(server.line),
            passing=first_of_each(ways),
            is_out_of_reach=bool(heard) and all(map(is_loopback, heard)),
        )


def _bound(listen: str) -> str:
    network, slash, rest = listen.rpartition("/")
    return "/" if network.startswith("unix") else host_and_port(rest if slash else listen)[0]


@dataclass(slots=True)
class _Server:
    setup: Setup
    source: SourceFile
    node: Value
    version: int
    is_own: bool
    """Whether it is asked for the owner's own hosts."""
    found: list[Way] = field(default_factory=list)

    def passing(self) -> list[Way]:
        """The ways to a host of the client's; by a route for errors there may be one."""
        self._run(_items(self.node, "routes"), [(Way(), frozenset())], 0)
        errors = self.node.at("errors")
        before, self.found = self.found, []
        self._run(_items(errors, "routes") if errors else (), [(Way(), frozenset())], 0)
        if errors is not None and self.found:
            self.found = list(joined(self.found, self._gap(errors, "errors").true))
        return [*before, *self.found]

    def _run(self, routes: Sequence[Value], states: list[_State], depth: int) -> list[_State]:
        """What goes on behind the routes; of those too deep within each other, and of too many ways, nobody knows."""
        if routes and depth >= _MOST_DEPTH:
            return _all_by(states, self._gap(routes[0], "routes, nested too deeply").true)
        for route in routes:
            group = _text(route, "group")
            when = self._when(route)
            passed_by = [(way, done) for way, done in states if group and group in done]
            asked = [one for one in states if one not in passed_by]
            inside = _all_by(asked, when.true, group)
            for handler in _items(route, "handle"):
                inside = self._handled(handler, inside, depth)
            is_last = (last := route.at("terminal")) is not None and last.is_true
            states = [*passed_by, *_all_by(asked, when.false), *(() if is_last else inside)]
        if len(states) > _MOST_STATES:
            self._gap(routes[0], "routes, in too many ways")
        return states[:_MOST_STATES]

    def _handled(self, handler: Value, states: list[_State], depth: int) -> list[_State]:
        kind = _text(handler, "handler")
        if kind == "subroute":
            inside = self._run(
                _items(handler, "routes"), [(way, frozenset()) for way, _ in states], depth + 1
            )
            return [(way, frozenset()) for way, _ in inside]
        if kind == "invoke":
            named = self.node.at("named_routes", _text(handler, "name"))
            return self._run((named,), states, depth + 1) if named else self._unknown(handler, kind, states)
        if kind == "reverse_proxy":
            self._passed(handler, states)
            return []
        if kind == "forward_proxy":
            self._forwarded(handler, states)
            return states
        is_last = kind in _ENDING or (kind == "file_server" and handler.at("pass_thru") is None)
        if is_last:
            return []
        return states if kind in _GOING_ON or kind == "file_server" else self._unknown(handler, kind, states)

    def _unknown(self, handler: Value, kind: str, states: list[_State]) -> list[_State]:
        return _all_by(states, self._gap(handler, f"handler {kind}").true)

    def _passed(self, handler: Value, states: list[_State]) -> None:
        dialled = [(_text(one, "dial"), one.at("dial") or one) for one in _items(handler, "upstreams")]
        dynamic = handler.at("dynamic_upstreams")
        if dynamic is not None:
            dialled += [(_text(dynamic, key), dynamic) for key in ("name", "service", "proto")]
        for word, node in dialled:
            cause = Cause(f"reverse_proxy to {word}", self._at(node), "ca-upstream")
            led = chosen(self.setup, [word], cause, by_host=not self.is_own)
            for way in joined([way for way, _ in states], led.true) if led else ():
                self.found.append(headed(by_rule(Way(causes=(cause,)), way), f"{OUTSIDE_HOST}:80 by GET"))

    def _forwarded(self, handler: Value, states: list[_State]) -> None:
        if self.is_own or any(handler.at(key) is not None for key in _CREDENTIALS):
            return
        ports = _texts(handler, "allowed_ports")
        port = "25" if not ports or "25" in ports else ports[0]
        ways: tuple[Way, ...] = tuple(way for way, _ in states)
        if handler.at("acl") is not None:
            ways = joined(ways, self._gap(handler, "forward_proxy acl").true)
        cause = Cause("forward_proxy", self._at(handler), "ca-forward")
        self.found += [
            headed(by_rule(Way(causes=(cause,)), way), f"{OUTSIDE_HOST}:{port} by CONNECT") for way in ways
        ]

    # --- matchers -----------------------------------------------------------------------------------------

    def _when(self, route: Value) -> Condition:
        """Sets of which any is enough; without one: always."""
        sets = _items(route, "match")
        return any_of(self._all(one, 0) for one in sets) if sets else ALWAYS

    def _all(self, matchers: Value, depth: int) -> Condition:
        return all_of(self._one(name, value, depth) for name, value in matchers.pairs.items())

    def _one(self, name: str, value: Value, depth: int) -> Condition:
        if name == "not" and depth >= _MOST_DEPTH:
            return self._gap(value, "matcher not, nested too deeply")
        if name == "not":
            return ~any_of(self._all(one, depth + 1) for one in value.items)
        trusting = self.node.at("trusted_proxies")
        is_trusting = trusting is not None and trusts_strangers(self.setup, _texts(trusting, "ranges"))
        line = Node((), self._at(value), value.line)
        matching = Matching(self.setup, line, self.version, self.is_own, line if is_trusting else None)
        if name in {"header", "header_regexp"}:
            told = [
                (key, one.text or _text(one, "pattern")) for key, one in value.pairs.items() if not one.items
            ]
            told += [(key, inner.text or "") for key, one in value.pairs.items() for inner in one.items[:1]]
            return all_of(matching.one(Node((name, *pair), self._at(value), value.line)) for pair in told)
        words = _texts(value, "ranges") if value.is_mapping else [one.text or "" for one in value.items]
        if value.is_mapping and (forwarded := value.at("forwarded")) is not None and forwarded.is_true:
            words = ["forwarded", *words]
        return matching.one(Node((name, *words), self._at(value), value.line))

    def _at(self, node: Value) -> Position:
        return self.source.at(node.line)

    def _gap(self, node: Value, subject: str) -> Condition:
        return unknown(self.setup.note(Gap(GapKind.NOT_EVALUATED, subject[:80], self._at(node))))


def _all_by(states: Sequence[_State], ways: tuple[Way, ...], group: str = "") -> list[_State]:
    fresh = frozenset({group} if group else ())
    return [(way, done | fresh) for one, done in states for way in joined((one,), ways)]


def _items(node: Value, key: str) -> tuple[Value, ...]:
    found = node.at(key)
    return found.items if found else ()


def _texts(node: Value, key: str) -> list[str]:
    return [one.text for one in _items(node, key) if one.text is not None]


def _text(node: Value, key: str) -> str:
    found = node.at(key)
    return (found.text or "") if found else ""
