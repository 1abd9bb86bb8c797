"""The rows of the field's matrix of proxies, as they were seen: tinyproxy, Privoxy, Dante, microsocks."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Files, audited

from relaywatch.audit.server import load_servers

TINYPROXY = "Port 8888\n"
PRIVOXY = "confdir /etc/privoxy\nlisten-address :8118\n"
DANTE = "internal: 0.0.0.0 port = 1080\nexternal: eth0\nclientmethod: none\n"
ALL = "client pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }\n"
LIMITED: Files = {
    "/etc/privoxy/config": PRIVOXY + "actionsfile user.action\n",
    "/etc/privoxy/user.action": "{+limit-connect{443}}\n/\n",
}
ROWS: dict[str, tuple[str, Files, tuple[str, str, int, str] | None]] = {
    "tinyproxy: no Allow line": ("tinyproxy", TINYPROXY, ("open", "tp-no-allow", 0, ":25 by CONNECT")),
    "tinyproxy: no Allow + ConnectPort 443": (
        "tinyproxy", TINYPROXY + "ConnectPort 443\n", ("open", "tp-no-allow", 0, ":443 by CONNECT"),
    ),
    "tinyproxy: ConnectPort 0": (
        "tinyproxy", TINYPROXY + "ConnectPort 0\n", ("open", "tp-no-allow", 0, ":25 by GET"),
    ),
    "tinyproxy: any Allow line": ("tinyproxy", TINYPROXY + "Allow 127.0.0.1\n", None),
    "tinyproxy: any Deny line": ("tinyproxy", TINYPROXY + "Deny 192.0.2.1\n", None),
    "Privoxy: reachable, no permit-access": ("privoxy", PRIVOXY, ("open", "pv-no-access", 2, ":25 by CONNECT")),
    "Privoxy: any permit-access line": ("privoxy", PRIVOXY + "permit-access 127.0.0.1\n", None),
    "Privoxy: any deny-access line": ("privoxy", PRIVOXY + "deny-access 192.0.2.1\n", None),
    "Privoxy: last match wins": (
        "privoxy", PRIVOXY + "deny-access 0.0.0.0/0\npermit-access 0.0.0.0/0\n", ("open", "pv-permit-wide", 4, ":25"),
    ),
    "Privoxy: limit-connect 443": ("privoxy", LIMITED, ("open", "pv-no-access", 2, ":443 by CONNECT")),
    "Privoxy: accept-intercepted-requests 1": (
        "privoxy", PRIVOXY + "accept-intercepted-requests 1\n", ("open", "pv-intercepted", 3, ":80 by Host"),
    ),
    "Dante: none + none + pass 0/0": ("dante", DANTE + "socksmethod: none\n" + ALL, ("open", "da-connect", 5, ":25")),
    "Dante: socksmethod username none": (
        "dante", DANTE + "socksmethod: username none\n" + ALL, ("open", "da-connect", 5, ":25"),
    ),
    "Dante: socksmethod username": ("dante", DANTE + "socksmethod: username\n" + ALL, None),
    "Dante: socksmethod unset": ("dante", DANTE + ALL, None),
    "Dante: client pass limited": (
        "dante", DANTE + "socksmethod: none\n" + ALL.replace("pass { from: 0/0", "pass { from: 10.0.0.0/8", 1), None,
    ),
    "Dante: socks block port = 25 first": (
        "dante",
        DANTE + "socksmethod: none\nsocks block { from: 0/0 to: 0/0 port = 25 }\n" + ALL,
        ("open", "da-connect", 6, ":443"),
    ),
    "microsocks: default": (
        "microsocks", "ExecStart=microsocks -i 0.0.0.0 -p 1080\n", ("open", "ms-no-password", 1, ":25 by SOCKS5"),
    ),
    "microsocks: -u -P": ("microsocks", "ExecStart=microsocks -u a -P b\n", None),
}  # fmt: skip


@pytest.mark.parametrize(("server", "files", "expected"), ROWS.values(), ids=ROWS)
def test_what_the_row_says_the_server_did(
    server: str, files: Files, expected: tuple[str, str, int, str] | None
) -> None:
    report = audited(load_servers()[server], files)
    assert (report.verdict.value == "closed") == (expected is None)
    if expected is not None:
        *place, witness = expected
        found = [one for one in report.findings if [one.verdict.value, one.rule, one.line] == place]
        assert any(witness in one.witness for one in found), report.findings
