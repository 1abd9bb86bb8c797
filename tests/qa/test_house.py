"""The repository's own rules."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from relaywatch.script.probe import load_probes

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/relaywatch").rglob("*.py"))
PURE_LAYERS = ("model", "wire", "script", "probes", "rules")
FUNCTION_LIMIT = 60
FILE_LIMIT = 400


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def functions(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def lines_below(*folders):
    """Lines of Python, and of transcripts, which are tests too."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".txt"}]
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_the_head(path):
    assert len(path.read_text("utf-8").splitlines()) <= FILE_LIMIT


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_function_fits_the_screen(path):
    assert [] == [name for name, length in functions(path) if length > FUNCTION_LIMIT]


def test_functions_are_small_as_a_rule():
    lengths = sorted(length for path in SOURCES for _, length in functions(path))

    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_pure_layers_have_as_many_lines_of_tests_as_of_source():
    tests = [ROOT / "tests/transcripts", *(ROOT / "tests" / layer for layer in PURE_LAYERS)]
    sources = [ROOT / "src/relaywatch" / layer for layer in PURE_LAYERS]

    assert lines_below(*tests) >= lines_below(*sources)


@pytest.mark.parametrize("name", load_probes())
def test_a_probe_has_its_page_and_its_transcripts(name):
    page = ROOT / "docs/probes" / f"{name}.md"
    transcripts = sorted((ROOT / "tests/transcripts" / name).glob("*.txt"))

    assert page.read_text("utf-8").startswith(f"# {name}\n")
    assert transcripts


def test_no_file_names_where_packages_come_from_or_where_it_was_made():
    # Written with a gap, so that this file doesn't name them either.
    names = ("py pi.org", "python hosted.org", "npm js.", "deb. debian.org")
    hosts = re.compile("|".join(re.escape(name.replace(" ", "")) for name in names))

    named = [
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if hosts.search(path.read_bytes().decode("utf-8", "replace"))
    ]

    assert [] == named


def test_versions_are_pinned_one_a_line():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    assert pins
    assert [] == [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", pin)]


def test_a_change_for_users_is_told():
    assert sorted((ROOT / "changelog.d").glob("*.md"))


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_readme_shows_its_two_commands(command):
    assert command in (ROOT / "README.md").read_text("utf-8")


def test_ci_calls_the_second_command_and_nothing_else():
    script = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    commands = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]

    assert ["make test"] == commands
