"""The words that we speak to people in: Korean or English."""

from __future__ import annotations

import gettext
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

LanguageCode = Literal["en", "ko"]
LANGUAGES: tuple[LanguageCode, ...] = ("en", "ko")
DOMAIN = "relaywatch"
LOCALE_DIRECTORY = Path(__file__).parent / "locale"


def N_(message: str) -> str:  # noqa: N802 -- the name that every extractor of messages knows
    """Mark a message for translation where it stands; it is translated where it is said."""
    return message


class Words:
    """Says messages in one language."""

    __slots__ = ("_catalogue", "language")

    def __init__(self, language: LanguageCode) -> None:
        self.language: LanguageCode = language
        self._catalogue = (
            gettext.NullTranslations()
            if language == "en"
            else gettext.translation(DOMAIN, LOCALE_DIRECTORY, [language])
        )

    def __call__(self, message: str, **fields: object) -> str:
        """Translate the message, then fill in the fields: what fills them is never read as a message."""
        translated = self._catalogue.gettext(message) if message else ""
        return translated.format(**fields) if fields else translated


@cache
def words_in(language: LanguageCode) -> Words:
    """The words of a language, read once."""
    return Words(language)


def language_of(environment: Mapping[str, str]) -> LanguageCode:
    """The language that the locale asks for, as gettext finds it: English unless it is Korean.

    ``LANGUAGE`` is a list by preference, and doesn't count where the locale is C.
    """
    locale = next(
        (value for key in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(key))), "C"
    )
    if locale.partition(".")[0] in {"C", "POSIX"}:
        return "en"
    wishes = [*environment.get("LANGUAGE", "").split(":"), locale]
    spoken = (code for wish in wishes for code in LANGUAGES if wish.lower().startswith(code))
    return next(spoken, "en")
