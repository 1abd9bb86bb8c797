import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from tests.cli.world import BackgroundWorld, english
from tests.ports import free_port

from relaywatch.cli.results import read_lines

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture(scope="module")
def world():
    with BackgroundWorld(["open", "closed", "accept-then-drop", "silent", "starttls-only"]) as up:
        yield up


def here(world, name):
    return f"127.0.0.1:{world.ports[name]}"


def parsed(text):
    return [json.loads(one) for one in text.splitlines()]


def test_an_open_relay_is_one_line_and_one(world):
    done = world.run("check", "127.0.0.1", "--port", world.ports["open"], "--format", "json")

    [line] = parsed(done.stdout)
    assert (1, "open", "RW-1001", "delivered") == (
        done.returncode,
        line["verdict"],
        line["findings"][0]["advisory"],
        line["findings"][0]["proof"],
    )
    assert "Finished. 1 of 1 hosts relay.\n" == done.stderr.splitlines(keepends=True)[-1]


def test_a_closed_server_is_zero(world):
    done = world.run("check", here(world, "closed"), "--format", "json")

    assert (0, ["closed"]) == (done.returncode, [line["verdict"] for line in parsed(done.stdout)])


def test_a_dead_port_is_three(world):
    done = world.run("check", "127.0.0.1", "--port", free_port(), "--format", "json")

    assert (3, ["absent"]) == (done.returncode, [line["verdict"] for line in parsed(done.stdout)])


def test_what_only_says_yes_is_one_too(world):
    done = world.run("check", here(world, "accept-then-drop"), "--format", "json", "--wait", "1")

    assert (1, ["accepting"]) == (done.returncode, [line["verdict"] for line in parsed(done.stdout)])


def test_no_mail_stops_before_data(world):
    done = world.run("check", here(world, "open"), "--no-mail", "--format", "json")

    [line] = parsed(done.stdout)
    assert (1, "accepting", {"accepted"}) == (
        done.returncode,
        line["verdict"],
        {finding["proof"] for finding in line["findings"]},
    )
    assert "not-sent" in line["reasons"]


def test_who_checks_is_said_by_options_or_the_environment(world):
    done = world.run(
        *("check", here(world, "open"), "--transcript", "--operator", "CERT Example"),
        environment={
            "RELAYWATCH_CONTACT": "abuse@cert.example",
            "RELAYWATCH_EHLO_NAME": "checker.cert.example",
        },
    )

    assert "C: EHLO checker.cert.example" in done.stdout
    assert "This is a test by CERT Example" in done.stdout
    assert "abuse@cert.example" in done.stdout


def test_the_report_to_read(world, tmp_path):
    page = tmp_path / "report.html"
    done = world.run("check", here(world, "open"), "--transcript", "--html", page)

    assert done.stdout.startswith("● OPEN  127.0.0.1 relays for this machine; strangers not tested.\n")
    assert "C: MAIL FROM:<" in done.stdout
    assert "S: 354" in done.stdout
    assert done.stdout.endswith("\nFinished. 1 of 1 hosts relay.\n")
    assert "\x1b" not in done.stdout + done.stderr
    assert "strangers not tested" in page.read_text()


def test_a_page_that_can_not_be_written_is_told_after_what_was_found(world, tmp_path):
    done = world.run("check", here(world, "closed"), "--html", tmp_path / "missing" / "report.html")

    assert done.returncode == 2
    assert done.stdout.endswith("\nFinished. 0 of 1 hosts relay.\n")
    assert done.stderr.endswith("report.html: No such file or directory\n")
    assert "Traceback" not in done.stderr


def test_in_korean(world):
    done = world.run("check", here(world, "starttls-only"), environment={"LANG": "ko_KR.UTF-8"})

    assert done.stdout.startswith("● 열림  127.0.0.1: 이 컴퓨터의 메일을 중계합니다.")
    assert done.stdout.endswith("\n점검이 끝났습니다. 1대 가운데 1대가 중계합니다.\n")


def test_a_scan_goes_on_past_what_is_bad(world, tmp_path):
    targets = tmp_path / "ip.txt"
    targets.write_text(f"# ours\n{here(world, 'open')}\nnot a host\n192.0.2.7\n{here(world, 'closed')}\n")
    output, table, page, log = (tmp_path / name for name in ("results.jsonl", "r.csv", "r.html", "log"))

    done = world.run("scan", targets, "--output", output, "--csv", table, "--html", page, "--log", log)

    assert (1, "") == (done.returncode, done.stdout)
    assert {"open", "closed"} == {line.verdict for line in read_lines(output)}
    assert f"Not tested: {targets}:3: neither an address nor a name\n" in done.stderr
    assert f"Not tested: {targets}:4: 192.0.2.7 is not covered by any permission" in done.stderr
    assert "closed: 1, not tested: 2\nFinished. 1 of 2 hosts relay.\n" in done.stderr
    assert {"open", "closed"} == {row["verdict"] for row in csv.DictReader(table.read_text().splitlines())}
    assert "Finished. 1 of 2 hosts relay." in page.read_text()
    assert "C: RCPT TO:<" in log.read_text()


def test_a_scan_of_standard_input_to_standard_output(world):
    listed = f'{{"ip": "127.0.0.1", "ports": [{{"port": {world.ports["closed"]}}}]}}\n'

    done = world.run("scan", "-", text=listed)

    assert (0, ["closed"]) == (done.returncode, [line["verdict"] for line in parsed(done.stdout)])


def test_a_list_with_a_gap_is_four(world):
    done = world.run("scan", here(world, "closed"), "192.0.2.7")

    assert 4 == done.returncode


def test_resume_asks_only_what_is_missing(world, tmp_path):
    output = tmp_path / "results.jsonl"
    world.run("scan", here(world, "closed"), "--output", output)
    before = output.read_bytes()
    output.write_bytes(before + b'{"schema":"relaywatch.result/1","tar')

    done = world.run("scan", here(world, "closed"), here(world, "open"), "--output", output, "--resume")

    assert 1 == done.returncode
    assert output.read_bytes().startswith(before)
    assert ["closed", "open"] == [line.verdict for line in read_lines(output)]


def test_resuming_by_name_doubles_nothing(world, tmp_path):
    output = tmp_path / "results.jsonl"
    named = f"localhost:{world.ports['closed']}"
    for _ in range(2):
        world.run("scan", named, "--output", output, "--resume")

    assert 1 == len(list(read_lines(output)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_there_is(world, tmp_path, number):
    output = tmp_path / "results.jsonl"
    with world.started("scan", here(world, "closed"), here(world, "silent"), "--output", output) as process:
        end = time.monotonic() + 30
        while not (output.exists() and output.read_bytes()) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)

    assert 4 == process.returncode
    lines = list(read_lines(output))
    assert "closed" == lines[0].verdict
    assert "Interrupted. 0 of " in told.splitlines()[-1]
    assert all("interrupted" in line.reasons for line in lines[1:])


def test_whoever_reads_us_may_go(world):
    shown = subprocess.run(
        ["/bin/sh", "-c", 'exec 3>&1; "$@" | true', "sh", *world.command("check", here(world, "closed"))],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=english(),
    )

    assert "Traceback" not in shown.stderr


def test_a_terminal_is_asked_as_in_2002(world, tmp_path):
    (tmp_path / "ip.txt").write_text(here(world, "open") + "\n")
    answers = f"{tmp_path / 'ip.txt'}\nchecker.test\nabuse@checker.test\n\n127.0.0.1\n{tmp_path / 'log'}\n{tmp_path / 'results.jsonl'}\n"
    master, slave = pty.openpty()
    with subprocess.Popen(
        world.command("scan"), stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=english()
    ) as process:
        os.write(master, answers.encode())
        asked, told = process.communicate(timeout=50)
    os.close(slave)
    os.close(master)

    assert 1 == process.returncode
    for question in (
        b"Host list",
        b"EHLO name",
        b"Contact",
        b"Reverse-path",
        b"Forward-path",
        b"Log of the sessions",
    ):
        assert question in asked
    assert told.endswith(b"Finished. 1 of 1 hosts relay.\n")
    assert "EHLO checker.test" in (tmp_path / "log").read_text()
    assert ["open"] == [line.verdict for line in read_lines(tmp_path / "results.jsonl")]


def test_a_bar_on_a_terminal(world):
    master, slave = pty.openpty()
    command = world.command("scan", here(world, "closed"))
    environment = english() | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, env=environment) as process:
        os.close(slave)
        told = drained(master)
        printed = process.stdout.read()
        process.wait(20)

    assert ["closed"] == [line["verdict"] for line in parsed(printed.decode())]
    assert "○ CLOSED" in told
    assert "0/1" in told
    assert "127.0.0.1" in told
    assert "Finished. 0 of 1 hosts relay." in told


def drained(terminal):
    """All that is written to a terminal until whoever writes has gone."""
    told = b""
    try:
        while more := os.read(terminal, 65536):
            told += more
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(terminal)
    return told.decode()


def test_the_demonstration_agrees_with_itself(tmp_path):
    page = tmp_path / "demo.html"
    command = [
        *BackgroundWorld([]).command()[:3],
        "demo",
        "--only",
        "open",
        "--only",
        "closed",
        "--html",
        str(page),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=english())

    assert 0 == done.returncode, done.stderr
    assert "2 of 2 servers were found as expected." in done.stdout
    assert done.stdout.endswith("Finished. 1 of 2 hosts relay.\n")
    assert "relays for this machine" in page.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_open_pipe_keeps_neither_results_nor_signals_waiting(world, number):
    command = world.command("scan", "-")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=english()
    ) as process:
        process.stdin.write(here(world, "closed").encode() + b"\n")
        process.stdin.flush()
        line = json.loads(process.stdout.readline())  # while the pipe is open
        process.send_signal(number)
        assert 4 == process.wait(10)
        told = process.stderr.read()

    assert "closed" == line["verdict"]
    assert told.splitlines()[-1].startswith(b"Interrupted.")
    assert b"Fatal" not in told


def test_servers_kept_up_are_there_to_try_the_command_on():
    """What it says to try is run as it is said, and finds what the first server is."""
    ports = ["--first-port", str(free_port()), "--sink-port", str(free_port())]
    command = [sys.executable, "-m", "relaywatch.cli", "demo", "--serve", "--only", "open", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=english()) as serving:
        try:
            place = serving.stdout.readline().split()
            words = serving.stdout.readline().removeprefix("Try: relaywatch ").split()
            tried = [sys.executable, "-m", "relaywatch.cli", *words, "--format", "json"]
            done = subprocess.run(
                tried, capture_output=True, text=True, env=english(), timeout=60, check=False
            )
        finally:
            serving.send_signal(signal.SIGINT)

        assert 0 == serving.wait(10)

    [line] = parsed(done.stdout)
    assert [f"127.0.0.1:{ports[1]}", "open"] == place
    assert (1, "open", "delivered") == (done.returncode, line["verdict"], line["findings"][0]["proof"])
