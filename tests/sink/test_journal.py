import asyncio
import errno
import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sink.loopback import token

from relaywatch.model.evidence import ArrivalKind
from relaywatch.sink.errors import JournalError
from relaywatch.sink.journal import GroupCommit, Journal, Record, read_journal

AT = datetime(2026, 11, 24, 2, 10, tzinfo=UTC)


def record(number=0, **changes):
    return Record(
        **{
            "at": AT,
            "token": token(number),
            "kind": ArrivalKind.MAIL,
            "source_address": "192.0.2.7",
            "source_port": 40_000,
        }
        | changes
    )


def segment_files(directory):
    return sorted(directory.glob("arrivals-*.jsonl"))


def test_a_record_comes_back_with_its_number(tmp_path):
    full = record(
        tls="TLSv1.3",
        helo="relay.test",
        reverse_path="s@relay.test",
        forward_path="t@sink.test",
        subject="안녕 \x1b[31m",
        received=("from a by b", "from c by a"),
        fields=(("X-A", "1"), ("X-A", "2")),
        is_report=True,
        header_token=token(5),
        octets=700,
    )
    journal = Journal(tmp_path)

    (numbered,) = journal.append([full])

    assert 1 == numbered.sequence
    assert (numbered,) == journal.read().records
    arrival = numbered.arrival()
    assert ("192.0.2.7:40000", "relay.test", AT) == (str(arrival.came_from), arrival.helo, arrival.at)
    assert ("from a by b", "from c by a") == arrival.received
    journal.close()


def test_the_journal_is_json_lines_that_anything_reads(tmp_path):
    journal = Journal(tmp_path)
    journal.append([record(0), record(1)])
    journal.close()

    (path,) = segment_files(tmp_path)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    assert "arrivals-0000000000000001.jsonl" == path.name
    assert [(1, token(0)), (2, token(1))] == [(line["sequence"], line["token"]) for line in lines]
    assert "2026-11-24T02:10:00Z" == lines[0]["at"]


def test_numbers_go_on_after_reopening(tmp_path):
    first = Journal(tmp_path)
    first.append([record(0), record(1)])
    first.close()

    second = Journal(tmp_path)
    (numbered,) = second.append([record(2)])

    assert 3 == numbered.sequence
    assert [1, 2, 3] == [record.sequence for record in second.read_all()]
    assert first.identity == second.identity
    second.close()


def test_pages(tmp_path):
    journal = Journal(tmp_path)
    empty = journal.read()
    journal.append([record(number) for number in range(5)])

    page = journal.read(after=1, limit=2)
    beyond = journal.read(after=9)

    assert ((), 1, 0, 0) == (empty.records, empty.first, empty.last, empty.next_after)
    assert [2, 3] == [record.sequence for record in page.records]
    assert (1, 5, 3) == (page.first, page.last, page.next_after)
    assert ((), 9) == (beyond.records, beyond.next_after)
    assert () == journal.read(limit=0).records
    journal.close()


TORN = [b"{", b'{"sequence":3,"at":"2026-', b"\0" * 100, b"{}garbage\n", b"\n", b"\xff\n{", b'{"a":1}']


@pytest.mark.parametrize("rest", TORN)
def test_a_torn_end_is_cut_off(tmp_path, rest):
    first = Journal(tmp_path)
    first.append([record(0), record(1)])
    first.close()
    (path,) = segment_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + rest)

    second = Journal(tmp_path)
    assert whole == path.read_bytes()
    (numbered,) = second.append([record(2)])

    assert 3 == numbered.sequence
    assert [token(0), token(1), token(2)] == [record.token for record in second.read_all()]
    assert 0 == second.damaged
    second.close()


def test_cut_anywhere_only_whole_lines_remain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("journal")
    journal = Journal(directory)
    journal.append([record(number) for number in range(3)])
    journal.close()
    (path,) = segment_files(directory)
    whole = path.read_bytes()

    @given(st.integers(0, len(whole)))
    def cut(size):
        path.write_bytes(whole[:size])
        reopened = Journal(directory)
        records = list(reopened.read_all())
        reopened.close()
        assert whole[:size].count(b"\n") == len(records)
        assert [1, 2, 3][: len(records)] == [record.sequence for record in records]

    cut()


def test_a_damaged_line_in_the_middle_costs_itself_alone(tmp_path):
    first = Journal(tmp_path)
    first.append([record(number) for number in range(3)])
    first.close()
    (path,) = segment_files(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"x" * (len(lines[1]) - 1) + b"\n" + lines[2])

    second = Journal(tmp_path)

    assert [1, 3] == [record.sequence for record in second.read_all()]
    assert 1 == second.damaged
    page = second.read(after=1, limit=1)
    assert ((), 2) == (page.records, page.next_after)
    second.close()


def test_the_journal_keeps_to_its_size(tmp_path):
    journal = Journal(tmp_path, segment_octets=2000, segments=3)

    for number in range(100):
        journal.append([record(number)])

    assert 3 == len(segment_files(tmp_path))
    assert sum(path.stat().st_size for path in segment_files(tmp_path)) < 3 * 2500
    sequences = [record.sequence for record in journal.read_all()]
    assert list(range(journal.first, 101)) == sequences
    assert journal.first > 1
    journal.close()


def test_rotated_segments_are_found_again(tmp_path):
    first = Journal(tmp_path, segment_octets=1, segments=4)
    for number in range(6):
        first.append([record(number)])
    first.close()

    second = Journal(tmp_path, segment_octets=1, segments=4)

    assert (first.first, 6) == (second.first, second.last)
    assert [7] == [record.sequence for record in second.append([record(7)])]
    second.close()


def test_a_write_that_failed_leaves_nothing(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append([record(0)])

    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(JournalError, match="Input/output error"):
            journal.append([record(1)])
    journal.append([record(2)])

    assert [(1, token(0)), (2, token(2))] == [(r.sequence, r.token) for r in journal.read_all()]
    journal.close()


def test_a_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="file"):
        Journal(tmp_path / "file" / "journal")


def test_one_process_at_a_time(tmp_path):
    journal = Journal(tmp_path)

    with pytest.raises(JournalError, match="in use by another process"):
        Journal(tmp_path)

    journal.close()
    Journal(tmp_path).close()


def test_behind_a_write_that_could_not_be_taken_back_nothing_is_written(tmp_path):
    """The disk goes read-only in the middle of a line: a record behind it would be lost with it."""
    journal = Journal(tmp_path)
    journal.append([record(0)])
    writable = journal._file
    half = writable.tell()
    writable.write(b'{"half a li')
    journal._file = segment_files(tmp_path)[0].open("rb", buffering=0)  # neither write nor truncate works

    with pytest.raises(JournalError):
        journal.append([record(1)])
    journal._file.close()
    journal._file = writable
    with pytest.raises(JournalError, match="restart the sink"):
        journal.append([record(2)])

    assert [1] == [kept.sequence for kept in journal.read_all()]
    journal.close()
    anew = Journal(tmp_path)
    assert half == segment_files(tmp_path)[0].stat().st_size
    assert [2] == [kept.sequence for kept in anew.append([record(2)])]
    anew.close()


def test_a_journal_is_read_beside_the_sink_that_writes_it(tmp_path):
    journal = Journal(tmp_path, segment_octets=200)
    for number in range(4):
        journal.append([record(number)])
    for path, octets in ((0, b"damaged\n"), (-1, b'{"half a li')):
        with segment_files(tmp_path)[path].open("ab") as file:
            file.write(octets)

    assert [token(number) for number in range(4)] == [kept.token for kept in read_journal(tmp_path)]
    journal.close()


def test_what_is_no_journal_is_not_read(tmp_path):
    with pytest.raises(JournalError, match="no sink's journal"):
        list(read_journal(tmp_path))


def test_what_comes_while_the_disk_is_busy_is_written_in_one_go(run, tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor)))

    async def scene():
        journal = Journal(tmp_path)
        commit = GroupCommit(journal)
        synced.clear()
        answers = await asyncio.gather(*(commit.append([record(n), record(n)]) for n in range(200)))
        commit.close()
        everything = list(journal.read_all())
        journal.close()
        return answers, everything

    answers, everything = run(scene())

    assert len(synced) < 20
    assert 400 == len(everything)
    for number, written in enumerate(answers):
        assert [token(number)] * 2 == [record.token for record in written]
        assert all(record == everything[record.sequence - 1] for record in written)


def test_a_commit_that_failed_is_told_to_everybody_who_waits(run, tmp_path, monkeypatch):
    async def scene():
        journal = Journal(tmp_path)
        commit = GroupCommit(journal)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "append", lambda records: 1 / 0)
            failed = await asyncio.gather(
                *(commit.append([record(n)]) for n in range(3)), return_exceptions=True
            )
        written = await commit.append([record(4)])
        commit.close()
        journal.close()
        return failed, written

    failed, written = run(scene())

    assert [ZeroDivisionError] * 3 == [type(error) for error in failed]
    assert [1] == [record.sequence for record in written]


def test_a_caller_that_gave_up_hinders_nobody(run, tmp_path):
    async def scene():
        journal = Journal(tmp_path)
        commit = GroupCommit(journal)
        given_up = asyncio.create_task(commit.append([record(0)]))
        await asyncio.sleep(0)
        given_up.cancel()
        (numbered,) = await commit.append([record(1)])
        commit.close()
        journal.close()
        return numbered

    assert token(1) == run(scene()).token


def test_a_segment_that_cannot_be_begun_is_begun_later(tmp_path):
    journal = Journal(tmp_path, segment_octets=1)
    obstacle = tmp_path / "arrivals-0000000000000002.jsonl"
    obstacle.write_text("")

    journal.append([record(0)])
    obstacle.unlink()
    journal.append([record(1)])
    journal.append([record(2)])

    assert [1, 2, 3] == [record.sequence for record in journal.read_all()]
    assert [1, 3, 4] == [int(path.stem[-16:]) for path in segment_files(tmp_path)]
    journal.close()
