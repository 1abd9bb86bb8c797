"""What holds for every server's module, whatever lies in its main file."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.auditing import report
from relaywatch.audit.findings import AuditVerdict, ServerReport
from relaywatch.audit.mending import mended
from relaywatch.audit.server import Server, load_servers
from relaywatch.audit.setup import Setup
from relaywatch.audit.trees import TextTree

from .auditing import sound

NAMES = sorted(load_servers())
texts = st.one_of(
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            ["{", "}", "[", "]", "(", ")", '"', "'", "\\", "#", ";", ":", "=", ",", "!", "$", "${", "%{", "<", ">", "\n",
             " ", "\t", "allow", "deny", "all", "include", "include x", "x", "0.0.0.0/0", "::/0", "127.0.0.1", "25", "on"]
        ),
        max_size=30,
    ).map(lambda parts: "".join(parts).encode()),
)  # fmt: skip


def laid(server: Server, octets: bytes) -> Setup:
    name = PurePosixPath(server.marks[0].name).name.replace("*", "x")
    main = f"{server.home}/{name}"
    return Setup(tree=TextTree({main: octets}), main=PurePosixPath(main), home=PurePosixPath(server.home))


def checked(told: ServerReport) -> ServerReport:
    assert told.error is None
    if told.verdict in {AuditVerdict.OPEN, AuditVerdict.OPEN_IF, AuditVerdict.DOWN}:
        assert told.findings
    if told.verdict is AuditVerdict.CLOSED:
        assert not told.findings
    return sound(told)


@pytest.mark.parametrize("name", NAMES)
@given(octets=texts)
def test_whatever_lies_there_is_audited_and_mended_without_a_fault(name, octets):
    server = load_servers()[name]
    told = checked(report(server, laid(server, octets)))
    outcome = mended(server, laid(server, octets))
    checked(outcome.report)
    if not outcome.after:
        assert outcome.report.verdict is told.verdict


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("octets", [b"\x00\x01\x02" * 50, b"\x7fELF" + b"\x00" * 100])
def test_a_binary_file_is_unknown(name, octets):
    server = load_servers()[name]
    told = report(server, laid(server, octets))
    assert (told.error, told.verdict) == (None, AuditVerdict.UNKNOWN)
    assert told.gaps


@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_ten_megabytes_and_a_missing_file_are_unknown(name):
    server = load_servers()[name]
    told = report(server, laid(server, b"x" * (10 * 1024 * 1024)))
    assert (told.error, told.verdict) == (None, AuditVerdict.UNKNOWN)
    gone = laid(server, b"")
    gone.main = PurePosixPath(f"{server.home}/gone")
    told = report(server, gone)
    assert (told.error, told.verdict) == (None, AuditVerdict.UNKNOWN)


@pytest.mark.parametrize("name", NAMES)
def test_commands_can_be_filled_in(name):
    server = load_servers()[name]
    filled = [part.format(main="/m", home="/h") for part in server.check]
    assert not any(brace in part for part in (*filled, *server.reload) for brace in "{}")
