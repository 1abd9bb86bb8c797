"""SMTP's values (RFC 5321, RFC 3463)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnhancedStatusCode:
    """``class.subject.detail`` (RFC 3463)."""

    klass: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply (RFC 5321 section 4.2): its code and the text of each of its lines."""

    code: int
    lines: tuple[str, ...]
    enhanced: EnhancedStatusCode | None = None

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """3yz: go on."""
        return 300 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: try later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: no."""
        return 500 <= self.code < 600

    @property
    def text(self) -> str:
        """All lines' text, joined by spaces."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        return f"{self.code} {self.text}"
