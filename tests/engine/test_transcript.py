from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from relaywatch.engine.transcript import Recorder
from relaywatch.model.evidence import Direction, TranscriptEntry

C, S, NOTE = Direction.CLIENT, Direction.SERVER, Direction.NOTE


def recorder(max_octets=1000):
    ticks = count()
    return Recorder(max_octets, lambda: float(next(ticks)))


def test_entries_keep_order_and_time():
    record = recorder()
    record.note("connected")
    record.record(S, b"220 a\r\n")
    record.record(C, b"QUIT\r\n")

    assert (
        TranscriptEntry(0.0, NOTE, b"connected"),
        TranscriptEntry(1.0, S, b"220 a\r\n"),
        TranscriptEntry(2.0, C, b"QUIT\r\n"),
    ) == record.entries()


def test_a_line_in_pieces_is_one_entry_of_the_first_ones_time():
    record = recorder()
    for piece in (b"220", b" ", b"a\r\n", b"next\r\n"):
        record.record(S, piece)

    assert (
        TranscriptEntry(0.0, S, b"220 a\r\n"),
        TranscriptEntry(1.0, S, b"next\r\n"),
    ) == record.entries()


def test_what_we_send_is_never_put_together():
    record = recorder()
    record.record(C, b"a")
    record.record(C, b"b")

    assert [b"a", b"b"] == [entry.data for entry in record.entries()]


def test_beyond_the_limit_it_says_once_that_it_was_cut():
    record = recorder(40)
    for _ in range(10):
        record.record(C, b"0123456789")
    record.note("closed")

    assert [b"0123456789", b"0123456789", b"the rest of the transcript was cut"][-2:] == [
        entry.data for entry in record.entries()
    ][-2:]
    assert 3 == len(record.entries())


@given(st.lists(st.tuples(st.sampled_from([C, S]), st.binary(max_size=50))), st.integers(1, 500))
def test_memory_is_bounded_and_nothing_is_made_up(pieces, limit):
    record = recorder(limit)
    for direction, data in pieces:
        record.record(direction, data)
    kept = record.entries()

    assert sum(len(entry.data) for entry in kept if entry.direction is not NOTE) <= limit
    for side in (C, S):
        said = b"".join(data for direction, data in pieces if direction is side)
        assert said.startswith(b"".join(entry.data for entry in kept if entry.direction is side))
