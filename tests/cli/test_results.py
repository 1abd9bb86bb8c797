import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.samples import door, inconclusive_line, line, open_line, proxy_line

from relaywatch.cli.reports.lines import format_line
from relaywatch.cli.results import Done, ResultsFile, mend, read_lines
from relaywatch.model.errors import UsageError
from relaywatch.model.evidence import Weakness
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.targets.lists import BadTarget
from relaywatch.targets.parse import Origin, parse_target

RELAY = (Weakness.OPEN_RELAY,)
TWO = [line(target="192.0.2.1"), open_line(target="192.0.2.2", findings=())]


def write(path, lines, torn=b""):
    path.write_bytes(b"".join(map(format_line, lines)) + torn)
    return path


@pytest.mark.parametrize("torn", [b"", b'{"schema":"rel', b'{"schema":"rel\n', format_line(TWO[0])[:-1]])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = write(tmp_path / "results.jsonl", TWO, torn)

    done = mend(path)

    assert TWO == list(read_lines(path))
    assert done.has("192.0.2.1", None, RELAY)
    assert done.has("192.0.2.1", 25, RELAY)
    assert not done.has("192.0.2.1", 587, RELAY)
    assert not done.has("192.0.2.1", None, (*RELAY, Weakness.OPEN_PROXY))


@given(st.integers(0, len(b"".join(map(format_line, TWO)))))
def test_wherever_it_was_torn(tmp_path_factory, length):
    path = write(tmp_path_factory.mktemp("torn") / "results.jsonl", TWO)
    os.truncate(path, length)

    mend(path)
    with ResultsFile(path) as file:
        file.write(TWO[1])

    lines = list(read_lines(path))
    assert [*TWO[: len(lines) - 1], TWO[1]] == lines


@pytest.mark.parametrize("text", ["dear diary\nsecond\n", "dear diary\n", "dear diary", "{}\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "precious.txt"
    path.write_text(text)

    with pytest.raises(UsageError, match=f"{path}:1: not a result line"):
        mend(path)
    assert text == path.read_text()


def test_a_file_that_is_not_there_has_nothing(tmp_path):
    assert len(mend(tmp_path / "new.jsonl")) == 0
    with pytest.raises(UsageError, match="No such file"), ResultsFile(tmp_path / "no" / "new.jsonl"):
        pass


def test_interrupted_lines_are_asked_again(tmp_path):
    stopped = inconclusive_line(target="192.0.2.3", reasons=(Reason.INTERRUPTED,))
    path = write(tmp_path / "results.jsonl", [TWO[0], stopped, TWO[1]])

    assert mend(path).has("192.0.2.3", None, RELAY)
    assert not mend(path, drop_interrupted=True).has("192.0.2.3", None, RELAY)
    assert TWO == list(read_lines(path))


def test_what_is_left(tmp_path):
    done = mend(
        write(tmp_path / "results.jsonl", [*TWO, line(Verdict.INCONCLUSIVE, target="gone.test", doors=())])
    )
    entries = [
        parse_target("192.0.2.0/30"),
        BadTarget(Origin(), "x y", "no target"),
        parse_target("192.0.2.1:587"),
        parse_target("mail.test"),
        parse_target("gone.test"),
    ]

    assert entries[:-1] == list(done.left(entries, RELAY))
    assert [
        done.has_address(address, port, RELAY) for address in entries[0].span for port in (None, 25, 587)
    ] == [False, False, False, True, True, False, True, True, False, False, False, False]


def test_every_door_counts():
    done = Done()
    done.add(line(doors=(door(), door(port=587))))

    assert done.has("192.0.2.7", 587, RELAY)


BOTH = (Weakness.OPEN_RELAY, Weakness.OPEN_PROXY)


@pytest.mark.parametrize("spoke", [line(doors=(door(port=3128),)), proxy_line()])
def test_a_port_that_was_named_needs_a_line_for_what_it_speaks_only(spoke):
    done = Done()
    done.add(spoke)

    assert done.has("192.0.2.7", 3128, BOTH)
    assert not done.has("192.0.2.7", 25, BOTH)
    assert not done.has("192.0.2.8", 3128, BOTH)


def test_a_target_as_such_needs_a_line_for_each_weakness():
    done = Done()
    done.add(line())
    assert not done.has("192.0.2.7", None, BOTH)

    done.add(proxy_line())
    assert done.has("192.0.2.7", None, BOTH)


def test_another_weakness_s_line_is_none_for_a_run_of_one():
    done = Done()
    done.add(proxy_line())

    assert not done.has("192.0.2.7", 3128, RELAY)
