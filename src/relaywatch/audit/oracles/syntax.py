"""Whether the server's own parser takes the configuration, which we say of every one that isn't *down*."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from relaywatch.audit.findings import AuditVerdict, OracleAnswer

from .asking import Question, Said, agrees, ask, disagrees

SUBJECT = "syntax"


def syntax_of(*words: str) -> Callable[[Question], Iterator[OracleAnswer]]:
    """An oracle that runs this command, ``{main}`` being the main file."""

    def oracle(question: Question) -> Iterator[OracleAnswer]:
        filled = [word.replace("{main}", str(question.main)) for word in words]
        yield taken(question, ask(*filled))

    oracle.__name__ = words[0]
    return oracle


def taken(question: Question, said: Said) -> OracleAnswer:
    """Whether it takes the configuration, beside what we say."""
    is_down = question.report.verdict is AuditVerdict.DOWN
    if bool(said.code) == is_down:
        return agrees(said, SUBJECT)
    if not is_down:
        return disagrees(said, SUBJECT, theirs=said.complaint, ours="it starts")
    finding = next(one for one in question.report.findings if one.verdict is AuditVerdict.DOWN)
    return disagrees(said, SUBJECT, theirs="it starts", ours="it refuses to start", position=finding.position)
