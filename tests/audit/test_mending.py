"""Mends are tried before they are told, and what is written can be put back."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.auditing import setups
from relaywatch.audit.findings import AuditVerdict
from relaywatch.audit.mending import mended
from relaywatch.audit.server import Edit, Server
from relaywatch.audit.servers.tinyproxy import SERVER
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.audit.trees import open_tree
from relaywatch.audit.writing import write
from relaywatch.model.errors import UsageError

from .auditing import audited, mended_texts, mending, seen, setup_of

MAIN = PurePosixPath("/etc/tinyproxy/tinyproxy.conf")
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def test_the_smallest_change_closes_the_hole():
    outcome = mending(SERVER, "Port 8888\n# who\n", allowed=["10.1.0.0/16"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert outcome.left == ()
    assert outcome.diff == (
        "--- /etc/tinyproxy/tinyproxy.conf\n+++ /etc/tinyproxy/tinyproxy.conf\n@@ -1,2 +1,5 @@\n"
        " Port 8888\n # who\n+Allow 127.0.0.1\n+Allow ::1\n+Allow 10.1.0.0/16\n"
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("a b", "a b\t"),
        ('a"b\\c', '"a\\042b\\134c"'),
        ("a\n+++ b/etc/passwd", '"a\\012+++ b/etc/passwd"'),
    ],
)
def test_a_files_name_in_the_diff_names_no_other_file(name, shown):
    diff = mending(SERVER, {f"/{name}/tinyproxy.conf": "Port 8888\n"}).diff
    headed = shown.replace("\t", "") if shown[0] != '"' else shown[1:-1]
    quote, end = ('"', "") if shown[0] == '"' else ("", "\t" * shown.endswith("\t"))
    path = f"{quote}/{headed}/tinyproxy.conf{quote}{end}"
    assert diff.split("\n")[:2] == [f"--- {path}", f"+++ {path}"]


def test_a_mend_that_lets_more_strangers_in_is_taken_back():
    wider = with_mend(Edit(MAIN, 1, 1, ("Allow 9.0.0.0/8", "Allow 0.0.0.0/0")))
    outcome = mended(wider, setup_of(SERVER, "Allow 8.0.0.0/8\n"))
    assert outcome.diff == ""
    assert [finding.line for finding in outcome.left] == [1]


def test_one_hole_behind_the_other_is_closed():
    text = "Allow 0.0.0.0/0\nAllow 0.0.0.0/0\nAllow ::/0\n"
    assert mended_texts(SERVER, text) == {str(MAIN): "Allow 127.0.0.1\nAllow ::1\n"}


def test_what_is_closed_stays_as_it_is():
    outcome = mending(SERVER, "Allow 127.0.0.1\n")
    assert (outcome.diff, outcome.after, outcome.before) == ("", {}, {})


def test_a_file_that_was_not_parsed_wholly_is_left_alone():
    outcome = mending(SERVER, "Allow 0.0.0.0/0\n?!\n")
    assert outcome.diff == ""
    assert [finding.rule for finding in outcome.left] == ["tp-syntax"]


def test_a_server_that_is_down_is_left_if_nothing_mends_it():
    assert [finding.rule for finding in mending(SERVER, "Colour blue\n").left] == ["tp-syntax"]


def with_mend(*edits: Edit) -> Server:
    return replace(SERVER, mend=lambda _setup, _finding: edits)


OPEN = "Port 8888\nAllow 0.0.0.0/0\nTimeout 9\n"


@pytest.mark.parametrize(
    "edits",
    [
        (Edit(MAIN, 1, 0, ("# a remark that moves the line",)),),
        (Edit(MAIN, 2, 2, ("# a remark", "Allow 0.0.0.0/0")),),
        (Edit(MAIN, 2, 2, ("Colour blue",)),),
        (Edit(MAIN, 2, 2, ()), Edit(MAIN, 2, 2, ())),
        (Edit(MAIN, 1, 2, ()), Edit(MAIN, 2, 3, ())),
        (Edit(MAIN, 0, 0, ()),),
        (Edit(MAIN, 5, 4, ()),),
        (Edit(MAIN, 3, 1, ()),),
        (Edit(PurePosixPath("/etc/tinyproxy/other"), 1, 0, ("Allow 127.0.0.1",)),),
        (),
    ],
    ids=lambda edits: f"{edits[0].first}-{edits[0].last}" if edits else "none",
)
def test_what_does_not_close_it_or_takes_the_server_down_is_taken_back(edits):
    outcome = mended(with_mend(*edits), setup_of(SERVER, OPEN))
    assert outcome.diff == ""
    assert [(finding.rule, finding.line) for finding in outcome.left] == [("tp-allow-wide", 2)]


def test_edits_of_one_place_stand_in_the_order_in_which_they_were_given():
    edits = (
        Edit(MAIN, 2, 1, ("# first",)),
        Edit(MAIN, 2, 1, ("# second",)),
        Edit(MAIN, 2, 2, ("Allow 10.0.0.0/8",)),
        Edit(MAIN, 4, 3, ("# last",)),
    )
    outcome = mended(with_mend(*edits), setup_of(SERVER, OPEN))
    assert outcome.after[MAIN].text == "Port 8888\n# first\n# second\nAllow 10.0.0.0/8\nTimeout 9\n# last\n"


lines = st.sampled_from(
    [
        "Allow 0.0.0.0/0",
        "Allow 8.0.0.0/8",
        "Allow 10.0.0.0/8",
        "Deny 0.0.0.0/1",
        "# x",
        "",
        "Allow .example.net",
    ]
)


@given(st.lists(lines, max_size=7), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_is_open_is_closed_once_mended_and_the_owner_is_still_let_in(drawn, end, is_ended):
    text = end.join(drawn) + end * is_ended
    outcome = mending(SERVER, text, allowed=["10.0.0.0/8"])
    assert outcome.report.verdict is AuditVerdict.CLOSED
    assert (
        seen(audited(SERVER, {path.as_posix(): one.text for path, one in outcome.after.items()} or text))
        == []
    )
    for source in outcome.after.values():
        assert "Allow 10.0.0.0/8" in source.lines
        assert len(drawn) < 2 or source.line_end == end


# --- writing ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tinyproxy.conf").write_bytes(b"Port 8888\r\nAllow 0.0.0.0/0\r\n# caf\xe9")
    (tmp_path / "tinyproxy.conf").chmod(0o640)
    return tmp_path


def the_setup(folder: Path, allowed: str = "10.0.0.0/8") -> Setup:
    (found,) = setups(open_tree(folder), allowed=AddressSet.of([allowed]))
    return found[0]


def the_setup_of(folder: Path, name: str) -> Setup:
    found = setups(open_tree(folder), allowed=AddressSet.of(["10.0.0.0/8"]))
    return next(setup for setup, _ in found if str(setup.main) == f"/{name}")


def written(folder: Path, server: Server = SERVER) -> tuple[Path, ...]:
    setup = the_setup(folder)
    return write(mended(server, setup), setup, server, NOW)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_with_a_backup_beside_them(folder):
    before = contents(folder)
    inode = (folder / "tinyproxy.conf").stat().st_ino
    (backup,) = written(folder)
    assert backup == folder / ".tinyproxy.conf.relaywatch-20261124T120000"
    assert backup.read_bytes() == before["tinyproxy.conf"]
    assert backup.stat().st_ino == inode
    now = (folder / "tinyproxy.conf").read_bytes()
    assert now == b"Port 8888\r\nAllow 127.0.0.1\r\nAllow ::1\r\nAllow 10.0.0.0/8\r\n# caf\xe9"
    assert stat.S_IMODE((folder / "tinyproxy.conf").stat().st_mode) == 0o640
    assert len(contents(folder)) == 2, "no draft is left"


def test_a_second_backup_of_one_second_has_another_name(folder):
    (first,) = written(folder)
    (folder / "tinyproxy.conf").write_text("Port 1\n")
    (second,) = written(folder)
    assert (first.read_bytes()[:9], second.read_bytes()) == (b"Port 8888", b"Port 1\n")
    assert second.name == f"{first.name}-1"


def test_a_link_stays_one_and_what_it_leads_to_is_written(folder):
    (folder / "available").mkdir()
    (folder / "tinyproxy.conf").rename(folder / "available/one")
    (folder / "tinyproxy.conf").symlink_to("available/one")
    (backup,) = written(folder)
    assert (folder / "tinyproxy.conf").is_symlink()
    assert backup.parent == folder / "available"
    assert b"Allow 10.0.0.0/8" in (folder / "available/one").read_bytes()


def checked_by(*command: str) -> Server:
    return replace(SERVER, check=command)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            ("sh", "-c", "grep -q 'Allow 10.0.0.0/8' {main} && echo 'line 3: oh' >&2; exit 1"),
            "says: line 3: oh",
        ),
        (("sh", "-c", "exit 3"), "says: exit 3"),
    ],
)
def test_if_the_servers_own_check_says_no_everything_is_as_it_was(folder, command, complaint):
    before, inode = contents(folder), (folder / "tinyproxy.conf").stat().st_ino
    with pytest.raises(UsageError, match=complaint):
        written(folder, checked_by(*command))
    assert contents(folder) == before
    assert (folder / "tinyproxy.conf").stat().st_ino == inode, "the very file"


@pytest.mark.parametrize("command", [("sh", "-c", "test -d {home}"), ("no-such-program-here", "-t"), ()])
def test_if_it_says_yes_or_is_not_installed_they_stay(folder, command):
    assert written(folder, checked_by(*command))


def test_a_check_without_end_counts_as_no(folder, monkeypatch):
    def late(*_args, **_more):
        raise subprocess.TimeoutExpired("sh", 60)

    monkeypatch.setattr(subprocess, "run", late)
    before = contents(folder)
    with pytest.raises(UsageError, match="nothing within 60 s"):
        written(folder, checked_by("sh"))
    assert contents(folder) == before


def test_what_has_changed_meanwhile_is_not_written(folder):
    setup = the_setup(folder)
    outcome = mended(SERVER, setup)
    (folder / "tinyproxy.conf").write_text("Port 1\n")
    with pytest.raises(UsageError, match="has changed since"):
        write(outcome, setup, SERVER, NOW)
    assert contents(folder) == {"tinyproxy.conf": b"Port 1\n"}


def test_if_what_lies_there_comes_to_something_else_it_is_put_back(folder):
    setup = the_setup(folder)
    outcome = mended(SERVER, setup)
    told = replace(outcome, report=replace(outcome.report, verdict=AuditVerdict.DOWN))
    before = contents(folder)
    with pytest.raises(UsageError, match="comes to closed; everything is as it was"):
        write(told, setup, SERVER, NOW)
    assert contents(folder) == before


@pytest.mark.parametrize("broken", ["replace", "fsync", "hardlink_to"])
def test_if_it_cannot_be_written_everything_is_as_it_was(folder, monkeypatch, broken):
    before = contents(folder)
    setup = the_setup(folder)
    outcome = mended(SERVER, setup)
    replace_file, calls = Path.replace, []

    def refused(*args, **_more):
        calls.append(args)
        if broken == "replace" and len(calls) > 1:
            return replace_file(*args)
        raise OSError(28, "No space left on device", "draft")

    monkeypatch.setattr(os if broken == "fsync" else Path, broken, refused)
    with pytest.raises(UsageError, match="draft: No space left on device; everything is as it was"):
        write(outcome, setup, SERVER, NOW)
    monkeypatch.undo()
    assert contents(folder) == before


def test_what_is_gone_meanwhile_is_not_written(folder):
    setup = the_setup(folder)
    outcome = mended(SERVER, setup)
    (folder / "tinyproxy.conf").unlink()
    with pytest.raises(UsageError, match="has changed since"):
        write(outcome, setup, SERVER, NOW)
    assert contents(folder) == {}


def test_a_file_of_two_names_is_not_written_twice(folder):
    (folder / "other.conf").symlink_to("tinyproxy.conf")
    setup = the_setup(folder)
    outcome = mended(SERVER, setup)
    other = PurePosixPath("/other.conf")
    path, after = next(iter(outcome.after.items()))
    twice = replace(
        outcome,
        before={**outcome.before, other: outcome.before[path]},
        after={**outcome.after, other: replace(after, lines=())},
    )
    before = contents(folder)
    with pytest.raises(UsageError, match="by several names"):
        write(twice, setup, SERVER, NOW)
    assert contents(folder) == before


def test_one_file_that_cannot_be_put_back_keeps_no_other_from_it(folder, monkeypatch):
    (folder / "b").mkdir()
    (folder / "b/tinyproxy.conf").write_text(OPEN)
    setup = the_setup_of(folder, "tinyproxy.conf")
    outcome = mended(SERVER, setup)
    other = PurePosixPath("/b/tinyproxy.conf")
    source = SourceFile.of("b", OPEN.encode())
    both = replace(
        outcome,
        before={**outcome.before, other: source},
        after={**outcome.after, other: replace(source, lines=("Port 1",))},
    )
    rename = Path.replace

    def refused(path, target):
        if path.name.startswith(".tinyproxy.conf.relaywatch") and path.parent == folder:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(UsageError, match=r"not everything could be put back: as it was, it is in .*/\.tinyp"):
        write(both, setup, checked_by("sh", "-c", "exit 1"), NOW)
    assert (folder / "b/tinyproxy.conf").read_text() == OPEN
    assert (
        (folder / ".tinyproxy.conf.relaywatch-20261124T120000")
        .read_bytes()
        .startswith(b"Port 8888\r\nAllow 0")
    )


def test_what_is_interrupted_is_put_back(folder, monkeypatch):
    before = contents(folder)

    def interrupted(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(folder, checked_by("sh"))
    assert contents(folder) == before


def test_too_many_backups_are_not_added_to(folder):
    name = ".tinyproxy.conf.relaywatch-20261124T120000"
    for number in range(100):
        (folder / (name + (f"-{number}" if number else ""))).touch()
    with pytest.raises(UsageError, match="too many backups"):
        written(folder)


def test_only_files_in_a_folder_are_written():
    setup = setup_of(SERVER, OPEN)
    with pytest.raises(UsageError, match="only files in a folder"):
        write(mended(SERVER, setup), setup, SERVER, NOW)
