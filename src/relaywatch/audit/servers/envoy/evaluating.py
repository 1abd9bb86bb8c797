"""What a stranger gets out of each listener of Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, NEVER, Condition, Way, any_of, claimed, joined, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import AS_HE_LIKES, first_of_each, headed, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.audit.yaml_nodes import BadYamlError, Node, parse_yaml
from relaywatch.model.evidence import Weakness

from .permitting import Asking, network

FILTERS = "http_filters begin with "
"""How the cause begins that tells where they do, for the mend."""
_HARMLESS = frozenset(
    {"router", "dynamic_forward_proxy", "cors", "buffer", "compressor", "decompressor", "fault", "grpc_web", "stateful_session"}
    | {"grpc_http1_bridge", "grpc_stats", "health_check", "local_ratelimit", "header_to_metadata", "tap", "on_demand"}
    | {"csrf", "bandwidth_limit", "admission_control", "adaptive_concurrency", "original_src", "alternate_protocols_cache"}
    | {"tls_inspector", "http_inspector", "connection_limit", "ratelimit", "set_metadata", "cache", "proxy_protocol"}
)  # fmt: skip
"""Filters that keep nobody out for good."""
_DYNAMIC, _BY_FIELD, _UNKNOWN, _FIXED = "dynamic", "by field", "unknown", "fixed"
_PARTS = 4
"""Of a type's name: ``envoy.extensions.filters.http.rbac.v3.RBAC`` has more."""


@dataclass(frozen=True, slots=True)
class _Proxy:
    """The whole file."""

    setup: Setup
    source: SourceFile
    root: Node

    def cause(self, node: Node, text: str, rule: str = "") -> Cause:
        return Cause(text, self.source.at(node.line), rule)

    def gap(self, node: Node, subject: str, kind: GapKind = GapKind.NOT_EVALUATED) -> Condition:
        return unknown(self.setup.note(Gap(kind, subject[:80], self.source.at(node.line))))

    def cluster(self, name: str) -> str:
        """What decides where a cluster goes."""
        for one in items(self.root, "static_resources", "clusters"):
            if text(one, "name") == name:
                kind = f"{text(one, 'cluster_type', 'name')} {text(one, 'cluster_type', 'typed_config', '@type')}"
                if "dynamic_forward_proxy" in kind:
                    return _DYNAMIC
                if text(one, "type") == "ORIGINAL_DST":
                    by_field = one.at("original_dst_lb_config", "use_http_header")
                    return _BY_FIELD if by_field is not None and by_field.is_true else _UNKNOWN
                return _UNKNOWN if one.at("cluster_type") is not None else _FIXED
        return _UNKNOWN


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every listener that the file itself has."""
    source = setup.read_main()
    if source is None:
        return
    try:
        root = parse_yaml(source.text)
    except BadYamlError as error:
        setup.note(Gap(GapKind.SYNTAX, str(error), source.at(error.line) if error.line else None))
        return
    if root is None:
        return
    proxy = _Proxy(setup, source, root)
    dynamic = root.at("dynamic_resources")
    if dynamic is not None:
        proxy.gap(dynamic, "dynamic_resources", GapKind.EXTERNAL)
    listeners = items(root, "static_resources", "listeners")
    if not listeners and root.is_mapping:
        yield Service(name="no listener", weakness=Weakness.OPEN_PROXY)
    for number, listener in enumerate(listeners, 1):
        ways = [way for version in (4, 6) for way in _Listener(proxy, listener, version).passing()]
        yield Service(
            name=text(listener, "name") or f"listener {number}",
            weakness=Weakness.OPEN_PROXY,
            position=source.at(listener.line),
            passing=first_of_each(ways),
            is_out_of_reach=_is_inside(listener),
        )


def _is_inside(listener: Node) -> bool:
    address = text(listener, "address", "socket_address", "address")
    is_other = listener.at("address", "pipe") or listener.at("address", "envoy_internal_address")
    return (bool(address) and is_loopback(address)) or is_other is not None


@dataclass(frozen=True, slots=True)
class _Listener:
    proxy: _Proxy
    node: Node
    version: int

    @property
    def is_quic(self) -> bool:
        return self.node.at("udp_listener_config", "quic_options") is not None

    def passing(self) -> Iterator[Way]:
        """Through each filter chain, and for UDP without one."""
        for name, config, node in _filters(self.node, "listener_filters"):
            if name.endswith("udp_proxy") and not self._is_fixed(config):
                yield from self.proxy.gap(node, name).true
        default = self.node.at("default_filter_chain")
        for chain in (*items(self.node, "filter_chains"), *((default,) if default else ())):
            ways = self._matched(chain).true
            for name, config, node in _filters(chain, "filters"):
                if name.endswith("http_connection_manager"):
                    for way in _Manager(self, config).passing():
                        yield from joined(ways, (way,))
                elif name.endswith("tcp_proxy"):
                    yield from self._tcp(chain, config, node, ways)
                else:
                    ways = joined(ways, self._network_filter(name, config, node).true)

    def _is_fixed(self, config: Node) -> bool:
        name = text(config, "cluster")
        return bool(name) and self.proxy.cluster(name) == _FIXED

    def _matched(self, chain: Node) -> Condition:
        """Whether a stranger comes to the chain: names and protocols are his to choose."""
        if text(chain, "filter_chain_match", "source_type") in {"SAME_IP_OR_LOOPBACK", "1"}:
            return NEVER
        found = ALWAYS
        for key in ("source_prefix_ranges", "direct_source_prefix_ranges"):
            ranges = [network(one) for one in items(chain, "filter_chain_match", key)]
            if ranges:
                found &= any_of(self.proxy.setup.strangers(one, self.version) for one in ranges if one)
        return found

    def _network_filter(self, name: str, config: Node, node: Node) -> Condition:
        kind = name.rpartition(".")[2]
        if kind == "rbac":
            asking = Asking(self.proxy.setup, self.proxy.source, self.version, f"{OUTSIDE_HOST}:443")
            return asking.passes(config)
        if kind in _HARMLESS or kind == "sni_dynamic_forward_proxy":
            return ALWAYS
        return self.proxy.gap(node, name, GapKind.EXTERNAL)

    def _tcp(self, chain: Node, config: Node, node: Node, ways: tuple[Way, ...]) -> Iterator[Way]:
        names = [
            text(config, "cluster"),
            *(text(one, "name") for one in items(config, "weighted_clusters", "clusters")),
        ]
        by_name = [one for name, _, one in _filters(chain, "filters") if "sni_dynamic_forward_proxy" in name]
        for name in filter(None, names):
            kind = self.proxy.cluster(name)
            if kind == _DYNAMIC and by_name:
                cause = self.proxy.cause(by_name[0], "sni_dynamic_forward_proxy", "en-sni")
                yield from (
                    headed(Way(causes=(cause,)).joined(way), f"{OUTSIDE_HOST}:443 by SNI") for way in ways
                )
            elif kind != _FIXED:
                yield from joined(ways, self.proxy.gap(node, f"tcp_proxy to {name}").true)


@dataclass(frozen=True, slots=True)
class _Manager:
    """An HTTP connection manager."""

    listener: _Listener
    node: Node

    @property
    def proxy(self) -> _Proxy:
        return self.listener.proxy

    def passing(self) -> Iterator[Way]:
        """By its routes to clusters that the client directs."""
        config = self.node.at("route_config")
        for key in ("rds", "scoped_routes"):
            external = self.node.at(key)
            if external is not None:
                yield from self.proxy.gap(external, key, GapKind.EXTERNAL).true
        if config is None:
            return
        for host in items(config, "virtual_hosts"):
            for method, authority in self._asked():
                reached = _is_for(host, authority)
                left: tuple[Way, ...] = (Way(),)
                for route in items(host, "routes"):
                    matched = self._matched(route, method, authority)
                    here = joined(left, matched.true)
                    left = joined(left, matched.false)
                    for way in self._routed(host, route, method, authority, is_named=reached):
                        yield from (self._told(way.joined(one)) for one in here)

    def _asked(self) -> Iterator[tuple[str, str]]:
        for method in ("CONNECT", "CONNECT-UDP"):
            yield method, f"{OUTSIDE_HOST}:25"
            yield method, f"{OUTSIDE_HOST}:443"
        yield "GET", f"{OUTSIDE_HOST}:25"
        yield "GET", OUTSIDE_HOST

    def _told(self, way: Way) -> Way:
        """With the place of the filters, where it is this listener's own business alone."""
        first = next(iter(items(self.node, "http_filters")), None)
        is_alone = all(
            "*" in [one.text for one in items(host, "domains")]
            for host in items(self.node, "route_config", "virtual_hosts")
        )
        if first is None or not is_alone:
            return way
        return way.because(self.proxy.cause(first, FILTERS + (text(first, "name") or "a filter")))

    def _asking(self, authority: str, method: str = "") -> Asking:
        known = self.node.at("use_remote_address")
        setup, source = self.proxy.setup, self.proxy.source
        return Asking(
            setup,
            source,
            self.listener.version,
            authority,
            method,
            is_address_known=known is not None and known.is_true,
        )

    def _matched(self, route: Node, method: str, authority: str) -> Condition:
        match = route.at("match")
        if match is None:
            return NEVER
        is_of_tunnels = match.at("connect_matcher") is not None
        if is_of_tunnels and method == "GET":
            return NEVER
        if method == "CONNECT" and not is_of_tunnels:
            return NEVER  # CONNECT has no path
        found = ALWAYS
        prefix = match.at("prefix")
        if not is_of_tunnels and (prefix is None or prefix.text not in {"/", "", None}):
            found &= AS_HE_LIKES
        for field in items(match, "headers"):
            found &= self._asking(authority).field(field)
        if items(match, "query_parameters"):
            found &= AS_HE_LIKES
        odd = {"dynamic_metadata", "filter_state", "tls_context", "runtime_fraction"} & set(match.pairs)
        return found & self.proxy.gap(match, " ".join(sorted(odd))) if odd else found

    def _routed(
        self, host: Node, route: Node, method: str, authority: str, *, is_named: bool
    ) -> Iterator[Way]:
        action = route.at("route")
        if action is None:
            return
        names = [
            text(action, "cluster"),
            *(text(one, "name") for one in items(action, "weighted_clusters", "clusters")),
        ]
        field = text(action, "cluster_header")
        if field:
            names += [text(one, "name") for one in items(self.proxy.root, "static_resources", "clusters")]
        if action.at("cluster_specifier_plugin") or action.at("inline_cluster_specifier_plugin"):
            yield from self.proxy.gap(action, "cluster_specifier_plugin", GapKind.EXTERNAL).true
        for name in filter(None, names):
            chosen = claimed(Claim(ClaimKind.FIELD, f"{field}: {name}")) if field else ALWAYS
            kind = self.proxy.cluster(name)
            led = self._by_field(host, route, name, kind, authority) if method == "GET" else ()
            asked = authority
            if led:
                asked = next(
                    (one.text for one in items(host, "domains") if one.text and one.text != "*"), authority
                )
            else:
                led = self._to(action, name, kind, method, authority) if is_named or kind == _UNKNOWN else ()
            let_in = (
                self._filtered(host, route, (asked, method), is_forwarding=kind == _DYNAMIC) if led else NEVER
            )
            for one in led:
                yield from joined(joined((one,), chosen.true), let_in.true)

    def _by_field(self, host: Node, route: Node, name: str, kind: str, authority: str) -> tuple[Way, ...]:
        """The destination in a header field, whatever the virtual host is called."""
        action = route.at("route") or route
        field = text(action, "host_rewrite_header") if kind == _DYNAMIC else ""
        if kind == _DYNAMIC and not field:
            field = next((text(one, "host_rewrite_header") for one in self._forwarding(host, route)), "")
        if kind == _BY_FIELD:
            field, authority = "x-envoy-original-dst-host", "198.51.100.25:25"
        if not field:
            return ()
        known = self.proxy.cause(action, f"cluster {name} by {field}", "en-original-dst")
        asked = Claim(ClaimKind.DESTINATION, f"{field}: {authority} by GET")
        return (Way(frozenset((asked,)), causes=(known,)),)

    def _forwarding(self, host: Node, route: Node) -> Iterator[Node]:
        """What a route, or its virtual host, says to the filter that forwards."""
        for name, _, node in _filters(self.node, "http_filters"):
            if name.endswith("dynamic_forward_proxy"):
                yield from filter(None, (_own(one, text(node, "name")) for one in (route, host)))

    def _to(self, action: Node, name: str, kind: str, method: str, authority: str) -> tuple[Way, ...]:
        """How a cluster takes him where he wants."""
        rewritten = next(
            (key for key in ("host_rewrite_literal", "host_rewrite_path_regex") if action.at(key)), ""
        )
        if kind == _UNKNOWN:
            return self.proxy.gap(action, f"cluster {name}").true
        if kind != _DYNAMIC or (method == "GET" and rewritten == "host_rewrite_literal"):
            return ()
        if rewritten and self._rules(action, method):
            return self.proxy.gap(action, rewritten).true
        port = "" if ":" in authority else ":80"
        causes = [
            self.proxy.cause(action, f"route to cluster {name}", rule) for rule in self._rules(action, method)
        ]
        return tuple(headed(Way(causes=(one,)), f"{authority}{port} by {method}") for one in causes)

    def _rules(self, action: Node, method: str) -> tuple[str, ...]:
        """The rules that it breaks to be led by this method; none if the listener knows no such tunnels."""
        upgrades = [
            one
            for one in (*items(action, "upgrade_configs"), *items(self.node, "upgrade_configs"))
            if text(one, "upgrade_type").upper() == method
        ]
        if method == "GET":
            return ("en-forward",)
        if not upgrades or ((off := upgrades[0].at("enabled")) is not None and not off.is_true):
            return ()
        if method == "CONNECT-UDP" or self.listener.is_quic:
            return ("en-connect-udp" if method == "CONNECT-UDP" else "en-connect-h3",)
        taken = self.node.at("http2_protocol_options", "allow_connect")
        by_two = ("en-connect-h2",) if taken is not None and taken.is_true else ()
        codec = text(self.node, "codec_type") or "AUTO"
        return by_two if codec == "HTTP2" else ("en-connect", *(by_two if codec == "AUTO" else ()))

    def _filtered(self, host: Node, route: Node, asked: tuple[str, str], *, is_forwarding: bool) -> Condition:
        """Past the HTTP filters, as the route has them, for an authority and a method."""
        asking = self._asking(*asked)
        found = ALWAYS
        kinds = []
        for name, config, node in _filters(self.node, "http_filters"):
            kind = name.rpartition(".")[2]
            if (off := node.at("disabled")) is not None and off.is_true:
                continue
            own = _own(route, text(node, "name")) or _own(host, text(node, "name"))
            if own is not None and (off := own.at("disabled")) is not None and off.is_true:
                continue
            kinds.append(kind)
            found &= self._filter(kind, name, config, node, own, asking)
        if is_forwarding and "dynamic_forward_proxy" not in kinds:
            found &= self.proxy.gap(route, "no dynamic_forward_proxy filter")
        return found

    def _filter(
        self, kind: str, name: str, config: Node, node: Node, own: Node | None, asking: Asking
    ) -> Condition:
        if kind == "rbac":
            if own is not None:
                inner = own.at("rbac")
                return asking.passes(inner) if inner is not None else ALWAYS
            return asking.passes(config)
        if kind == "basic_auth":
            return NEVER
        if kind in _HARMLESS:
            return ALWAYS
        return self.proxy.gap(node, name, GapKind.EXTERNAL)


def _own(node: Node, name: str) -> Node | None:
    return node.at("typed_per_filter_config", name)


def _is_for(host: Node, authority: str) -> bool:
    """Whether an outside authority comes to the virtual host: ``*`` takes what no other one does."""
    domains = [(one.text or "").lower() for one in items(host, "domains")]
    return any(fnmatchcase(authority, one) for one in domains)


def _filters(node: Node, key: str) -> Iterator[tuple[str, Node, Node]]:
    """Name, by its type where that is told, configuration, and the filter itself."""
    for one in items(node, key):
        kind = text(one, "typed_config", "@type").rpartition("/")[2].lower().split(".")
        known = ".".join(kind[:-2]) if len(kind) > _PARTS else text(one, "name")
        yield known, one.at("typed_config") or one, one


def items(node: Node, *keys: str) -> tuple[Node, ...]:
    """A list under these keys; none where there is none."""
    found = node.at(*keys)
    return found.items if found else ()


def text(node: Node, *keys: str) -> str:
    """A scalar under these keys; empty where there is none."""
    found = node.at(*keys)
    return (found.text or "") if found else ""
