"""The catalogue of rules, against the advice that it refers to."""

from __future__ import annotations

from pathlib import Path

import pytest

from relaywatch.advice.catalogue import load_catalogue
from relaywatch.advice.reading import CatalogueError
from relaywatch.advice.vocabulary import Language
from relaywatch.audit.catalogue import load_rules, read_rules

RULE = """
[[rule]]
id = "{id}"
standing = "live"
source = "seen"
[rule.title]
en = "Title"
ko = "제목"
[rule.why]
en = "Why"
ko = "이유"
[rule.mend]
en = "Mend"
ko = "조치"
"""


def test_every_rule_refers_to_what_exists():
    advice = load_catalogue()
    remedies = {
        remedy.id
        for advisory in advice.advisories
        for software in advice.guides
        for remedy in advice.remedies(advisory, software)
    }
    for rule in load_rules().values():
        assert rule.advisory is None or rule.advisory in advice.advisories, rule.id
        assert remedies >= {*rule.remedies}, rule.id


def test_every_rule_is_told_in_both_languages():
    for rule in load_rules().values():
        for text in (rule.title, rule.why, rule.mend):
            english, korean = text.text(Language.EN), text.text(Language.KO)
            assert english.strip()
            assert any("가" <= char <= "힣" for char in korean), f"{rule.id}: {korean}"


def test_rules_are_read_file_by_file(tmp_path: Path):
    (tmp_path / "one.toml").write_text(RULE.format(id="a-b"))
    (tmp_path / "note.txt").write_text("no rules")
    rules = read_rules(tmp_path)
    assert list(rules) == ["a-b"]
    assert rules["a-b"].title_in(Language.KO) == "제목"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([RULE.format(id="a"), RULE.format(id="a")], "rule 'a' stands twice"),
        ([RULE.format(id="A b")], "0.toml"),
        (["[[rule"], "0.toml"),
        (["[[rule]]\nid = 'a'\n"], "0.toml"),
        ([RULE.format(id="a") + "more = 1\n"], "0.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, texts, message):
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.toml").write_text(text)
    with pytest.raises(CatalogueError, match=message):
        read_rules(tmp_path)
