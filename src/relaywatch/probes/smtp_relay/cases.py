"""Cases: a forward-path, a reverse-path and a HELO together, and how they are written for a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from relaywatch.model.places import address_literal
from relaywatch.model.tokens import Token
from relaywatch.script.brief import Brief
from relaywatch.script.smtp import Helo

from .forms import OURS, OWN, PLAIN, ForwardPath, HeloForm, ReversePath

_OFTEN = 2
"""At most so many names of the target, and so many guessed domains, are put into the forms."""
_MOST = 12
"""At most so many hosted domains, whoever names them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question: would you carry this, for whoever says this?

    ``t`` and ``l`` are the target's name and the hosted domain that stand in its forms.
    """

    forward: ForwardPath = PLAIN
    reverse: ReversePath = OURS
    helo: HeloForm = OWN
    t: str = ""
    l: str = ""  # noqa: E741, the survey's letter
    is_alternate: bool = False
    """Whether ``t`` or ``l`` is not the likeliest one, so that the name must tell it apart."""

    @property
    def name(self) -> str:
        """The stable name: ``plain``, ``percent-hack``, ``plain+from-null``, ``plain+helo-localhost``."""
        parts = [self.forward.name]
        if self.reverse is not OURS:
            parts.append(f"from-{self.reverse.name}")
        if self.helo is not OWN:
            parts.append(f"helo-{self.helo.name}")
        if self.is_alternate:
            parts.append("for-" + "-".join(filter(None, (self.t, self.l))))
        return "+".join(parts)

    @property
    def advisory(self) -> str:
        """The advisory that a proof of this case falls under: the most particular form's."""
        if self.forward is not PLAIN:
            return self.forward.advisory
        if self.reverse.advisory != PLAIN.advisory:
            return self.reverse.advisory
        return self.helo.advisory

    @property
    def strains_syntax(self) -> bool:
        """Whether a strict parser counts the case as a syntax error."""
        return self.forward.strains_syntax or "{i}" in self.reverse.template or self.reverse.code == "S13"

    @property
    def fields(self) -> frozenset[str]:
        """What must be known to write it."""
        return self.forward.fields | self.reverse.fields | self.helo.fields


@dataclass(frozen=True, slots=True)
class Envelope:
    """A case as it is written for this target. Arguments stand as in the commands."""

    case: Case
    helo: Helo
    mail: str
    rcpt: str
    token: Token
    """The canary that the forward-path carries."""
    return_token: Token | None
    """The canary in the reverse-path, where it leads to our sink."""
    control: str
    """The forward-path of nobody that ends as this one does; empty unless that is at the target."""
    strains_syntax: bool
    """Whether a strict parser counts the case as a syntax error."""

    @property
    def command(self) -> str:
        """The envelope for a report."""
        prelude = f"{self.helo.prelude} / " if self.helo.prelude else ""
        return f"{prelude}{self.helo.verb} {self.helo.argument} / MAIL FROM:{self.mail} / RCPT TO:{self.rcpt}"


@dataclass(frozen=True, slots=True)
class Names:
    """What is known to fill the forms with, likeliest first."""

    targets: tuple[str, ...] = ()
    hosted: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """The fields that are the same in every case of a run."""
    guessed: frozenset[str] = frozenset()
    """Those of the hosted domains that nobody named and no MX record confirms."""

    def known(self) -> frozenset[str]:
        """The fields that can be written; ``p`` is made for each case."""
        names = {"p", "r", *self.fields}
        if self.targets:
            names.add("t")
        if self.hosted:
            names.add("l")
        return frozenset(names)


def gather_names(brief: Brief, learned: Iterable[str] = ()) -> Names:
    """Put together what the brief knows and what the server said of itself."""
    targets = _distinct([*brief.target_names, *learned])[:_OFTEN]
    parents = _distinct(_parent(name) for name in targets)
    hosted = _distinct([*brief.local_domains, *parents])
    sink = brief.sink
    is_literal = sink.domain.startswith("[")
    fields = {
        "d": sink.domain,
        "i": address_literal(brief.endpoint.address),
        "ehlo_name": brief.identity.ehlo_name,
    }
    if not is_literal:
        fields["n"] = sink.domain
        fields["d_encapsulated"] = sink.domain.replace(".", "+2e")
    if sink.second_domain:
        fields["d2"] = sink.second_domain
    if sink.mx_pointing_domain:
        fields["x"] = sink.mx_pointing_domain
    # A server that reaches us by IPv4 needs a literal of that family, and so on.
    literals = [a for a in sink.addresses if a.version == brief.endpoint.address.version]
    if literals and not is_literal:
        fields["literal"] = address_literal(literals[0])
        if literals[0].version == 4:
            fields["number"] = str(literals[0])
    # Domains that the brief names are all asked; the parent of a name is no more than a guess.
    kept = min(_MOST, max(_OFTEN, len(_distinct(brief.local_domains))))
    guessed = frozenset(parents) - frozenset(_distinct(brief.local_domains))
    return Names(tuple(targets), tuple(hosted[:kept]), fields, guessed)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.lower().rstrip(".") for name in names if name))


def _parent(name: str) -> str:
    """The domain above a host name, if it can be one that takes mail: two labels and more."""
    _, _, above = name.partition(".")
    return above if "." in above else ""


def expand(case: Case, names: Names) -> Iterator[Case]:
    """Give the case once for each of the target's names and hosted domains that its forms use."""
    if not case.fields <= names.known():
        return
    targets = names.targets if "t" in case.fields else ("",)
    hosted = names.hosted if "l" in case.fields else ("",)
    for number, (t, l) in enumerate(product(targets, hosted)):  # noqa: E741
        yield Case(case.forward, case.reverse, case.helo, t, l, is_alternate=number > 0)


def write(case: Case, names: Names, brief: Brief) -> Envelope:
    """Write the case's envelope with canaries of its own; the same case gives the same envelope.

    Greylisting goes by client, reverse-path and forward-path, so that a retry must repeat all three:
    the reverse-path's canary therefore depends on the reverse-path's form alone.
    """
    token = brief.token(f"forward {case.name}")
    comes_home = case.reverse.is_ours and "{p}" in case.reverse.template
    return_token = brief.token(f"return {case.reverse.name} {case.t}") if comes_home else None
    fields = {**names.fields, "t": case.t, "l": case.l, "r": brief.mint.random_local_part("label")}
    sender = return_token or brief.mint.random_local_part("sender")
    template = case.forward.template
    parameters = f" {case.forward.parameters.format_map(fields)}" if case.forward.parameters else ""
    return Envelope(
        case=case,
        helo=Helo(case.helo.verb, case.helo.template.format_map(fields), case.helo.prelude),
        mail=case.reverse.template.format_map(fields | {"p": sender}),
        rcpt=template.format_map(fields | {"p": token}) + parameters,
        token=token,
        return_token=return_token,
        control=_control(case.forward, fields, brief) if case.forward.ends_at_target else "",
        strains_syntax=case.strains_syntax,
    )


def written(case: Case, names: Names) -> tuple[str, ...]:
    """How the case is written, but for what is another in every case: two cases that are written alike are one."""
    fields = {**names.fields, "t": case.t, "l": case.l, "r": "", "p": "canary"}
    sender = fields if case.reverse.is_ours else fields | {"p": "nobody"}
    helo, forward = case.helo, case.forward
    return (
        helo.prelude,
        helo.verb,
        helo.template.format_map(fields),
        case.reverse.template.format_map(sender),
        forward.template.format_map(fields),
        forward.parameters.format_map(fields),
    )


def _control(forward: ForwardPath, fields: Mapping[str, str], brief: Brief) -> str:
    """Nobody, where the forward-path ends: at a domain of the target's, or without any."""
    nobody = brief.mint.random_local_part("catch-all")
    for name in ("l", "i", "t"):
        if f"@{{{name}}}" in forward.template or f"%{{{name}}}>" in forward.template:
            return f"<{nobody}@{fields[name]}>"
    return f"<{nobody}>"
