"""The reference of the command line is what the commands say."""

from pathlib import Path

import pytest
from tests.qa.reference import render

PAGE = Path(__file__).parents[2] / "docs/reference/commands.md"


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def test_it_is_fresh():
    assert render() == PAGE.read_text("utf-8"), "make docs"
