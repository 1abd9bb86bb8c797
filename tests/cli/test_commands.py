import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from relaywatch.cli.main import relaywatch
from relaywatch.cli.reports.lines import result_schema
from relaywatch.targets.scope import read_scope

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG", "RELAYWATCH_SCOPE"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments, text=None):
    return CliRunner().invoke(relaywatch, [str(argument) for argument in arguments], input=text)


def test_the_committed_schema_is_fresh():
    committed = json.loads((ROOT / "docs/reference/result.schema.json").read_text())

    assert json.loads(json.dumps(result_schema())) == committed, (
        "relaywatch schema result > docs/reference/result.schema.json"
    )
    assert committed == json.loads(run("schema", "result").stdout)


def test_advice_lists_tells_and_searches():
    assert "RW-1005  Relays by the percent hack\n" in run("advice").stdout
    assert run("advice", "percent", "hack").stdout.startswith("RW-1005")
    told = run("advice", "rw-1001", "--software", "postfix").stdout
    assert "RW-1001  Relays for anybody" in told
    assert "mynetworks = 127.0.0.0/8" in told
    assert "--software NAME, for " in run("advice", "RW-1001").stdout


def test_advice_in_korean():
    assert "누구에게나 메일을 중계함" in run("advice", "RW-1001", "--lang", "ko").stdout


@pytest.mark.parametrize("arguments", [["zzzz"], ["RW-1001", "--software", "zzzz"]])
def test_advice_that_there_is_not(arguments):
    assert 2 == run("advice", *arguments).exit_code


def test_help_speaks_the_language(monkeypatch):
    assert "Find, prove and fix open mail relays." in run("--help").stdout
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    assert "열린 메일 릴레이를" in run("--help").stdout
    assert "주소 파일" in run("check", "--help").stdout
    assert "허가를 나열" in run("scope", "--help").stdout
    assert "Port of the sink" in run("check", "--lang", "en", "--help").stdout


ADD = ["--owner", "Example School", "--contact", "net@school.example", "--until", "2099-01-31"]


def test_scope_add_list_and_check(tmp_path):
    path = tmp_path / "new" / "scope.toml"

    added = run(
        "scope", "add", "--scope", path, "--network", "192.0.2.0/24", "--domain", "school.example", *ADD
    )
    assert (
        0,
        "1. 192.0.2.0/24, school.example: Example School <net@school.example>, until 2099-01-31\n",
    ) == (
        added.exit_code,
        added.stdout,
    )
    run(
        "scope",
        "add",
        "--scope",
        path,
        "--network",
        "198.51.100.0/24",
        *ADD[:-1],
        "2020-01-01",
        "--rate",
        "5",
    )
    assert 2 == len(read_scope(path).permissions)
    listed = run("scope", "list", "--scope", path)
    assert "until 2020-01-01, which is over" in listed.stdout
    good = run("scope", "check", "--scope", path, "192.0.2.7", "127.0.0.1")
    assert (0, "192.0.2.7: permitted by Example School\n127.0.0.1: permitted by this machine\n") == (
        good.exit_code,
        good.stdout,
    )
    bad = run("scope", "check", "--scope", path, "198.51.100.7", "192.0.2.0/23")
    assert 2 == bad.exit_code
    assert "number 2 (Example School) ran out on 2020-01-01" in bad.stdout
    assert "192.0.3.0/24 is not covered" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "--network", "192.0.2.7/24", *ADD], "networks: '192.0.2.7/24'"),
        (["add", *ADD], "permits nothing"),
        (["add", "--network", "192.0.2.0/24", *ADD[:-1], "soon"], "soon"),
        (["check", "mail.school.example"], "give the address"),
        (["check", "x y"], "neither"),
    ],
)
def test_scope_faults(tmp_path, arguments, said):
    path = tmp_path / "scope.toml"
    path.write_text("")

    result = run("scope", *arguments, "--scope", path)

    assert 2 == result.exit_code
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "Missing argument"),
        (["check", "x y"], "neither an address nor a name"),
        (["check", "127.0.0.1", "--port", "0"], "--port"),
        (["check", "127.0.0.1", "--probe", "zzzz"], "no probe is called 'zzzz'"),
        (["check", "127.0.0.1", "--sink", "https://sink.test"], "--sink needs"),
        (
            ["check", "127.0.0.1", "--sink", "https://x.test", "--sink-address", "127.0.0.1"],
            "in this process",
        ),
        (["check", "127.0.0.1", "--sink-address", "here"], "here"),
        (["check", "127.0.0.1", "--ehlo-name", "a b"], "neither"),
        (
            ["check", "127.0.0.1", "--source-address", "127.0.0.1", "--source-address", "127.0.0.2"],
            "once for each",
        ),
        (
            ["check", "127.0.0.1", "--source-address", "127.0.0.2", "--second-source", "127.0.0.2"],
            "--second-source is another address than --source-address; both are 127.0.0.2",
        ),
        (["check", "127.0.0.1", "--scope", "missing.toml"], "missing.toml"),
        (["scan"], "name targets"),
        (["scan", "127.0.0.1", "--resume"], "--resume needs --output"),
        (["scan", "127.0.0.1", "--output", "results.jsonl.zst"], "compress them when all is done"),
        (["schema", "zzzz"], "zzzz"),
        (["zzzz"], "zzzz"),
        (["sink", "serve"], "Missing option"),
        (["sink", "serve", "--listen", "zzzz"], "zzzz"),
        (["sink", "serve", "--listen", "127.0.0.1:99999"], "99999"),
        (["sink", "serve", "--canary-port", "0"], "--canary-port"),
        (["sink", "serve", "--public-address", "here"], "here"),
        (["demo", "--only", "zzzz"], "zzzz"),
    ],
)
def test_wrong_usage_is_two(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)

    result = run(*arguments)

    assert 2 == result.exit_code
    assert said in result.stderr
    assert "" == result.stdout


def test_nothing_is_sent_out_of_scope(tmp_path):
    scope = tmp_path / "scope.toml"
    scope.write_text("")

    result = run("check", "192.0.2.7", "--scope", scope)

    assert 2 == result.exit_code
    assert "192.0.2.7 is not covered by any permission" in result.stderr


def test_an_exclusion_wins_over_loopback(tmp_path):
    excluded = tmp_path / "exclude.txt"
    excluded.write_text("127.0.0.0/8\n")

    result = run("check", "127.0.0.1", "--exclude", excluded)

    assert 2 == result.exit_code
    assert f"excluded by 127.0.0.0/8 ({excluded}:1)" in result.stderr


def test_keygen(tmp_path):
    path = tmp_path / "sink.toml"

    assert 0 == run("sink", "keygen", path, "--name", "sink.test").exit_code
    assert 0o600 == path.stat().st_mode & 0o777
    assert "CERTIFICATE" in path.with_suffix(".pem").read_text()
    assert 2 == run("sink", "keygen", path, "--name", "sink.test").exit_code


def test_the_version_is_said_without_loading_what_checks():
    code = (
        "import sys; from relaywatch.cli.main import run; run(['--version']); "
        "print(sorted({'rich', 'jinja2', 'asyncio', 'aiohttp', 'dns', 'msgspec', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    assert "relaywatch 0" in done.stdout
    assert done.stdout.endswith("[]\n")
