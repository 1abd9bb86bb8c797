"""``relaywatch summary`` and ``relaywatch export``: what many results come to."""

import hashlib
import io
import json
import sys
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tests.cli.samples import (
    BEGAN,
    RUDE,
    chain_line,
    door,
    finding,
    inconclusive_line,
    line,
    open_line,
    proxy_line,
)
from tests.cli.test_page import Page

from relaywatch.cli import held, overview
from relaywatch.cli.held import HeldLines
from relaywatch.cli.main import relaywatch
from relaywatch.cli.overview import Row, Table, survey
from relaywatch.cli.reports.lines import format_line
from relaywatch.cli.reports.overview_json import overview_schema
from relaywatch.cli.reports.overview_page import WIDTH, segments
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Transport
from relaywatch.model.results import ResultLine, SoftwareLine
from relaywatch.model.verdicts import Reason, Verdict
from relaywatch.runs.lines import decode_line
from relaywatch.targets.organisations import read_organisations

try:
    from compression import zstd
except ImportError:
    from backports import zstd

ROOT = Path(__file__).parents[2]
LINES = (
    open_line(target="192.0.2.7"),
    proxy_line(target="192.0.2.8", began=BEGAN + timedelta(hours=2)),
    line(target="192.0.2.9", advisories=("RW-1030",)),
    line(Verdict.ACCEPTING, target="2001:db8:1::9", software=None),
    line(Verdict.ABSENT, target="198.51.100.1", software=None, doors=()),
    inconclusive_line(target="mail.example.org", software=None, doors=()),
)


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments):
    return CliRunner().invoke(relaywatch, [str(argument) for argument in arguments])


def results(path, *lines, end=b""):
    path.write_bytes(b"".join(map(format_line, lines)) + end)
    return path


@pytest.fixture
def file(tmp_path):
    return results(tmp_path / "results.jsonl", *LINES)


def counts(rows):
    return {row.name: (row.count, row.of(Verdict.OPEN), row.of(Verdict.ACCEPTING)) for row in rows}


def test_everything_is_counted_by_everything(file, tmp_path):
    networks = tmp_path / "networks"
    networks.write_text("192.0.2.0/24,One\n192.0.2.8/32,Other\n")
    told = survey([file], read_organisations(networks))

    assert {"open-relay": (5, 1, 1), "open-proxy": (1, 1, 0)} == counts(told.weaknesses)
    assert {"RW-1001": (1, 1, 0), "RW-2001": (1, 1, 0), "RW-1030": (1, 0, 0)} == counts(told.advisories)
    assert {"postfix": (2, 1, 0), "squid": (1, 1, 0), "": (2, 0, 1)} == counts(told.software)
    assert {"squid 5.7": (1, 1, 0)} == counts(told.versions)
    assert {"192.0.2.0/24": (3, 2, 0), "2001:db8:1::/48": (1, 0, 1)} == counts(told.networks)
    assert {"One": (2, 1, 0), "Other": (1, 1, 0), "": (3, 0, 1)} == counts(told.organisations)
    assert {"greylisted": (1, 0, 0), "tarpit": (1, 0, 0)} == counts(told.reasons)
    assert {"25/plain": (3, 1, 1), "3128/plain": (1, 1, 0)} == counts(told.doors)
    assert {"outside": (6, 2, 1)} == counts(told.vantages)
    assert (6, 0, 3, BEGAN, BEGAN + timedelta(hours=2)) == (
        *(told.lines, told.revised, told.networks_seen),
        *(told.began, told.ended),
    )


def test_a_finding_that_is_there_twice_counts_once_and_a_chains_door_is_none_of_the_targets(tmp_path):
    lines = (open_line(findings=(finding(), finding(port=587))), chain_line(target="192.0.2.8"))
    told = survey([results(tmp_path / "r", *lines)])

    assert {"RW-1001": (1, 1, 0), "RW-2020": (1, 1, 0)} == counts(told.advisories)
    assert {"25/plain": (1, 1, 0)} == counts(told.doors)


def test_the_last_line_of_a_target_holds_over_files_too(tmp_path):
    first = results(tmp_path / "1", line(Verdict.ACCEPTING), proxy_line(), line(target="a.example"), line())
    second = results(tmp_path / "2", open_line(), line(target="a.example"))

    told = survey([first, second])

    assert {"open-relay": (2, 1, 0), "open-proxy": (1, 1, 0)} == counts(told.weaknesses)
    assert 3 == told.revised
    assert {"open-relay": (2, 0, 0), "open-proxy": (1, 1, 0)} == counts(survey([second, first]).weaknesses)
    assert "3" in run("summary", first, second).stdout.splitlines()[2]


def test_a_network_in_which_nothing_is_open_any_more_is_not_told(tmp_path):
    told = survey([results(tmp_path / "r", open_line(), line())])

    assert () == told.networks
    assert 1 == told.networks_seen


def test_what_a_scan_appends_meanwhile_is_left_for_the_next_time(tmp_path):
    path = results(tmp_path / "r", line())
    lines = HeldLines([path])
    list(lines.read_headings())
    with path.open("ab") as appended:
        appended.write(format_line(open_line(target="192.0.2.200")))

    assert ["192.0.2.7"] == [one.target for one in lines.read(decode_line)]


@pytest.mark.parametrize(
    "pack", [lambda octets: octets, zstd.compress, lambda o: zstd.compress(o[:99]) + zstd.compress(o[99:])]
)
def test_a_torn_last_line_is_told_and_passed_over(tmp_path, pack):
    path = tmp_path / "r"
    path.write_bytes(pack(b"".join(map(format_line, LINES)) + format_line(open_line())[:70]))

    done = run("summary", path)

    assert 1 == done.exit_code
    assert f"{path}:7: a line that was torn by a crash is passed over\n" == done.stderr
    assert "Results: 6." in done.stdout


def test_a_compressed_file_that_ends_too_early_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "r.zst"
    path.write_bytes(zstd.compress(b"".join(map(format_line, LINES))) + zstd.compress(b"x" * 500)[:-3])

    done = run("summary", path)

    assert "Results: 6." in done.stdout
    assert f"{path}:7: " in done.stderr


def test_a_last_line_without_its_end_counts_if_it_is_whole(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(format_line(line()) + b"\n" + format_line(open_line(target="192.0.2.8"))[:-1])

    assert 2 == survey([path]).lines


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"nonsense\n", ":1: not a result line"),
        (b"nonsense", ":1: not a result line"),
        (format_line(line()) + b"{}\n" + format_line(line()), ":2: not a result line"),
        (format_line(line())[:50] + b"\n" + format_line(line()), ":1: not a result line"),
        (format_line(line()).replace(b"result/1", b"result/2"), ":1: not a result line"),
        (format_line(line()).replace(b'"closed"', b'"shut"'), ":1: not a result line"),
        (format_line(line()).replace(b'"reasons":[]', b'"reasons":7'), ":1: not a result line"),
        (b"\xff\xfe\n\n", ":1: not a result line"),
        (zstd.compress(b"x" * 999)[:-5] + b"\0junkjunk", "damaged"),
    ],
)
@pytest.mark.parametrize("command", [("summary",), ("export", "--parquet", "x.parquet")])
def test_a_line_that_is_none_is_named(tmp_path, monkeypatch, octets, why, command):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r"
    path.write_bytes(octets)

    done = run(*command, path)

    assert 2 == done.exit_code
    assert f"{path}{why}" in done.stderr or f"{path}: {why}" in done.stderr
    assert [path] == list(tmp_path.iterdir())


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "LINE_LIMIT", 2000)
    done = run("summary", results(tmp_path / "r", line(), end=b'{"schema":"' + b"x" * 5000))

    assert 2 == done.exit_code
    assert "more than 2,000 octets" in done.stderr


def test_an_empty_file_is_no_good_news(tmp_path):
    done = run("summary", results(tmp_path / "r"))

    assert 3 == done.exit_code
    assert "Results: 0." in done.stdout
    assert "0 of 0 hosts relay." in done.stdout


@pytest.mark.parametrize("arguments", [(), ("missing.jsonl",), ("FILE", "--networks", "missing")])
def test_a_missing_file_is_wrong_usage(file, arguments):
    assert 2 == run("summary", *(file if one == "FILE" else one for one in arguments)).exit_code


def test_a_pipe_can_not_be_read_twice(tmp_path):
    with pytest.raises(held.UsageError, match="no pipe"):
        survey([Path("/dev/null")])


def test_a_file_that_can_not_be_read(tmp_path, monkeypatch, file):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in run("summary", file).stderr


def test_a_disk_that_fails_while_it_is_read(file):
    class Broken(io.BytesIO):
        def readline(self, *_):
            raise OSError(5, "Input/output error")

    with pytest.raises(held.UsageError, match="Input/output error"):
        held._read_line(Broken(), held.Source(file))


def test_a_fault_of_ours_is_not_taken_for_a_damaged_file(file):
    class Odd(io.BytesIO):
        def readline(self, *_):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        held._read_line(Odd(), held.Source(file))


def test_junk_in_the_map_is_named_and_counted(file, tmp_path):
    networks = tmp_path / "networks"
    networks.write_text("192.0.2.0/24,One\n" + "\x1b[2Jnonsense\n" * 7)

    done = run("summary", file, "--networks", networks)

    assert 1 == done.exit_code
    assert f"{networks}:2: not an address\n" in done.stderr
    assert f"{networks}:7" not in done.stderr
    assert "passed over 7 lines" in done.stderr
    assert "One" in done.stdout
    assert "no organisation of the map" in done.stdout
    assert "\x1b" not in done.stderr


def test_a_map_without_junk_says_nothing(file, tmp_path):
    networks = tmp_path / "networks"
    networks.write_text("192.0.2.0/24,One\n")

    assert "" == run("summary", file, "--networks", networks).stderr


def test_the_text_says_what_is_most_open_first(file):
    text = run("summary", file, "--top", 1).stdout

    assert text.startswith(
        "Results: 6. Files: 1. Networks (/24, /48): 3.\nTested from 2026-11-24 02:10 UTC to "
    )
    assert "RW-1001  Relays for anybody" in text
    assert "and 2 more; --top says how many are shown" in text
    assert text.endswith("1 of 5 hosts relay. 1 of 1 hosts are open proxies.\n")


def test_hostile_texts_do_nothing(tmp_path):
    rude = {"software": SoftwareLine(name=RUDE[:60], version="<script>"), "reasons": ()}
    octets = format_line(open_line(**rude)).replace(b'"reasons":[]', b'"reasons":["\\u001b[2J<b>later"]', 1)
    octets = octets.replace(b"RW-1001", b"RW-<i>\\u202e")
    path = tmp_path / "r"
    path.write_bytes(octets)
    page = tmp_path / "page.html"

    done = run("summary", path, "--html", page)

    assert 1 == done.exit_code, done.stderr
    html = page.read_text("utf-8")
    assert not set("\x1b\u202e\x9b") & set(done.stdout + html)
    assert "<script>" not in html
    assert "<b>later" not in html
    assert "&lt;b&gt;later" in html
    assert "RW-<i>" not in html


def test_the_json_is_as_its_schema_says(file):
    done = run("summary", file, "--format", "json")
    told = json.loads(done.stdout)
    schema = json.loads(json.dumps(overview_schema()))

    jsonschema.validate(told, schema)
    assert "relaywatch.summary/1" == told["schema"]
    assert {"name": "RW-1001", "count": 1, "verdicts": {"open-relay": {"open": 1}}} == told["advisories"][0]
    assert schema == json.loads((ROOT / "docs/reference/summary.schema.json").read_text()), "make schema"
    assert schema == json.loads(run("schema", "summary").stdout)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_is_whole_and_needs_nothing_else(file, tmp_path, language):
    path = tmp_path / "page.html"
    torn = results(tmp_path / "torn", end=format_line(line())[:40])
    run("summary", file, torn, "--html", path, "--lang", language, "--top", 1)
    page = Page()
    page.feed(path.read_text("utf-8"))

    assert [] == page.stack
    assert {"svg", "rect", "table"} <= set(page.tags)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert not [
        pair for pair in page.attributes if pair[1] in {"style", "src", "href"} or pair[1].startswith("on")
    ]
    assert f"{torn}:1" in path.read_text("utf-8")
    digest = b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in path.read_text("utf-8")


def test_a_page_that_can_not_be_written(file, tmp_path):
    done = run("summary", file, "--html", tmp_path / "missing" / "page.html")

    assert 2 == done.exit_code
    assert "No such file" in done.stderr


def test_a_page_of_nothing(tmp_path):
    path = tmp_path / "page.html"

    assert 3 == run("summary", results(tmp_path / "r"), "--html", path).exit_code
    assert "<table" not in path.read_text("utf-8")


def test_what_is_there_is_seen_and_bars_keep_their_room():
    counted = {Verdict.OPEN: 1, Verdict.CLOSED: 999_999}
    row = Row(name="x", count=1_000_000, verdicts={Weakness.OPEN_PROXY: counted})
    first, second = segments(row, row.count)

    assert (Verdict.OPEN, Verdict.CLOSED) == (first.verdict, second.verdict)
    assert first.width >= 12
    assert first.x == 0
    assert second.x == first.width
    assert WIDTH - 2 <= first.width + second.width <= WIDTH


def test_what_is_made_up_without_end_is_counted_together(monkeypatch):
    monkeypatch.setattr(overview, "MOST_KEYS", 2)
    table = Table()
    for name in "abcda":
        table.add(name, 0)

    assert [("a", 2), ("b", 1), ("…", 2)] == [(row.name, row.count) for row in table.rows()]


def test_parts_have_the_fields_of_the_result_line():
    assert set(overview.LineParts.__struct_fields__) <= set(ResultLine.__dataclass_fields__)


# --- export ------------------------------------------------------------------------------------


def test_parquet_has_each_line_that_holds_as_it_is(tmp_path):
    lines = (*LINES, chain_line(target="192.0.2.77", reasons=(Reason.TIMEOUT,)))
    path = results(tmp_path / "r.jsonl.zst", line(Verdict.ACCEPTING), *lines)
    path.write_bytes(zstd.compress(path.read_bytes()))
    output = tmp_path / "out.parquet"

    done = run("export", path, "--parquet", output)

    assert 0 == done.exit_code, done.stderr
    assert f"{output}: 7 results\n" == done.stderr
    rows = pq.read_table(output).to_pylist()
    assert [decode_line(format_line(one)) for one in lines] == [as_line(row) for row in rows]
    assert [path, output] == sorted(tmp_path.iterdir(), reverse=True)


def as_line(row):
    return decode_line(json.dumps(row, default=lambda value: value.isoformat()).encode())


def test_a_torn_line_is_told_by_export_too_and_nothing_is_a_table_without_rows(tmp_path):
    path = results(tmp_path / "r", end=format_line(line())[:40])
    done = run("export", path, "--parquet", tmp_path / "out")

    assert 0 == done.exit_code
    assert f"{path}:1: a line that was torn" in done.stderr
    table = pq.read_table(tmp_path / "out")
    assert 0 == table.num_rows
    assert list(ResultLine.__dataclass_fields__) == table.column_names


def test_a_place_that_can_not_be_written(file, tmp_path):
    done = run("export", file, "--parquet", tmp_path / "missing" / "out")

    assert 2 == done.exit_code
    assert "missing" in done.stderr


@pytest.mark.parametrize(
    ("hidden", "command"),
    [(("pyarrow",), ("export", "--parquet", "out")), (("compression.zstd", "backports.zstd"), ("summary",))],
)
def test_a_library_that_is_missing_is_named_with_its_command(tmp_path, monkeypatch, file, hidden, command):
    file.write_bytes(zstd.compress(file.read_bytes()))
    monkeypatch.chdir(tmp_path)
    for name in hidden:
        monkeypatch.setitem(sys.modules, name, None)

    done = run(*command, file)

    assert 3 == done.exit_code
    assert "pip install 'relaywatch[large]'" in done.stderr
    assert [file] == list(tmp_path.iterdir())


def test_doors_of_all_transports_count(tmp_path):
    doors = tuple(door(port=443, transport=transport) for transport in Transport)
    told = survey([results(tmp_path / "r", line(doors=doors))])

    assert {f"443/{transport}" for transport in Transport} == set(counts(told.doors))
    assert Weakness.OPEN_RELAY in told.doors[0].verdicts
