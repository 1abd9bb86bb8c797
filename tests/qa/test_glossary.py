"""One word for one thing: the glossary's words are used, and those that it rules out are not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
PROSE_AND_CODE = [
    *sorted((ROOT / "src/relaywatch").rglob("*.py")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path != GLOSSARY),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
BANNED = re.compile(
    r"\b(plug-?in|payload|beacon|victim|whitelist|allowlist|mail_from|rcpt_tos?|canary hit|risk score)s?\b",
    re.IGNORECASE,
)
LAWFUL = {
    # relay_mail_from is a FEATURE of sendmail's, and no word of ours.
    re.compile(r"relay_mail_from"),
    # and mail_from one of its macros, quoted where it is defined.
    re.compile(r'"mail_from": '),
    # Haraka's own names: of its list of modules, of their folder, of packages, and of modules that begin so.
    re.compile(r"config/plugins|/plugins/\{|haraka-plugin|(?:rcpt_to|mail_from)\\?\.|\^\(\?:rcpt_to"),
    # 3proxy's command, and Traffic Server's file and parameter.
    re.compile(r'"plugin"|plugin\.config|@plugin='),
    # payload and payload_lv are fetch methods of HAProxy's.
    re.compile(r"(?:req\\\.)?payload(?:_lv)?(?=\|)"),
}


def rows():
    for line in GLOSSARY.read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| word", "|---")):
            yield line.strip("| ").split("|")[0].strip()


def test_the_glossary_has_the_words_that_the_design_names():
    words = {word for row in rows() for word in re.split(r", ", row)}
    wanted = {"probe", "case", "script", "link", "brief", "canary", "arrival", "fact", "observation", "attempt",
              "evidence", "verdict", "finding", "advisory", "remedy", "target", "door", "scope", "permission",
              "sink", "campaign", "shard", "vantage"}  # fmt: skip

    assert set() == wanted - words


@pytest.mark.parametrize("path", PROSE_AND_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_banned_word(path):
    text = path.read_text("utf-8")
    for lawful in LAWFUL:
        text = lawful.sub("", text)

    assert [] == [match[0] for match in BANNED.finditer(text)]
