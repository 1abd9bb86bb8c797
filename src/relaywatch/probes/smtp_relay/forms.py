"""The forms that a relay case is made of: forward-paths, reverse-paths and HELO, a row each.

A template is written as the argument stands in the command. Its fields: ``p`` our canary's local
part, ``d`` our domain (or literal), ``n`` our domain where it is a name, ``d2`` another domain of
ours, ``x`` a domain of ours whose second MX is the target, ``t`` the target's own name, ``i`` its
address literal, ``l`` a domain that it hosts, ``literal`` and ``number`` our sink's address, ``r`` a
random label. A row whose fields aren't known in a run isn't planned in it.
"""

from __future__ import annotations

import re
from functools import cache
from string import Formatter
from typing import NamedTuple

_QUOTED = re.compile(r'"[^"]*"')
_ROUTE = re.compile(r"@[^:<>]*:")
_BEYOND_SYNTAX = re.compile(r'<<|" <|\(')
"""What only a lax parser understands, and may well take for a local part."""
_BEHIND_DOMAIN = re.compile(r"@[^>]*[@%]")
"""A second at sign, or a percent sign in the domain: to a strict parser neither may follow there."""
_TARGETS_OWN = ("{t}", "{i}", "{l}")


@cache
def _fields(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


@cache
def _ends_at_target(template: str) -> bool:
    if _BEYOND_SYNTAX.search(template):
        return True
    _, at_sign, domain = _bare(template).rpartition("@")
    return not at_sign or any(field in domain for field in _TARGETS_OWN)


@cache
def _strains_syntax(template: str) -> bool:
    return "{i}" in template or bool(_BEHIND_DOMAIN.search(_bare(template)))


def _bare(template: str) -> str:
    """The template without source route and quoted strings."""
    return _ROUTE.sub("", _QUOTED.sub("", template))


class ForwardPath(NamedTuple):
    """A way to write the forward-path. ``code`` is its number in the survey of known vectors."""

    code: str
    name: str
    template: str
    advisory: str
    parameters: str = ""
    """What stands behind the path, if the server advertises ``needs``."""
    needs: str = ""
    """The extension that the row needs."""
    after_local: bool = False
    """Asked after a forward-path of the target's own was accepted."""
    is_weak: bool = False
    """A yes is worth a note: nothing of ours can arrive."""

    @property
    def fields(self) -> frozenset[str]:
        """What must be known to write it."""
        return _fields(self.template + self.parameters)

    @property
    def ends_at_target(self) -> bool:
        """Whether an innocent server could take it for one of its own mailboxes."""
        return _ends_at_target(self.template)

    @property
    def strains_syntax(self) -> bool:
        """Whether a strict parser counts it as a syntax error, of which servers bear few."""
        return self.advisory in {"RW-1012", "RW-1013"} or _strains_syntax(self.template)


class ReversePath(NamedTuple):
    """A way to write the reverse-path."""

    code: str
    name: str
    template: str
    advisory: str
    is_ours: bool
    """Whether a bounce comes home to our sink, or goes nowhere, and to nobody at the target."""

    @property
    def fields(self) -> frozenset[str]:
        """What must be known to write it."""
        return _fields(self.template)


class HeloForm(NamedTuple):
    """A way to present ourselves."""

    name: str
    verb: str
    template: str
    advisory: str
    prelude: str = ""
    """A command, if the server advertises ``needs``, that claims another client."""
    needs: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """What must be known to write it."""
        return _fields(self.template)


FORWARD_PATHS: tuple[ForwardPath, ...] = (
    ForwardPath("R1", "plain", "<{p}@{d}>", "RW-1001"),
    ForwardPath("R2", "percent-hack", "<{p}%{d}@{t}>", "RW-1005"),
    ForwardPath("R3", "percent-hack-literal", "<{p}%{d}@{i}>", "RW-1005"),
    ForwardPath("R4", "percent-hack-hosted", "<{p}%{d}@{l}>", "RW-1005"),
    ForwardPath("R5", "percent-hack-unqualified", "<{p}%{d}>", "RW-1005"),
    ForwardPath("R6", "quoted", '<"{p}@{d}">', "RW-1006"),
    ForwardPath("R7", "quoted-percent", '<"{p}%{d}">', "RW-1006"),
    ForwardPath("R8", "quoted-at-target", '<"{p}@{d}"@{t}>', "RW-1006"),
    ForwardPath("R9", "quoted-at-literal", '<"{p}@{d}"@{i}>', "RW-1006"),
    ForwardPath("R10", "quoted-percent-hosted", '<"{p}%{d}"@{l}>', "RW-1006"),
    ForwardPath("R11", "quoted-double-at", '<"{p}@{d}@{t}">', "RW-1006"),
    ForwardPath("R12", "double-at", "<{p}@{d}@{t}>", "RW-1009"),
    ForwardPath("R13", "double-at-literal", "<{p}@{d}@{i}>", "RW-1009"),
    ForwardPath("R14", "double-at-hosted", "<{p}@{d}@{l}>", "RW-1014"),
    ForwardPath("R15", "source-route", "<@{t}:{p}@{d}>", "RW-1007"),
    ForwardPath("R16", "source-route-literal", "<@{i}:{p}@{d}>", "RW-1007"),
    ForwardPath("R17", "source-route-hosted", "<@{l}:{p}@{d}>", "RW-1007"),
    ForwardPath("R18", "source-route-two-hops", "<@{t},@{d}:{p}@{d}>", "RW-1007"),
    ForwardPath("R19", "bang-path", "<{d}!{p}>", "RW-1008"),
    ForwardPath("R20", "bang-path-at-target", "<{d}!{p}@{t}>", "RW-1008"),
    ForwardPath("R21", "bang-path-at-literal", "<{d}!{p}@{i}>", "RW-1008"),
    ForwardPath("R22", "bang-path-two-hops", "<{t}!{d}!{p}>", "RW-1008"),
    ForwardPath("R23", "mixed-at-percent", "<{p}@{d}%{l}>", "RW-1019"),
    ForwardPath("R23", "mixed-percent-percent", "<{p}%{d}%{l}>", "RW-1019"),
    ForwardPath("R23", "mixed-bang-percent", "<{l}!{p}%{d}>", "RW-1019"),
    ForwardPath("R23", "mixed-bang-percent-hosted", "<{d}!{p}%{l}>", "RW-1019"),
    ForwardPath("R23", "mixed-bang-at", "<{l}!{p}@{d}>", "RW-1019"),
    ForwardPath("R24", "encapsulated", "<IMCEASMTP-{p}+40{d_encapsulated}@{t}>", "RW-1010"),
    ForwardPath("R25", "quoted-list", '<"{r}@{d}, {p}@{d}"@{l}>', "RW-1011"),
    ForwardPath("R26", "address-literal", "<{p}@{literal}>", "RW-1012"),
    ForwardPath("R27", "numeric-domain", "<{p}@{number}>", "RW-1012"),
    ForwardPath("R28", "trailing-dot", "<{p}@{n}.>", "RW-1013"),
    ForwardPath("R29", "no-brackets", "{p}@{d}", "RW-1013"),
    ForwardPath("R29", "double-brackets", "<<{p}@{d}>>", "RW-1013"),
    ForwardPath("R29", "display-name", '"{r}" <{p}@{d}>', "RW-1013"),
    ForwardPath("R29", "comment", "<{p}@{d} (relaywatch)>", "RW-1013"),
    ForwardPath("R30", "mx-pointing", "<{p}@{x}>", "RW-1015"),
    ForwardPath("R31", "parent-domain", "<{p}@{r}.{l}>", "RW-1018", is_weak=True),
    ForwardPath("R32", "second-recipient", "<{p}@{d}>", "RW-1016", after_local=True),
    ForwardPath("R33", "notify-parameter", "<{p}@{d}>", "RW-1017", "NOTIFY=NEVER", "DSN"),
    ForwardPath("R33", "orcpt-parameter", "<{p}@{d}>", "RW-1017", "ORCPT=rfc822;{r}@{t}", "DSN"),
    ForwardPath("R33", "bdat", "<{p}@{d}>", "RW-1017", "", "CHUNKING"),
)
PLAIN = FORWARD_PATHS[0]

REVERSE_PATHS: tuple[ReversePath, ...] = (
    ReversePath("S2", "ours", "<{p}@{d}>", "RW-1001", is_ours=True),
    ReversePath("S1", "null", "<>", "RW-1003", is_ours=True),
    ReversePath("S4", "target-name", "<{p}@{t}>", "RW-1002", is_ours=False),
    ReversePath("S6", "hosted", "<{p}@{l}>", "RW-1002", is_ours=False),
    ReversePath("S3", "second-domain", "<{p}@{d2}>", "RW-1001", is_ours=True),
    ReversePath("S7", "postmaster", "<postmaster@{t}>", "RW-1002", is_ours=False),
    ReversePath("S8", "localhost", "<{p}@localhost>", "RW-1002", is_ours=False),
    ReversePath("S9", "unqualified", "<{p}>", "RW-1002", is_ours=False),
    ReversePath("S10", "routed", "<@{t}:{p}@{d}>", "RW-1002", is_ours=True),
    ReversePath("S11", "percent-routed", "<{p}%{d}@{t}>", "RW-1002", is_ours=False),
    ReversePath("S12", "unresolvable", "<{p}@{r}.invalid>", "RW-1001", is_ours=True),
    ReversePath("S13", "no-brackets", "{p}@{d}", "RW-1013", is_ours=True),
    ReversePath("S13", "space-after-colon", " <{p}@{d}>", "RW-1013", is_ours=True),
    ReversePath("S5", "literal", "<{p}@{i}>", "RW-1002", is_ours=False),
)
OURS = REVERSE_PATHS[0]

HELO_FORMS: tuple[HeloForm, ...] = (
    HeloForm("own", "EHLO", "{ehlo_name}", "RW-1001"),
    HeloForm("helo", "HELO", "{ehlo_name}", "RW-1017"),
    HeloForm("target-name", "EHLO", "{t}", "RW-1004"),
    HeloForm("hosted", "EHLO", "{l}", "RW-1004"),
    HeloForm("localhost", "EHLO", "localhost", "RW-1004"),
    HeloForm("localhost-localdomain", "EHLO", "localhost.localdomain", "RW-1004"),
    HeloForm("loopback-literal", "EHLO", "[127.0.0.1]", "RW-1004"),
    HeloForm("target-literal", "EHLO", "{i}", "RW-1004"),
    HeloForm(
        "xclient-loopback",
        "EHLO",
        "{ehlo_name}",
        "RW-1024",
        "XCLIENT ADDR=127.0.0.1 NAME=localhost",
        "XCLIENT",
    ),
    HeloForm("xclient-login", "EHLO", "{ehlo_name}", "RW-1024", "XCLIENT LOGIN=postmaster", "XCLIENT"),
)
OWN = HELO_FORMS[0]

BEHIND_HEADER = HeloForm("proxy-header", "EHLO", "{ehlo_name}", "RW-1024")
"""In place of `OWN` at a door that answers only behind a PROXY header, which claims to be loopback."""
PROXY_HEADER = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 25"
"""The claim, in the words of the PROXY protocol's version 1."""
