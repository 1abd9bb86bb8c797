"""Envoy: the lab's two configurations, filters before the one that forwards, and mending."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mending, seen

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.envoy import SERVER

LAB = Path(__file__).parents[2] / "interop" / "servers"
OPEN = (LAB / "envoy-open" / "root" / "etc" / "envoy" / "envoy.yaml").read_text()
CLOSED = (LAB / "envoy-closed" / "root" / "etc" / "envoy" / "envoy.yaml").read_text()
DYNAMIC = {"name": "anywhere", "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}}
FORWARD = {"name": "envoy.filters.http.dynamic_forward_proxy"}
ROUTER = {"name": "envoy.filters.http.router"}
TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
LAN = {"address_prefix": "10.0.0.0", "prefix_len": 8}
WIDE = {"address_prefix": "198.0.0.0", "prefix_len": 8}


def bootstrap(
    *filters, routes=None, clusters=(DYNAMIC,), domains=("*",), manager=None, listener=None, host=None
):
    """A listener of HTTP, as JSON, which YAML takes too."""
    routes = routes or [{"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}}]
    hosts = [{"name": "h", "domains": list(domains), "routes": routes, **(host or {})}]
    http = {
        "http_filters": [*filters, FORWARD, ROUTER],
        "route_config": {"virtual_hosts": hosts},
        **(manager or {}),
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    address = {"socket_address": {"address": "0.0.0.0", "port_value": 80}}
    one = {"name": "l", "address": address, "filter_chains": [chain], **(listener or {})}
    return json.dumps({"static_resources": {"listeners": [one], "clusters": list(clusters)}}, indent=1)


def rbac(permission=None, principal=None, action="ALLOW"):
    policies = {
        "p": {"permissions": [permission or {"any": True}], "principals": [principal or {"any": True}]}
    }
    config = {"@type": TYPE, "rules": {"action": action, "policies": policies}}
    return {"name": "guard", "typed_config": config}


def authority(**match):
    return {"header": {"name": ":authority", "string_match": match}}


def verdict(text: str) -> str:
    return audited(SERVER, text).verdict.value


def test_the_lab_s_open_one_is_open_in_every_way() -> None:
    report = audited(SERVER, OPEN)
    by_service = {(one.service, one.rule, one.line) for one in report.findings}
    tcp = {("en-connect", 26), ("en-connect-h2", 26), ("en-connect-udp", 26), ("en-forward", 33)}
    udp = {("en-connect-h3", 26), ("en-connect-udp", 26), ("en-forward", 33)}
    assert by_service == {("plain", *one) for one in tcp} | {("tls", *one) for one in tcp} | {
        ("quic", *one) for one in udp
    }
    assert report.verdict is AuditVerdict.OPEN
    assert ":25 by CONNECT" in report.findings[0].witness


def test_the_lab_s_closed_one_is_closed() -> None:
    assert audited(SERVER, CLOSED).verdict is AuditVerdict.CLOSED


@pytest.mark.parametrize("allowed", [(), ("198.51.100.0/24", "2001:db8::/32")])
def test_mending_puts_a_filter_before_all_others(allowed: tuple[str, ...]) -> None:
    outcome = mending(SERVER, OPEN, allowed=allowed)
    assert outcome.report.verdict is AuditVerdict.CLOSED
    (after,) = outcome.after.values()
    manager = yaml.safe_load(after.text)["static_resources"]["listeners"][2]["filter_chains"][0]["filters"][0]
    first = manager["typed_config"]["http_filters"][0]
    assert first["name"] == "envoy.filters.http.rbac"
    told = {
        one["direct_remote_ip"]["address_prefix"]
        for one in first["typed_config"]["rules"]["policies"]["own-clients"]["principals"]
    }
    assert told == ({one.partition("/")[0] for one in allowed} or {"127.0.0.0"})


def test_mending_does_nothing_where_own_names_would_be_cut_off_or_all_is_on_one_line() -> None:
    assert not mending(SERVER, bootstrap(domains=("*.example",))).after
    assert not mending(SERVER, bootstrap()).after


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (rbac(), "open"),
        (rbac(principal={"direct_remote_ip": LAN}), "closed"),
        (rbac(principal={"direct_remote_ip": WIDE}), "open-if"),
        (rbac(principal={"not_id": {"source_ip": LAN}}), "open"),
        (rbac(principal={"or_ids": {"ids": [{"source_ip": LAN}, {"any": True}]}}), "open"),
        (rbac(principal={"and_ids": {"ids": [{"source_ip": LAN}, {"any": True}]}}), "closed"),
        (rbac(principal={"remote_ip": LAN}), "open-if"),
        (rbac(principal={"direct_remote_ip": {"address_prefix": "x"}}), "unknown"),
        (rbac(principal={"authenticated": {}}), "unknown"),
        (rbac(principal={"any": False}), "closed"),
        (rbac(principal={"header": {"name": "x-key", "string_match": {"exact": "s"}}}), "open-if"),
        (rbac(principal={"header": {"name": "x-key", "present_match": True}}), "open-if"),
        (rbac(action="DENY"), "closed"),
        (rbac(action="LOG"), "open"),
        (rbac(principal={"direct_remote_ip": LAN}, action="DENY"), "open"),
        (rbac(permission=authority(exact="www.example.org")), "closed"),
        (rbac(permission=authority(suffix=".example.org")), "closed"),
        (rbac(permission=authority(suffix=".example")), "open"),
        (rbac(permission=authority(prefix="else")), "open"),
        (rbac(permission=authority(contains="example.org")), "open"),
        (rbac(permission=authority(safe_regex={"regex": "[a-z.]+"})), "open"),
        (rbac(permission=authority(safe_regex={"regex": "("})), "unknown"),
        (rbac(permission={"header": {"name": ":authority", "present_match": True}}), "open"),
        (rbac(permission={"not_rule": authority(suffix="e")}), "open"),
        (rbac(permission={"header": {"name": ":method", "string_match": {"exact": "GET"}}}), "open"),
        (rbac(permission={"header": {"name": "x", "exact_match": "y", "invert_match": True}}), "open"),
        (rbac(permission={"url_path": {"path": {"prefix": "/a"}}}), "open"),
        (rbac(permission={"destination_port": 80}), "unknown"),
        (rbac(permission={}, principal={}), "open"),
        ({"name": "r", "typed_config": {"@type": TYPE}}, "open"),
        ({"name": "r", "typed_config": {"@type": TYPE, "matcher": {}}}, "unknown"),
        ({"name": "r", "typed_config": {"@type": TYPE, "rules": {}}}, "closed"),
        (
            {"name": "r", "typed_config": {"@type": TYPE, "rules": {"policies": {"p": {"condition": {}}}}}},
            "unknown",
        ),
        ({"name": "envoy.filters.http.basic_auth"}, "closed"),
        ({"name": "envoy.filters.http.basic_auth", "disabled": True}, "open"),
        ({"name": "envoy.filters.http.ext_authz"}, "unknown"),
        ({"name": "envoy.filters.http.cors"}, "open"),
    ],
)
def test_filters_before_it(guard: dict, expected: str) -> None:
    assert verdict(bootstrap(guard)) == expected


def test_the_address_is_the_connection_s_where_envoy_is_at_the_edge() -> None:
    guard = rbac(principal={"remote_ip": LAN})
    assert verdict(bootstrap(guard, manager={"use_remote_address": True})) == "closed"


@pytest.mark.parametrize("where", ["host", "route"])
def test_routes_have_filters_of_their_own(where: str) -> None:
    guard = rbac(principal={"direct_remote_ip": LAN})
    for own, expected in (
        ({"guard": {"rbac": {}}}, "open"),
        ({"guard": {"disabled": True}}, "open"),
        ({"guard": {}}, "open"),
        ({"guard": {"rbac": guard["typed_config"]}}, "closed"),
    ):
        more = {"typed_per_filter_config": own}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}}
        text = (
            bootstrap(guard, host=more) if where == "host" else bootstrap(guard, routes=[{**route, **more}])
        )
        assert verdict(text) == expected


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([{"match": {"prefix": "/"}, "redirect": {}}, {"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}}], "closed"),
        ([{"match": {"path": "/a"}, "redirect": {}}, {"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}}], "open"),
        ([{"match": {"connect_matcher": {}}, "route": {"cluster": "anywhere"}}], "closed"),
        ([{"match": {"prefix": "/"}, "route": {"cluster": "gone"}}], "unknown"),
        ([{"route": {"cluster": "anywhere"}}], "closed"),
        ([{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "anywhere"}]}}}], "open"),
        ([{"match": {"prefix": "/"}, "route": {"cluster_header": "x-to"}}], "open-if"),
        ([{"match": {"prefix": "/"}, "route": {"cluster_specifier_plugin": "x"}}], "unknown"),
        ([{"match": {"prefix": "/"}, "route": {"cluster": "anywhere", "host_rewrite_literal": "a.example.org"}}], "closed"),
        ([{"match": {"prefix": "/"}, "route": {"cluster": "anywhere", "host_rewrite_path_regex": {"a": "b"}}}], "unknown"),
        ([{"match": {"prefix": "/", "headers": [{"name": "k", "exact_match": "v"}]}, "route": {"cluster": "anywhere"}}], "open-if"),
        ([{"match": {"prefix": "/", "query_parameters": [{"name": "k"}]}, "route": {"cluster": "anywhere"}}], "open"),
        ([{"match": {"prefix": "/", "runtime_fraction": {}}, "route": {"cluster": "anywhere"}}], "unknown"),
    ],
)  # fmt: skip
def test_routes(routes: list, expected: str) -> None:
    assert verdict(bootstrap(routes=routes)) == expected


TUNNEL = [{"match": {"connect_matcher": {}}, "route": {"cluster": "anywhere"}}]


@pytest.mark.parametrize(
    ("manager", "listener", "rules"),
    [
        ({}, {}, []),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}]}, {}, ["en-connect"]),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT", "enabled": False}]}, {}, []),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT-UDP"}]}, {}, ["en-connect-udp"]),
        ({"upgrade_configs": [{"upgrade_type": "websocket"}]}, {}, []),
        (
            {"upgrade_configs": [{"upgrade_type": "CONNECT"}], "codec_type": "HTTP2", "http2_protocol_options": {"allow_connect": True}},
            {},
            ["en-connect-h2"],
        ),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}], "codec_type": "HTTP2"}, {}, []),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}], "codec_type": "HTTP1"}, {}, ["en-connect"]),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}]}, {"udp_listener_config": {"quic_options": {}}}, ["en-connect-h3"]),
    ],
)  # fmt: skip
def test_tunnels(manager: dict, listener: dict, rules: list) -> None:
    report = audited(SERVER, bootstrap(routes=TUNNEL, manager=manager, listener=listener))
    assert [one.rule for one in report.findings] == rules


def test_a_destination_in_a_header_field() -> None:
    by_field = {
        "name": "anywhere",
        "type": "ORIGINAL_DST",
        "original_dst_lb_config": {"use_http_header": True},
    }
    report = audited(SERVER, bootstrap(clusters=(by_field,), domains=("www.example.org",)))
    assert [(one.verdict.value, one.rule) for one in report.findings] == [("open", "en-original-dst")]
    assert "x-envoy-original-dst-host: 198.51.100.25:25" in report.findings[0].witness
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "anywhere", "host_rewrite_header": "x-host"}}]
    report = audited(SERVER, bootstrap(routes=routes, domains=("www.example.org",)))
    assert [one.rule for one in report.findings] == ["en-original-dst"]
    plain = {"name": "anywhere", "type": "ORIGINAL_DST"}
    assert verdict(bootstrap(clusters=(plain,))) == "unknown"
    assert verdict(bootstrap(clusters=({"name": "anywhere", "cluster_type": {"name": "x"}},))) == "unknown"
    assert verdict(bootstrap(clusters=({"name": "anywhere", "type": "STRICT_DNS"},))) == "closed"


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        ({"address": {"socket_address": {"address": "127.0.0.1"}}}, "closed"),
        ({"address": {"pipe": {"path": "/run/x"}}}, "closed"),
        ({"filter_chains": []}, "closed"),
        ({"address": {}}, "open"),
    ],
)
def test_listeners(listener: dict, expected: str) -> None:
    assert verdict(bootstrap(listener=listener)) == expected


@pytest.mark.parametrize(
    ("match", "filters", "expected"),
    [
        ({}, ("sni_dynamic_forward_proxy", "tcp_proxy"), "open"),
        ({"source_type": "SAME_IP_OR_LOOPBACK"}, ("sni_dynamic_forward_proxy", "tcp_proxy"), "closed"),
        ({"source_prefix_ranges": [LAN]}, ("sni_dynamic_forward_proxy", "tcp_proxy"), "closed"),
        ({"direct_source_prefix_ranges": [WIDE]}, ("sni_dynamic_forward_proxy", "tcp_proxy"), "open-if"),
        ({}, ("tcp_proxy",), "unknown"),
        ({}, ("ext_authz", "sni_dynamic_forward_proxy", "tcp_proxy"), "unknown"),
        ({}, ("connection_limit", "sni_dynamic_forward_proxy", "tcp_proxy"), "open"),
        ({}, ("rbac", "sni_dynamic_forward_proxy", "tcp_proxy"), "closed"),
    ],
)
def test_names_of_tls(match: dict, filters: tuple, expected: str) -> None:
    configs = {"tcp_proxy": {"cluster": "anywhere"}, "rbac": {"rules": {}}}
    listed = [
        {"name": f"envoy.filters.network.{one}", "typed_config": configs.get(one, {})} for one in filters
    ]
    chain = {"filter_chain_match": match, "filters": listed}
    assert verdict(bootstrap(listener={"filter_chains": [], "default_filter_chain": chain})) == expected
    fixed = ({"name": "anywhere", "type": "STATIC"},)
    told = verdict(bootstrap(clusters=fixed, listener={"filter_chains": [chain]}))
    assert told == ("unknown" if "ext_authz" in filters else "closed")


def test_what_is_elsewhere_is_unknown() -> None:
    for manager in ({"rds": {}}, {"scoped_routes": {}}):
        assert verdict(bootstrap(manager={**manager, "route_config": None})) == "unknown"
    assert verdict("dynamic_resources: {}\nstatic_resources: {}\n") == "unknown"
    assert verdict("static_resources: {}\n") == "closed"
    assert verdict("static_resources: [\n") == "unknown"
    assert verdict("") == "unknown"
    without = json.loads(bootstrap())
    http = without["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    http["http_filters"] = []
    assert verdict(json.dumps(without)) == "unknown"
    assert seen(audited(SERVER, bootstrap()))[0][:2] == ("open", "en-forward")


LINES = OPEN.splitlines(keepends=True)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, len(LINES) - 1), max_size=6))
def test_nothing_makes_it_fail(gone: set[int]) -> None:
    audited(SERVER, "".join(line for number, line in enumerate(LINES) if number not in gone))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([rbac(), rbac(action="LOG"), {"name": "envoy.filters.http.cors"}]), max_size=3)
)
def test_a_deny_before_all_others_closes(filters: list) -> None:
    assert verdict(bootstrap(rbac(action="DENY"), *filters)) == "closed"


def test_rules_over_the_method_are_asked_by_the_method() -> None:
    connect = {"header": {"name": ":method", "string_match": {"exact": "CONNECT"}}}
    tunnels = [{"match": {"connect_matcher": {}}, "route": {"cluster": "anywhere"}}]
    manager = {"upgrade_configs": [{"upgrade_type": "CONNECT"}]}
    assert verdict(bootstrap(routes=tunnels, manager=manager)) == "open"
    assert verdict(bootstrap(rbac(connect, action="DENY"), routes=tunnels, manager=manager)) == "closed"
    assert verdict(bootstrap(rbac(connect), routes=tunnels, manager=manager)) == "open"
    other = {"header": {"name": ":method", "string_match": {"prefix": "C"}}}
    assert verdict(bootstrap(rbac(other, action="DENY"), routes=tunnels, manager=manager)) == "open"


def test_a_route_may_tell_the_filter_that_forwards_to_take_a_field() -> None:
    own = {FORWARD["name"]: {"host_rewrite_header": "x-to"}}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}, "typed_per_filter_config": own}]
    assert verdict(bootstrap(routes=routes, domains=("www.example.org",))) == "open"
    del routes[0]["typed_per_filter_config"]
    assert verdict(bootstrap(routes=routes, domains=("www.example.org",))) == "closed"


def test_udp_that_goes_where_nobody_knows() -> None:
    proxy = {"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": {"cluster": "anywhere"}}
    listener = {"listener_filters": [proxy], "filter_chains": []}
    assert verdict(bootstrap(listener=listener)) == "unknown"
    fixed = {"name": "own", "type": "STATIC"}
    proxy["typed_config"] = {"cluster": "own"}
    assert verdict(bootstrap(listener=listener, clusters=(DYNAMIC, fixed))) == "closed"
