"""Exchange: connectors, rights and accepted domains from CSV and JSON."""

from __future__ import annotations

import json

import pytest
from tests.audit.auditing import audited, seen

from relaywatch.audit.findings import AuditVerdict, GapKind
from relaywatch.audit.servers.exchange import SERVER

WIDE = "0.0.0.0-255.255.255.255"
RIGHT = "ms-Exch-SMTP-Accept-Any-Recipient"


def connector(
    name: str = "MX1\\Relay",
    ranges: object = WIDE,
    groups: str = "AnonymousUsers",
    mechanism: str = "Tls",
    **more: object,
):
    return {
        "Identity": name,
        "Bindings": ["0.0.0.0:25"],
        "RemoteIPRanges": ranges,
        "AuthMechanism": mechanism,
        "PermissionGroups": groups,
        **more,
    }


def right(
    name: str = "MX1\\Relay",
    user: str = "NT AUTHORITY\\ANONYMOUS LOGON",
    extended: str = RIGHT,
    **more: object,
):
    return {
        "Identity": name,
        "User": user,
        "ExtendedRights": [{"RawIdentity": extended, "Name": extended}],
        **more,
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([connector(), right("MX1\\Other")], []),
        ([connector(), right()], [("open", "exc-anon-relay")]),
        ([connector(ranges=["192.0.2.10", "192.0.2.20-192.0.2.30"]), right()], []),
        ([connector(ranges=["203.0.0.0/8"]), right()], [("open-if", "exc-anon-relay")]),
        (
            [connector(ranges=[{"Expression": "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, WIDE]), right()],
            [("open", "exc-anon-relay")],
        ),
        ([connector(), right(Deny="True")], []),
        ([connector(), right(user="CONTOSO\\printers")], []),
        ([connector(), right(extended="ms-Exch-SMTP-Submit")], []),
        ([connector(Enabled=False), right()], []),
        ([connector()], [("unknown", "not-evaluated")]),
        ([connector(groups="ExchangeUsers")], []),
        (
            [connector(groups="ExchangeServers", mechanism="Tls, ExternalAuthoritative")],
            [("open", "exc-ext-secured")],
        ),
        (
            [connector(groups="ExchangeUsers"), {"DomainName": "*", "DomainType": "InternalRelay"}],
            [("open", "exc-accepted-domain")],
        ),
        (
            [connector(groups="ExchangeUsers"), {"DomainName": "example.org", "DomainType": "InternalRelay"}],
            [],
        ),
    ],
)
def test_rows(rows, expected):
    told = audited(SERVER, {"/exchange/all.json": json.dumps(rows, indent=1)})
    assert [(verdict, rule) for verdict, rule, _ in seen(told)] == expected


def test_the_more_exact_connector_takes_its_clients():
    rows = [connector(ranges="203.0.0.0/8"), connector("MX1\\Guests", "203.0.0.0-203.255.255.254"), right()]
    told = audited(SERVER, {"/exchange/all.json": json.dumps(rows, indent=1)})
    assert told.verdict is AuditVerdict.CLOSED


def test_csv_with_rights_beside_it():
    files = {
        "/exchange/connectors.csv": '#TYPE x\n"Identity","Bindings","RemoteIPRanges","PermissionGroups","AuthMechanism"\n'
        f'"MX1\\Relay","{{0.0.0.0:25}}","{{{WIDE}}}","AnonymousUsers","Tls"\n',
        "/exchange/rights.csv": f'"Identity","User","ExtendedRights"\n"MX1\\Relay","NT AUTHORITY\\ANONYMOUS LOGON","{{{RIGHT}}}"\n',
        "/exchange/other.csv": '"a"\n"b"\n',
    }
    told = audited(SERVER, files)
    assert seen(told) == [("open", "exc-anon-relay", 3)]
    assert told.files == ("/exchange/connectors.csv", "/exchange/other.csv", "/exchange/rights.csv")


def test_junk_is_a_gap():
    told = audited(SERVER, {"/exchange/all.json": '[{"RemoteIPRanges": '})
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.SYNTAX)
    told = audited(
        SERVER,
        {"/exchange/all.json": json.dumps([1, connector(ranges=["nowhere", "1.2.3.4-nowhere"]), right()])},
    )
    assert (told.verdict, told.gaps[0].kind) == (AuditVerdict.UNKNOWN, GapKind.SYNTAX)
