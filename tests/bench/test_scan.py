"""The bench's harness: its targets, its table, and that a run of one contender comes to figures."""

import os
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from bench.contenders import NATIVE
from bench.outcome import plot, render
from bench.scan import CASES, Result, Sample, addresses, run_case
from bench.world import Fleet, world

from bench import outcome

NEEDED = ("gcc", "ip", "nft", "taskset")
CAN_RUN = os.geteuid() == 0 and all(map(shutil.which, NEEDED)) and os.cpu_count() > 1


def sample(wall: float, cpu: float, *, finished: int = 70) -> Sample:
    counts = {"connections": 1, "rcpt": 16, "packets_in": 5}
    words = dict.fromkeys(outcome._REQUESTS, 0) | counts
    seen = {"least": words, "most": words | {"packets_in": 7}}
    return Sample(wall, cpu, 2048, 0.0, 0, finished, seen)


def test_dead_targets_are_spread_evenly_and_die_both_ways() -> None:
    listed, live = addresses(1000, 0.3)
    assert (len(set(listed)), live) == (1000, 700)
    assert sum(address.startswith("127.200.") for address in listed) == 150
    assert sum(address.startswith("127.201.") for address in listed) == 150
    assert 27 <= sum(address.startswith("127.20") for address in listed[:100]) <= 30


def test_targets_of_a_large_case_are_distinct() -> None:
    listed, live = addresses(100_000, 0.0)
    assert len(set(listed)) == live == 100_000


def test_table_gives_ratios_turn_by_turn_and_says_what_was_lost() -> None:
    runs = {
        "relaywatch scan": [sample(1, 0.4), sample(4, 0.4, finished=69)],
        "nmap": [sample(10, 5), sample(20, 5)],
        "native": [sample(1, 0.2), sample(1, 0.1)],
    }
    table = render([Result("dead", "30 % dead", 100, 70, runs)])
    ours = next(line for line in table.splitlines() if line.startswith("| relaywatch"))
    cells = [cell.strip() for cell in ours.strip("|").split("|")]
    assert cells[1] == "62 [25–100]"
    assert cells[2] == "4.000 [4.000–4.000]"
    assert cells[4:] == [
        "7.50 [5.00–10.00]", "3.00 [2.00–4.00]", "2.50 [1.00–4.00]", "1", "16", "5–7", "1 lost",
    ]  # fmt: skip


def test_plot_is_well_formed_and_has_a_bar_for_each() -> None:
    runs = {"relaywatch scan --x <y>": [sample(1, 1)], "nmap": [sample(2, 1)]}
    figure = ET.fromstring(plot([Result("fast", "no latency", 100, 100, runs)]))
    assert len(figure.findall("{*}rect")) == 3
    assert "relaywatch scan --x <y>" in [
        text.text for text in figure.iter("{http://www.w3.org/2000/svg}text")
    ]


def test_page_is_written_between_its_marks(tmp_path, monkeypatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(outcome.PAGE.read_text())
    monkeypatch.setattr(outcome, "PAGE", page)
    monkeypatch.setattr(outcome, "PLOT", tmp_path / "performance.svg")
    result = Result("fast", "no latency", 100, 100, {"nmap": [sample(2, 1)]})
    for _ in range(2):
        outcome.write_page([result])
    text = page.read_text()
    assert text.count("### no latency: 100 targets") == 1
    assert text.startswith("# Performance")
    assert re.search(r"<!-- bench: end -->\s*\Z", text)


@pytest.mark.skipif(not CAN_RUN, reason="needs root, two processors, gcc, iproute2, nftables")
@pytest.mark.parametrize("name", ["fast", "dead"])
def test_one_contender_comes_to_figures(tmp_path, name) -> None:
    case = next(case for case in CASES if case.name == name)
    with world(tmp_path) as where:
        result = run_case(where, replace(case, targets=40, at_once=40), [NATIVE], 1)
    [only] = result.samples["native"]
    assert only.finished == result.live == (28 if name == "dead" else 40)
    assert (only.status, only.counts["targets"], only.counts["least"]["rcpt"]) == (0, result.live, 16)
    assert only.wall > 0


@pytest.mark.skipif(not CAN_RUN, reason="needs root, two processors, gcc, iproute2, nftables")
def test_namespace_is_gone_afterwards(tmp_path) -> None:
    with world(tmp_path) as where:
        assert Path("/run/netns", where.name).exists()
        assert Fleet(where, ()).end()["targets"] == 0
    assert not Path("/run/netns", where.name).exists()
