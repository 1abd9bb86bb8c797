import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaywatch.cli.untrusted import LENGTH_LIMIT, neutralise, without_lone_surrogates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250 2.0.0 Ok", "250 2.0.0 Ok"),
        ("학교 mail", "학교 mail"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("a\u200bb\u2028c", r"a\u200bb\u2028c"),
        ("Z\udcfcrich", r"Z\xfcrich"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_each_kind(text, expected):
    assert expected == neutralise(text)


@given(st.text(st.characters()))
def test_nothing_that_acts_is_left(text):
    shown = neutralise(text)

    assert shown.isprintable()
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in shown)
    shown.encode("utf-8")


def test_what_is_long_is_cut():
    assert LENGTH_LIMIT == len(neutralise("x" * 10_000))
    assert "ab…" == neutralise("abcdef", 3)


def test_only_lone_surrogates_are_written_out():
    assert "é\x1b\\xff" == without_lone_surrogates("é\x1b\udcff")
