"""The records of the catalogue, exactly as the data files hold them.

They are msgspec structs (frozen, slotted) because the data files are read straight into them: a field that is
missing, unknown, empty or of the wrong shape is refused by the types themselves.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from relaywatch.advice.vocabulary import (
    Complexity,
    EaseOfFix,
    Impact,
    Kind,
    Language,
    Phase,
    Popularity,
    Risk,
    Role,
    RootCause,
    Standing,
    Weakness,
)

Text: TypeAlias = Annotated[str, Meta(pattern=r"\A\S([\s\S]*\S)?\Z")]
CodeLine: TypeAlias = Annotated[str, Meta(pattern=r"\A[^\r\n]*\S[^\r\n]*\Z")]
DialogueLine: TypeAlias = Annotated[str, Meta(pattern=r"\A[CS]:( [^\r\n]+)?\Z")]  # "C:" is an empty line
Slug: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-z0-9]+([.-][a-z0-9]+)*\Z")]
AdvisoryId: TypeAlias = Annotated[str, Meta(pattern=r"\ARW-[0-9]{4}\Z")]
Reference: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"\A(RFC [1-9][0-9]{2,4}( section [0-9]+(\.[0-9]+)*| appendix [A-Z](\.[0-9]+)*)?"
        r"|CVE-[0-9]{4}-[0-9]{4,}|VU#[0-9]+|MS[0-9]{2}-[0-9]{3}|KB[0-9]+|https://[^\s]+)\Z"
    ),
]
SomeTexts: TypeAlias = Annotated[tuple[Text, ...], Meta(min_length=1)]
SomeAdvisories: TypeAlias = Annotated[tuple[AdvisoryId, ...], Meta(min_length=1)]


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every record has in common: frozen, and strict about its fields."""


class Bilingual(Record, frozen=True, kw_only=True):
    """One text in both languages; plain text, no mark-up."""

    en: Text
    ko: Text

    def text(self, language: Language) -> str:
        """Return the text in `language`."""
        return self.ko if language is Language.KO else self.en


class AdvisoryText(Record, frozen=True, kw_only=True):
    """An advisory in one language: paragraphs and lists of plain text."""

    title: Text
    summary: Text  # one sentence, for a line of the report
    description: SomeTexts  # paragraphs
    concerns: SomeTexts  # what follows for the owner and for others
    verify: SomeTexts  # how to see it by hand, in order
    false_alarms: tuple[Text, ...] = ()  # what looks like it and isn't


class Advisory(Record, frozen=True, kw_only=True):
    """One weakness: what it is, how bad it is, and how it is told from what only looks like it."""

    id: AdvisoryId
    slug: Slug
    kind: Kind
    weakness: Weakness
    risk: Risk
    ease_of_fix: EaseOfFix
    complexity: Complexity
    popularity: Popularity
    impact: Annotated[tuple[Impact, ...], Meta(min_length=1)]
    root_cause: RootCause
    references: tuple[Reference, ...] = ()
    dialogue: tuple[DialogueLine, ...] = ()  # what to type by hand (C:) and the reply that decides (S:)
    en: AdvisoryText
    ko: AdvisoryText

    def text(self, language: Language) -> AdvisoryText:
        """Return the texts in `language`."""
        return self.ko if language is Language.KO else self.en


class Step(Bilingual, frozen=True, kw_only=True):
    """One thing to do: a sentence, and where it applies lines of a file and commands to run.

    First `remove` goes from `file`, then `lines` are put into it, then `commands` are run in order. They are
    exact enough to be carried out by a program, and the lab does so:

    - in `remove`, "…" stands for anything; a line takes along those under it that are indented deeper; a
      single word goes out of every list that it stands in;
    - a line `name = value` takes the place of the one that sets the same name; in master.cf the name is the
      service and its type;
    - any other line goes right `under` or `above` the first line that begins so, else where a removed line
      stood, else to the end; one that stands there already isn't repeated.

    The commands are those of the server's own system: a shell, PowerShell on Windows, a router's console.
    """

    file: CodeLine | None = None
    if_present: bool = False  # for servers that have this file; others pass the whole step over
    remove: tuple[CodeLine, ...] = ()
    lines: tuple[CodeLine, ...] = ()
    under: CodeLine | None = None
    above: CodeLine | None = None
    commands: tuple[CodeLine, ...] = ()
    phase: Phase | None = None  # in remedies of an incident only


class RemedyText(Record, frozen=True, kw_only=True):
    """A remedy's words in one language."""

    title: Text
    caveats: tuple[Text, ...] = ()


class Remedy(Record, frozen=True, kw_only=True):
    """Steps that mend advisories on one software, and how to see that they did."""

    id: Slug
    advisories: SomeAdvisories
    standing: Standing
    source: Text | None = None  # manual, page or knowledge base article; required when documented
    lab_cases: tuple[
        Slug, ...
    ] = ()  # open servers of the lab that it closed; there are some exactly when live
    step: Annotated[tuple[Step, ...], Meta(min_length=1)]
    verify: Annotated[tuple[Step, ...], Meta(min_length=1)]
    en: RemedyText
    ko: RemedyText
    software: Slug  # set by the loader from the guide that holds it

    def text(self, language: Language) -> RemedyText:
        """Return the words in `language`."""
        return self.ko if language is Language.KO else self.en


class NotApplicable(Bilingual, frozen=True, kw_only=True):
    """Advisories that a software can't have, and why."""

    advisories: SomeAdvisories


class Guide(Record, frozen=True, kw_only=True):
    """Everything about one software: its remedies, and what can't happen to it."""

    software: Slug
    name: Text
    role: Role
    also: tuple[Slug, ...] = ()  # other software that this guide serves as well
    checked_with: tuple[Text, ...] = ()  # versions whose behaviour or manual was read
    note: Bilingual | None = None
    remedy: tuple[Remedy, ...] = ()
    not_applicable: tuple[NotApplicable, ...] = ()
