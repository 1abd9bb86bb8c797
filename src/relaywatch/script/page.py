"""An answer of HTTP as it is compared with another."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARKUP = re.compile(r"<[^<>]*>|\s+")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, as far as it is compared: its status code, and its words."""

    status_code: int
    body: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether a server says so that has not tried to fetch anything from anywhere."""
        return self.status_code < 500

    def is_like(self, other: Page) -> bool:
        """Whether it says the same, whoever it says it of; an answer without a body has its status code alone."""
        if self.status_code != other.status_code:
            return False
        return not (self.body and other.body) or self._words == other._words

    @property
    def _words(self) -> list[str]:
        """The words of the body; not hosts, times and identifiers, which differ from answer to answer."""
        words = (word.strip(".,:;!?'\"()") for word in _MARKUP.split(self.body))
        return [word for word in words if word.isalpha()]
