"""Caddy 2.6.2 was run with these, in both of its languages; and what it leaves to others is unknown."""

from __future__ import annotations

import json

import pytest
from tests.audit.auditing import audited, mending, only, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.caddy import SERVER

HOST = {"handler": "reverse_proxy", "upstreams": [{"dial": "{http.request.host}:80"}]}
REFUSING = {"handler": "static_response", "status_code": 403}
LAN = {"remote_ip": {"ranges": ["10.0.0.0/8"]}}


def native(*routes: dict[str, object], listen: str = ":8080", **server: object) -> str:
    one = {"listen": [listen], "routes": list(routes), **server}
    return json.dumps({"apps": {"http": {"servers": {"srv0": one}}}}, indent="\t")


def route(*handle: dict[str, object], **others: object) -> dict[str, object]:
    return {**others, "handle": list(handle)}


def passing(dial: str) -> dict[str, object]:
    return {"handler": "reverse_proxy", "upstreams": [{"dial": dial}]}


def verdict_of(text: str) -> AuditVerdict:
    return audited(SERVER, text, main="caddy.json").verdict


def site(*lines: str, at: str = ":8080") -> str:
    return "\n".join([f"{at} {{", *(f"\t{line}" for line in lines), "}", ""])


def test_the_fields_row_in_json_is_found_at_its_line() -> None:
    report = audited(SERVER, native(route(HOST)), main="caddy.json")
    lines = native(route(HOST)).split("\n")
    line = next(number for number, text in enumerate(lines, 1) if '"dial"' in text)
    assert seen(report) == [("open", "ca-upstream", line)]
    assert report.findings[0].advisory == "RW-2006"
    assert mending(SERVER, native(route(HOST)), main="caddy.json").after == {}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (native(route(passing("192.0.2.1:80"))), AuditVerdict.CLOSED),
        (native(route(passing("{http.request.uri.query.to}.own.example.org:80"))), AuditVerdict.CLOSED),
        (native(route(passing("{env.UP}:80"))), AuditVerdict.CLOSED),
        (native(route(passing("{http.vars.up}:80"))), AuditVerdict.UNKNOWN),
        (native(route(HOST), listen="127.0.0.1:8080"), AuditVerdict.CLOSED),
        (native(route(HOST), listen="unix//run/caddy.sock"), AuditVerdict.CLOSED),
        (native(route(HOST), listen="tcp/192.0.2.30:8080"), AuditVerdict.OPEN),
        (native(route(HOST, match=[{"host": ["www.example.org"]}])), AuditVerdict.CLOSED),
        (
            native(route(passing("{http.request.header.X-To}"), match=[{"host": ["www.example.org"]}])),
            AuditVerdict.OPEN,
        ),
        (native(route(HOST, match=[LAN])), AuditVerdict.CLOSED),
        (native(route(HOST, match=[LAN, {"path": ["/x"]}])), AuditVerdict.OPEN),
        (native(route(REFUSING, match=[{"not": [LAN]}], terminal=True), route(HOST)), AuditVerdict.CLOSED),
        (native(route({"handler": "headers"}, terminal=True), route(HOST)), AuditVerdict.CLOSED),
        (native(route({"handler": "subroute", "routes": [route(HOST)]})), AuditVerdict.OPEN),
        (
            native(route({"handler": "subroute", "routes": [route(REFUSING)]}), route(HOST)),
            AuditVerdict.CLOSED,
        ),
        (native(route({"handler": "subroute", "routes": []}), route(HOST)), AuditVerdict.OPEN),
        (native(route({"handler": "authentication", "providers": {}}), route(HOST)), AuditVerdict.CLOSED),
        (native(route({"handler": "file_server"}), route(HOST)), AuditVerdict.CLOSED),
        (native(route({"handler": "file_server", "pass_thru": True}), route(HOST)), AuditVerdict.OPEN),
        (native(route({"handler": "guard"}), route(HOST)), AuditVerdict.UNKNOWN),
        (native(route({"handler": "guard"})), AuditVerdict.UNKNOWN),
        (
            native(
                route({"handler": "headers"}, group="g", match=[{"path": ["/x"]}]),
                route(REFUSING, group="g"),
                route(HOST),
            ),
            AuditVerdict.OPEN,
        ),
        (native(route(REFUSING, group="g"), route(HOST)), AuditVerdict.CLOSED),
        (
            native(route({"handler": "invoke", "name": "n"}), named_routes={"n": route(HOST)}),
            AuditVerdict.OPEN,
        ),
        (native(route({"handler": "invoke", "name": "gone"})), AuditVerdict.UNKNOWN),
        (native(errors={"routes": [route(HOST)]}), AuditVerdict.UNKNOWN),
        (native(errors={"routes": [route(REFUSING)]}), AuditVerdict.CLOSED),
        (
            native(route({"handler": "reverse_proxy", "dynamic_upstreams": {"name": "{http.request.host}"}})),
            AuditVerdict.OPEN,
        ),
        (native(route({"handler": "forward_proxy"})), AuditVerdict.OPEN),
        (native(route({"handler": "forward_proxy", "acl": []})), AuditVerdict.UNKNOWN),
        (native(route({"handler": "forward_proxy", "auth_credentials": ["x"]})), AuditVerdict.CLOSED),
        (native(route(HOST, match=[{"header": {"X-Key": ["secret"]}}])), AuditVerdict.OPEN_IF),
        (native(route(HOST, match=[{"header_regexp": {"X-Key": {"pattern": "^s"}}}])), AuditVerdict.OPEN_IF),
        (
            native(route(HOST, match=[{"remote_ip": {"ranges": ["10.0.0.0/8"], "forwarded": True}}])),
            AuditVerdict.OPEN_IF,
        ),
        (native(route(HOST, match=[{"client_ip": {"ranges": ["10.0.0.0/8"]}}])), AuditVerdict.CLOSED),
        (
            native(
                route(HOST, match=[{"client_ip": {"ranges": ["10.0.0.0/8"]}}]),
                trusted_proxies={"source": "static", "ranges": ["0.0.0.0/0"]},
            ),
            AuditVerdict.OPEN_IF,
        ),
        (native(route(HOST, match=[{"expression": "true"}])), AuditVerdict.UNKNOWN),
        (json.dumps({"apps": {"layer4": {"servers": {}}, "http": {}}}), AuditVerdict.UNKNOWN),
        ('{"apps": {', AuditVerdict.UNKNOWN),
        ("", AuditVerdict.UNKNOWN),
    ],
)
def test_servers_of_routes_in_json(text: str, verdict: AuditVerdict) -> None:
    assert verdict_of(text) is verdict


def test_what_lies_too_deep_in_json_or_has_too_many_ways_is_not_closed() -> None:
    deep: dict[str, object] = HOST
    for _ in range(20):
        deep = {"handler": "subroute", "routes": [route(deep)]}
    assert verdict_of(native(route(deep))) is AuditVerdict.UNKNOWN
    inner: dict[str, object] = {"host": ["elsewhere.invalid"]}
    for _ in range(21):
        inner = {"not": [inner]}
    assert verdict_of(native(route(HOST, match=[inner]))) is AuditVerdict.UNKNOWN
    going_on = [
        route({"handler": "headers"}, match=[{"header": {f"X-{number}": ["x"]}}]) for number in range(8)
    ]
    many = [*going_on, route({"handler": "static_response"}, match=[{"header": {"X-0": ["x"]}}])]
    assert verdict_of(native(*many)) is AuditVerdict.UNKNOWN


def test_the_port_that_a_forward_proxy_in_json_lets_through_is_shown() -> None:
    limited = native(route({"handler": "forward_proxy", "allowed_ports": ["443"]}))
    finding = only(audited(SERVER, limited, main="caddy.json"))
    assert (finding.rule, finding.advisory) == ("ca-forward", "RW-2001")
    assert finding.witness.endswith(":443 by CONNECT")


def test_a_broken_file_in_json_is_told() -> None:
    assert audited(SERVER, '{"apps": {', main="caddy.json").gaps[0].kind is GapKind.SYNTAX


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (site("@own host www.example.org", "reverse_proxy @own {query.to}"), AuditVerdict.OPEN),
        (site("@own header Host www.example.org", "reverse_proxy @own {query.to}"), AuditVerdict.OPEN),
        (site("reverse_proxy {query.to}.own.example.org:80"), AuditVerdict.CLOSED),
        (site("reverse_proxy {labels.2}.own.example.org:80"), AuditVerdict.CLOSED),
        (site("@in remote_ip forwarded 10.1.0.0/16", "reverse_proxy @in {host}:80"), AuditVerdict.OPEN_IF),
        (site("@in client_ip 10.1.0.0/16", "reverse_proxy @in {host}:80"), AuditVerdict.CLOSED),
        (site("error 404", "handle_errors {", "reverse_proxy {host}:80", "}"), AuditVerdict.UNKNOWN),
        (site("handle_errors {", "respond 404", "}"), AuditVerdict.CLOSED),
        ("&(out) {\n\treverse_proxy {host}:80\n}\n" + site("invoke out"), AuditVerdict.OPEN),
        (
            "&(out) {\n\treverse_proxy {host}:80\n}\n" + site("@in remote_ip 10.0.0.0/8", "invoke @in out"),
            AuditVerdict.CLOSED,
        ),
        (site("invoke gone"), AuditVerdict.UNKNOWN),
        ("{\n\tlayer4 {\n\t\t:443 {\n\t\t}\n\t}\n}\n" + site("respond 200"), AuditVerdict.UNKNOWN),
        (
            "{\n\tservers {\n\t\ttrusted_proxies static 0.0.0.0/0\n\t}\n}\n"
            + site("@in client_ip 10.1.0.0/16", "reverse_proxy @in {host}:80"),
            AuditVerdict.OPEN_IF,
        ),
        (
            "{\n\tservers {\n\t\ttrusted_proxies static private_ranges 192.0.2.1\n\t}\n}\n"
            + site("@in client_ip 10.1.0.0/16", "reverse_proxy @in {host}:80"),
            AuditVerdict.CLOSED,
        ),
    ],
)
def test_what_a_caddyfile_comes_to(text: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, text).verdict is verdict
