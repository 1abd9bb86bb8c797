"""microsocks: its command line, wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.auditing import audited, mended_texts, mending, only

from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.servers.microsocks import SERVER

UNIT = "[Service]\nExecStart=/usr/bin/microsocks {}\n"


def test_as_it_starts_by_itself_it_is_open() -> None:
    finding = only(audited(SERVER, UNIT.format("")))
    assert (finding.verdict, finding.rule, finding.line) == (AuditVerdict.OPEN, "ms-no-password", 2)
    assert finding.advisory == "RW-2008"
    assert finding.service == "0.0.0.0:1080"


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("-i 0.0.0.0 -p 1080", AuditVerdict.OPEN),
        ("-i :: -p 8080 &", AuditVerdict.OPEN),
        ("-qi192.0.2.30", AuditVerdict.OPEN),
        ("-q > /dev/null -i 127.0.0.1", AuditVerdict.OPEN),
        ("-u a -P b", AuditVerdict.CLOSED),
        ("-u proxy -P $(openssl rand -hex 12)", AuditVerdict.CLOSED),
        ("-1 -u a -P b", AuditVerdict.CLOSED),
        ("-w 192.0.2.1 -u a -P b", AuditVerdict.CLOSED),
        ("-i 127.0.0.1", AuditVerdict.CLOSED),
        ("-i ::1", AuditVerdict.CLOSED),
        ("-i127.0.0.1 word -p", AuditVerdict.CLOSED),
        ("-u a", AuditVerdict.DOWN),
        ("-P b", AuditVerdict.DOWN),
        ("-1", AuditVerdict.DOWN),
        ("$OPTIONS", AuditVerdict.UNKNOWN),
        ('-i "', AuditVerdict.OPEN),
    ],
)
def test_its_options(words: str, verdict: AuditVerdict) -> None:
    assert audited(SERVER, UNIT.format(words)).verdict is verdict


def test_one_password_for_a_whole_address_is_told() -> None:
    report = audited(SERVER, UNIT.format("-1 -u a -P b"))
    assert "admits whole addresses" in report.gaps[0].subject


def test_variables_of_the_unit_and_of_a_file() -> None:
    text = '[Service]\nEnvironment="OPTIONS=-i 127.0.0.1 -p 1081"\nExecStart=/usr/bin/microsocks $OPTIONS\n'
    report = audited(SERVER, text)
    assert report.services[0].name == "127.0.0.1:1081"
    files = {
        "/etc/systemd/system/microsocks.service": "[Service]\nEnvironmentFile=-/etc/gone\nEnvironmentFile=/etc/default/microsocks\nExecStart=microsocks -i ${ADDRESS} \\\n -p 1080\n",
        "/etc/default/microsocks": "# where\nADDRESS=127.0.0.1\n",
    }
    assert audited(SERVER, files).verdict is AuditVerdict.CLOSED
    gone = {next(iter(files)): "EnvironmentFile=/etc/gone\nExecStart=microsocks -i ${ADDRESS}\n"}
    assert audited(SERVER, gone).verdict is AuditVerdict.UNKNOWN


def test_scripts_and_images() -> None:
    text = (
        '#!/bin/sh\n# microsocks -p 1\nPORT=1090\nexec microsocks -p $PORT\nCMD ["microsocks", "-i", "::"]\n'
    )
    assert [service.name for service in audited(SERVER, text).services] == ["0.0.0.0:1090", ":::1080"]


@pytest.mark.parametrize(
    ("words", "fresh"),
    [
        ("-i 0.0.0.0 -p 1080", "-i 127.0.0.1 -p 1080"),
        ("-p 1080", "-i 127.0.0.1 -p 1080"),
        ("", "-i 127.0.0.1 "),
    ],
)
def test_mending_binds_it_to_loopback(words: str, fresh: str) -> None:
    assert mended_texts(SERVER, UNIT.format(words)) == {
        "/etc/systemd/system/microsocks.service": UNIT.format(fresh)
    }


def test_mending_can_keep_nobody_so_that_it_leaves_others_alone() -> None:
    assert mending(SERVER, UNIT.format("-p 1"), allowed=["10.0.0.0/8"]).after == {}
    assert mending(SERVER, UNIT.format("-u a")).after == {}


def test_what_is_no_command_line() -> None:
    assert audited(SERVER, "[Service]\nExecStart=/usr/bin/other\n").verdict is AuditVerdict.UNKNOWN
    assert audited(SERVER, "\x00").verdict is AuditVerdict.UNKNOWN


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=100))
def test_nothing_makes_it_fail(text: str) -> None:
    audited(SERVER, UNIT.format(text))
