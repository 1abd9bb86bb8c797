"""The audit's verdicts, claims, gaps and standings in words."""

from __future__ import annotations

from types import MappingProxyType

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import AuditVerdict, Gap, GapKind, OracleAnswer, OracleOutcome
from relaywatch.cli.language import N_, Words

MARKS = MappingProxyType(
    {
        AuditVerdict.OPEN: "●",
        AuditVerdict.OPEN_IF: "◐",
        AuditVerdict.DOWN: "✕",
        AuditVerdict.CLOSED: "○",
        AuditVerdict.UNKNOWN: "?",
    }
)
VERDICTS = MappingProxyType(
    {
        AuditVerdict.OPEN: N_("open"),
        AuditVerdict.OPEN_IF: N_("open if"),
        AuditVerdict.DOWN: N_("down"),
        AuditVerdict.CLOSED: N_("closed"),
        AuditVerdict.UNKNOWN: N_("unknown"),
    }
)
STYLES = MappingProxyType(
    {
        AuditVerdict.OPEN: "bold red",
        AuditVerdict.OPEN_IF: "red",
        AuditVerdict.DOWN: "yellow",
        AuditVerdict.CLOSED: "green",
        AuditVerdict.UNKNOWN: "magenta",
    }
)
HEADLINES = MappingProxyType(
    {
        AuditVerdict.OPEN: N_("{server} lets strangers through, whoever they say they are."),
        AuditVerdict.OPEN_IF: N_(
            "{server} lets strangers through who claim the right thing or come the right way."
        ),
        AuditVerdict.DOWN: N_("{server} refuses to start with this configuration."),
        AuditVerdict.CLOSED: N_("{server} refuses strangers; everything that decides it was evaluated."),
        AuditVerdict.UNKNOWN: N_("{server}: something that decides it could not be read or isn't evaluated."),
    }
)
ORACLES = MappingProxyType(
    {
        OracleOutcome.AGREES: N_("{tool} agrees"),
        OracleOutcome.DISAGREES: N_("{tool} DISAGREES"),
        OracleOutcome.SILENT: N_("{tool} could not be asked"),
    }
)
ORACLE_STYLES = MappingProxyType(
    {OracleOutcome.AGREES: "green", OracleOutcome.DISAGREES: "bold yellow", OracleOutcome.SILENT: "dim"}
)
STANDINGS = MappingProxyType(
    {
        "live": N_("seen with the real server"),
        "documented": N_("as its documentation says"),
        "unverified": N_("general knowledge, not verified"),
    }
)
_CLAIMS = MappingProxyType(
    {
        ClaimKind.REVERSE_PATH: (N_("MAIL FROM with {value}"), N_("MAIL FROM with anything but {value}")),
        ClaimKind.HELO: (N_("HELO or EHLO with {value}"), N_("HELO or EHLO with anything but {value}")),
        ClaimKind.FORWARD_PATH: (N_("a recipient at {value}"), N_("a recipient that isn't at {value}")),
        ClaimKind.CLIENT_ADDRESS: (N_("an address in {value}"), N_("an address that isn't in {value}")),
        ClaimKind.CLIENT_NAME: (
            N_("an address whose name (PTR) is {value}"),
            N_("an address whose name (PTR) isn't {value}"),
        ),
        ClaimKind.FRONT_END: (
            N_("to come through {value}, which hides his address"),
            N_("not to come through {value}"),
        ),
        ClaimKind.PROXY_HEADER: (
            N_("a PROXY protocol header of his own: {value}"),
            N_("no PROXY protocol header {value}"),
        ),
        ClaimKind.XCLIENT: (N_("the command XCLIENT {value}"), N_("no command XCLIENT {value}")),
        ClaimKind.FIELD: (N_("the HTTP field {value}"), N_("no HTTP field {value}")),
        ClaimKind.CERTIFICATE: (
            N_("a client certificate of {value}: anybody gets one of a public authority"),
            N_("no client certificate of {value}"),
        ),
        ClaimKind.DNS: (
            N_("records in the DNS of a domain of his own: {value}"),
            N_("a domain without these records: {value}"),
        ),
        ClaimKind.DESTINATION: (N_("the destination {value}"), N_("any destination but {value}")),
    }
)
"""What the stranger needs, and what he must leave out."""
_GAPS = MappingProxyType(
    {
        GapKind.MISSING: N_("there is no such file: {subject}"),
        GapKind.UNREADABLE: N_("it can't be read: {subject}"),
        GapKind.BINARY: N_("a binary table without its source beside it: {subject}"),
        GapKind.LOOP: N_("a file that includes itself: {subject}"),
        GapKind.TOO_LONG: N_("a line longer than is read: {subject}"),
        GapKind.TOO_MANY: N_("more than is looked at: {subject}"),
        GapKind.SYNTAX: N_("a line that can't be parsed: {subject}"),
        GapKind.DIRECTIVE: N_("a directive that isn't known: {subject}"),
        GapKind.EXTERNAL: N_("another program, a database or the DNS decides: {subject}"),
        GapKind.NO_LISTENER: N_("no listener was found, so there is nothing to evaluate: {subject}"),
        GapKind.NOT_EVALUATED: N_("isn't evaluated: {subject}"),
    }
)


def said_of_answer(answer: OracleAnswer, words: Words) -> str:
    """What the server's own tool says beside us, in lines."""
    said = [words(ORACLES[answer.outcome], tool=answer.tool) + f": {answer.subject}" * bool(answer.subject)]
    if answer.outcome is OracleOutcome.DISAGREES:
        said += [words("It says: {said}", said=answer.theirs), words("We say: {said}", said=answer.ours)]
    elif answer.theirs:
        said.append(answer.theirs)
    return "\n".join(said)


def said_of_claim(claim: Claim, words: Words) -> str:
    """What the stranger needs."""
    return words(_CLAIMS[claim.kind][claim.negated], value=claim.value)


def said_of_gap(gap: Gap, words: Words) -> str:
    """What was not evaluated, why, and where it stands."""
    said = words(_GAPS[gap.kind], subject=gap.subject)
    return f"{gap.position}: {said}" if gap.position else said
