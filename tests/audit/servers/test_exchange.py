"""Exchange: connectors, rights and accepted domains from CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.audit.auditing import audited, seen

from relaywatch.audit.auditing import audit
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
            [connector(), right("MX1\\X"), {"DomainName": "*", "DomainType": "InternalRelay"}],
            [("open", "exc-accepted-domain")],
        ),
        (
            [
                connector(ranges="192.0.2.0/24"),
                right("MX1\\X"),
                {"DomainName": "*", "DomainType": "ExternalRelay"},
            ],
            [],
        ),
        ([connector(groups="ExchangeUsers"), {"DomainName": "*", "DomainType": "InternalRelay"}], []),
        ([connector(), right("MX1\\X"), {"DomainName": "*", "DomainType": "Authoritative"}], []),
        ([connector("Default Frontend MX1"), right("Default Frontend MX1")], [("open", "exc-anon-relay")]),
        ([connector(), right("MX2\\Relay")], []),
        ([connector(), right("Relay")], [("open", "exc-anon-relay")]),
        ([connector(), right(user="NT-AUTORITÄT\\ANONYMOUS-ANMELDUNG")], [("open", "exc-anon-relay")]),
        ([connector(), right(user="NT AUTHORITY\\INICIO DE SESIÓN ANÓNIMO")], [("open", "exc-anon-relay")]),
        ([connector(), right(user="S-1-5-7")], [("open", "exc-anon-relay")]),
        ([connector(), right(user="Everyone")], [("unknown", "not-evaluated")]),
        ([connector(), right(user="")], [("unknown", "not-evaluated")]),
        ([connector(), right(extended="System.Collections.ArrayList")], [("unknown", "not-evaluated")]),
        ([connector(groups="ExchangeUsers", mechanism="")], [("unknown", "not-evaluated")]),
        ([connector(groups=13, mechanism=35)], [("unknown", "not-evaluated")]),
        ([connector(ranges="192.0.2.10", groups=13, mechanism=35)], []),
        (
            [
                connector(
                    groups="ExchangeServers", mechanism="Tls, ExternalAuthoritative", ranges="192.0.2.0/28"
                )
            ],
            [],
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


@pytest.mark.parametrize(
    "other",
    [
        {"name": "MX2\\Guests"},
        {"Enabled": False},
        {"Bindings": ["0.0.0.0:587"]},
        {"Bindings": ["192.0.2.1:25"]},
    ],
)
def test_a_connector_elsewhere_takes_nobody(other):
    more = {"name": "MX1\\Guests", "ranges": "203.0.0.0-203.255.255.254", "groups": "ExchangeUsers", **other}
    rows = [connector(ranges="203.0.0.0/8"), connector(**more), right()]
    told = audited(SERVER, {"/exchange/all.json": json.dumps(rows, indent=1)})
    assert told.verdict is AuditVerdict.OPEN_IF


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("form", ["csv", "json"])
def test_as_powershell_writes_files(form: str, encoding: str, tmp_path: Path):
    rows = json.dumps([connector(), right()], indent=1)
    table = f"Identity,Bindings,RemoteIPRanges,PermissionGroups,AuthMechanism\r\nMX1\\Relay,0.0.0.0:25,{WIDE},AnonymousUsers,Tls\r\n"
    rights = f"Identity,User,ExtendedRights\r\nMX1\\Relay,NT AUTHORITY\\ANONYMOUS LOGON,{RIGHT}\r\n"
    if form == "csv":
        (tmp_path / "a.csv").write_bytes(table.encode(encoding))
        (tmp_path / "b.csv").write_bytes(rights.encode(encoding))
    else:
        (tmp_path / "a.json").write_bytes(rows.encode(encoding))
    (told,) = audit([tmp_path])
    assert [(one.verdict.value, one.rule) for one in told.findings] == [("open", "exc-anon-relay")]


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
