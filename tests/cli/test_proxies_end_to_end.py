"""The real command against proxies of the demonstration, in processes of its own."""

import json
import os
import subprocess
import sys

import pytest
from tests.cli.world import BackgroundWorld, english
from tests.ports import free_port

from relaywatch.cli.results import read_lines

pytestmark = pytest.mark.skipif(os.name != "posix", reason="addresses of loopback as Linux has them")


@pytest.fixture(scope="module")
def world():
    with BackgroundWorld(["proxy", "socks", "web-server", "socks-to-nowhere", "closed"]) as up:
        yield up


def parsed(done):
    return [json.loads(one) for one in done.stdout.splitlines()]


def of_proxies(done):
    """The one line about proxies; beside it may stand what the mail servers behind the proxy came to."""
    [line] = [one for one in parsed(done) if one["weakness"] == "open-proxy"]
    return line


def test_an_open_proxy_is_one_line_and_one(world):
    done = world.run("check", "127.0.0.1", "--port", world.ports["proxy"], "--format", "json", "--wait", "2")

    line = of_proxies(done)
    assert (1, "open") == (done.returncode, line["verdict"])
    [found] = line["findings"]
    assert ("RW-2001", "http-connect", "canary-reached", "127.0.0.9") == (
        found["advisory"],
        found["probe"],
        found["proof"],
        found["exit_address"],
    )
    assert found["destination_ports"]
    assert 1 == sum('"proof":"canary-reached"' in one for one in done.stdout.splitlines())
    assert done.stderr.splitlines()[-1].endswith("1 of 1 hosts are open proxies.")


def test_a_socks_server_is_found_at_a_port_that_is_nobody_s(world):
    done = world.run("check", f"127.0.0.1:{world.ports['socks']}", "--format", "json", "--wait", "2")

    line = of_proxies(done)
    assert 1 == done.returncode
    assert {"RW-2007", "RW-2008"} >= {found["advisory"] for found in line["findings"]} != set()
    assert {"canary-reached"} == {found["proof"] for found in line["findings"]}


def test_a_web_server_is_zero(world):
    done = world.run("check", f"127.0.0.1:{world.ports['web-server']}", "--format", "json")

    assert (0, [("open-proxy", "closed")]) == (
        done.returncode,
        [(line["weakness"], line["verdict"]) for line in parsed(done)],
    )


def test_a_honeypot_is_never_open(world):
    done = world.run(
        *("check", f"127.0.0.1:{world.ports['socks-to-nowhere']}", "--probe", "socks5-connect"),
        *("--format", "json", "--wait", "1"),
    )

    [line] = parsed(done)
    assert (1, "accepting") == (done.returncode, line["verdict"])
    assert "deceptive" in line["reasons"]
    assert "canary-reached" not in done.stdout


def test_a_dead_port_is_three(world):
    done = world.run("check", "127.0.0.1", "--port", free_port(), "--format", "json")

    assert 3 == done.returncode
    assert {"absent"} == {line["verdict"] for line in parsed(done)}


def test_a_mail_server_at_a_port_that_is_nobody_s_is_asked_for_mail_alone(world):
    done = world.run("check", "127.0.0.1", "--port", world.ports["closed"], "--format", "json")

    assert (0, [("open-relay", "closed")]) == (
        done.returncode,
        [(line["weakness"], line["verdict"]) for line in parsed(done)],
    )
    assert "speaks smtp" in done.stderr


def test_resume_asks_no_proxy_twice(world, tmp_path):
    output = tmp_path / "results.jsonl"
    proxy, web = (f"127.0.0.1:{world.ports[name]}" for name in ("proxy", "web-server"))
    world.run("scan", proxy, "--output", output, "--wait", "2")
    before = output.read_bytes()

    done = world.run("scan", proxy, web, "--output", output, "--resume", "--wait", "2")

    assert output.read_bytes().startswith(before)
    assert [("open-proxy", "open"), ("open-proxy", "closed")] == [
        (line.weakness, line.verdict) for line in read_lines(output) if line.weakness == "open-proxy"
    ]
    assert 0 == done.returncode
    assert "Finished. 0 of 1 hosts are open proxies." == done.stderr.splitlines()[-1]


def test_the_demonstration_shows_a_proxy_and_a_chain(tmp_path):
    page = tmp_path / "demo.html"
    only = [word for name in ("proxy", "chain", "behind-proxy") for word in ("--only", name)]
    command = [sys.executable, "-m", "relaywatch.cli", "demo", *only, "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=english())

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "3 of 3 servers were found as expected." in done.stdout
    assert done.stdout.endswith("Finished. 1 of 2 hosts relay. 1 of 1 hosts are open proxies.\n")
    told = page.read_text()
    assert "RW-2001" in told
    assert "RW-2020" in told
    assert "via http-connect" in told
