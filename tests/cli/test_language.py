import ast
import io
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from relaywatch.cli import language
from relaywatch.cli.language import Words, language_of

SOURCE = Path(language.__file__).parent
PO = language.LOCALE_DIRECTORY / "ko" / "LC_MESSAGES" / "relaywatch.po"
METHODS = [("**.py", "python"), ("**.j2", "jinja2")]
REFRESH = (
    "add what is missing to relaywatch.po, then: pybabel compile -D relaywatch -d src/relaywatch/cli/locale"
)


def catalogue():
    with PO.open("rb") as file:
        return read_po(file, locale="ko")


def extracted():
    keywords = {"N_": None, "words": None, "_words": None}
    return {
        found[2]
        for found in extract_from_dir(SOURCE, METHODS, keywords=keywords)
        if isinstance(found[2], str)
    }


def test_no_message_is_untranslated_or_left_over():
    translated = {
        message.id for message in catalogue() if message.id and message.string and not message.fuzzy
    }

    assert extracted() == translated, REFRESH


def test_every_message_that_is_said_can_be_extracted():
    said = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = (
                    node.func.attr
                    if isinstance(node.func, ast.Attribute)
                    else getattr(node.func, "id", "call")
                )
                if name in {"words", "_words", "N_", "call"}:
                    said.add(node.args[0].value)

    assert set() == {text for text in said if isinstance(text, str)} - extracted()


def test_the_compiled_catalogue_is_fresh():
    compiled = io.BytesIO()
    write_mo(compiled, catalogue())

    assert compiled.getvalue() == PO.with_suffix(".mo").read_bytes(), REFRESH


def test_translations_have_the_fields_of_their_messages():
    for message in catalogue():
        if message.id:
            assert set(re.findall(r"{\w+}", message.id)) == set(re.findall(r"{\w+}", message.string)), (
                message.id
            )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ko_KR"}, "ko"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "fr:ko:en"}, "ko"),
        ({"LANG": "C", "LANGUAGE": "ko"}, "en"),
        ({"LC_ALL": "", "LANG": "ko_KR.EUC-KR"}, "ko"),
    ],
)
def test_the_locale_chooses(environment, expected):
    assert expected == language_of(environment)


def test_fields_are_never_read_as_messages():
    assert "Report: {total} open" == Words("en")("Report: {path}", path="{total} open")
    assert "보고서: {total}" == Words("ko")("Report: {path}", path="{total}")
    assert "" == Words("ko")("")
