"""One smtpd listener: whether strangers get through its restriction lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way, shortest
from relaywatch.audit.findings import Cause, Gap, GapKind, Position
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.strangers import (
    ANYBODY,
    GREETING,
    OUTSIDE_DOMAINS,
    Client,
    Said,
    Stranger,
    typical,
    unless,
)
from relaywatch.audit.trying import TooManyError, tried

from .candidates import Candidates, neighbour, through
from .destinations import Destinations
from .lists import DomainList, HostList, items
from .parameters import Parameters
from .restrictions import Restrictions
from .tables import Tables
from .trust import Certificates
from .vocabulary import REFUSING, Branch, Stage, Status, Walk

_RELAY, _RECIPIENT = "smtpd_relay_restrictions", "smtpd_recipient_restrictions"
_LISTS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    _RELAY,
    _RECIPIENT,
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
)
_PROPER = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"
_MOST_TRIED = 3_000
_SUBMISSION = frozenset({"submission", "submissions", "smtps", "465", "587", "2525"})


@dataclass(frozen=True, slots=True)
class Listener:
    """What is evaluated: a service's parameters, and who reaches it."""

    parameters: Parameters
    rewriting: Parameters
    """Those of the service that tells its addresses' classes."""
    port: str
    versions: tuple[int, ...]
    front_ends: tuple[FrontEnd, ...]
    only_front_ends: bool
    proxy_header: Cause | None
    """That whoever connects may send a PROXY header."""


@dataclass(slots=True)
class Smtpd:
    """One listener's evaluation."""

    listener: Listener
    setup: Setup
    tables: Tables
    restrictions: Restrictions

    @classmethod
    def of(cls, listener: Listener, setup: Setup, tables: Tables) -> Smtpd:
        """Read its lists."""
        parameters = listener.parameters
        classes = {
            name.text: list(parameters.value(name.text).words())
            for name in parameters.value("smtpd_restriction_classes").words()
        }
        networks, neighbours = _mynetworks(parameters, tables)
        restrictions = Restrictions(
            parameters,
            tables,
            Destinations(parameters, listener.rewriting, tables, _domains(listener.rewriting, tables)),
            networks,
            Certificates(parameters, tables),
            classes,
            setup.allowed,
            trust_rule=_trust_rule(listener),
            neighbours=neighbours,
        )
        return cls(listener, setup, tables, restrictions)

    @property
    def parameters(self) -> Parameters:
        """Its parameters."""
        return self.listener.parameters

    def down(self) -> Cause | None:
        """That smtpd refuses to start: it can't read a list, or neither has a working refusal (smtpd_check.c)."""
        for name, words in self.restrictions.classes.items():
            if not words:
                position = self.parameters.position("smtpd_restriction_classes")
                return Cause(f"restriction class {name} needs a definition", position, "pf-syntax")
        for word in self.parameters.value("mynetworks").words():
            bare = word.text.lstrip("!")
            if not bare or bare.startswith(":"):
                return Cause(f"mynetworks: {word.text}", word.position, "pf-syntax")
        if any(self._refuses_somebody(self.restrictions.words(name)) for name in (_RELAY, _RECIPIENT)):
            return None
        for name in (_RELAY, _RECIPIENT):
            if self.parameters.is_set(name):
                text = f"{name} = {self.parameters.text(name)}"[:200]
                return Cause(text, self.parameters.position(name), "pf-relay-noreject")
        return Cause(f"{_RELAY} is empty at this compatibility_level", self._level, "pf-relay-noreject")

    def _refuses_somebody(self, words: list[Placed], depth: int = 0) -> bool:
        skip = False
        for index, word in enumerate(words):
            name = word.text.lower()
            if skip:
                skip = False
            elif name == "warn_if_reject" and index + 1 < len(words):
                skip = True
            elif name == "permit":
                return False
            elif name in REFUSING or (
                depth < len(self.restrictions.classes) + 1
                and self._refuses_somebody(self.restrictions.classes.get(word.text, []), depth + 1)
            ):
                return True
        return False

    @property
    def _level(self) -> Position | None:
        return self.parameters.position("compatibility_level")

    # --- strangers -------------------------------------------------------------------------------

    def ways(self) -> tuple[Way, ...]:
        """The shortest ways through, of strangers with few claims first."""
        needs = frozenset({"client"}) if self.listener.only_front_ends else frozenset()
        try:
            return tried(self._strangers(), self.through, most=_MOST_TRIED, needs=needs)
        except TooManyError as error:
            self.setup.note(Gap(GapKind.TOO_MANY, "ways through the restrictions", self._level))
            return error.found

    def _strangers(self) -> Iterator[tuple[Stranger, dict[str, list[Client | Said]]]]:
        """Just anybody of each family, and what others are or say instead."""
        candidates = Candidates(self.restrictions, _LISTS, self.setup.allowed)
        sets = candidates.address_sets()
        said: dict[str, list[Client | Said]] = {
            "sender": list(candidates.senders()),
            "greeting": [*self._silent(), *candidates.greetings()],
            "recipient": list(candidates.recipients()),
        }
        destinations = self.restrictions.destinations
        outside = [one for one in OUTSIDE_DOMAINS if destinations.find(f"someone@{one}") is None]
        nowhere = [one for one in outside if not candidates.knows(one)]
        domain = [*nowhere, *outside, *OUTSIDE_DOMAINS][0]
        for version in self.listener.versions:
            anywhere = typical(version, sets, self.setup.allowed)
            claims = frozenset(unless(version, anywhere, sets, self.setup.allowed))
            client = Client(anywhere, claims=claims)
            anybody = Stranger(client, Said(GREETING), Said(ANYBODY), _somebody(domain))
            yield anybody, {"client": [*self._clients(candidates, version, sets, anybody.client)], **said}

    def _silent(self) -> Iterator[Said]:
        """No greeting at all, where none is asked for: then the HELO restrictions aren't evaluated."""
        if not self.parameters.is_yes("smtpd_helo_required"):
            yield Said(None, frozenset({Claim(ClaimKind.HELO, GREETING, negated=True)}))

    def _clients(
        self, candidates: Candidates, version: int, sets: list[AddressSet], anybody: Client
    ) -> Iterator[Client]:
        yield from through(self.listener.front_ends, version, sets)
        yield from self._said_by_xclient(candidates, version, anybody)
        if self.listener.only_front_ends:
            return
        yield from candidates.clients(version, sets)
        yield from candidates.named(anybody.address)
        if self.restrictions.neighbours is not None:
            yield neighbour(
                anybody.address, f"{self.parameters.text('mynetworks_style')} of the server's own address"
            )
        if self.listener.proxy_header is not None:
            yield from candidates.lying(ClaimKind.PROXY_HEADER, self.listener.proxy_header)

    def _said_by_xclient(self, candidates: Candidates, version: int, anybody: Client) -> Iterator[Client]:
        """Who may say that he is another: strangers in the list, however they come."""
        name = "smtpd_authorized_xclient_hosts"
        value = self.parameters.value(name)
        if not value.text:
            return
        hosts = HostList(tuple(items(value, self.tables)), _matches_subdomains(self.parameters, name))
        coming = [*through(self.listener.front_ends, version, [hosts.addresses()])]
        if not self.listener.only_front_ends:
            coming += [anybody, *candidates.clients(version, [hosts.addresses()])]
            coming += candidates.with_names(hosts.names(), anybody.address)
        for client in coming:
            found = hosts.find(client.address, client.name)
            if isinstance(found, Gap):
                if found.kind not in {GapKind.SYNTAX, GapKind.MISSING}:  # of which Postfix hangs up
                    self.setup.harmless.discard(found)
            elif found is not None:
                cause = Cause(f"{name} = {value.text}"[:200], found.item.position, "pf-xclient")
                for liar in candidates.lying(ClaimKind.XCLIENT, cause):
                    yield replace(
                        liar, claims=liar.claims | client.claims, causes=(*client.causes, *liar.causes)
                    )

    # --- lists -----------------------------------------------------------------------------------

    def through(self, stranger: Stranger) -> list[Way]:
        """The ways in which this stranger's message is taken; none if he is refused, or it is thrown away."""
        if self.restrictions.destinations.goes_nowhere(stranger.recipient.text or ""):
            return []
        own = Way(stranger.claims, causes=stranger.client.causes)
        certified = self.restrictions.certificates.required()
        ways = [(own.joined(Way(way.claims, way.gaps)), False) for way in certified]
        for stage in self._stages(stranger):
            branches = self.restrictions.evaluate(stage, stranger)
            if stage.name == _RELAY:
                branches = [self._blamed(branch, stranger) for branch in branches]
            decides = stage.name in {_RELAY, _RECIPIENT}
            ways = [
                (before.joined(branch.way if decides else Way(branch.way.claims, branch.way.gaps)), later)
                for before, defers in ways
                for branch in branches
                if not (later := defers or branch.defers) or stage.name != _RECIPIENT
            ]
        return list(shortest(way for way, _ in ways))

    def _stages(self, stranger: Stranger) -> Iterator[Stage]:
        delayed = self.parameters.is_yes("smtpd_delay_reject")
        everything = Stage("").knows
        yield Stage(_LISTS[0], "check_client_access", everything if delayed else frozenset())
        if stranger.greeting.text is not None:
            yield Stage(_LISTS[1], "check_helo_access", everything if delayed else frozenset({"greeting"}))
        yield Stage(_LISTS[2], "check_sender_access", everything if delayed else everything - {"recipient"})
        yield Stage(_RELAY, "check_recipient_access")
        yield Stage(_RECIPIENT, "check_recipient_access")
        alone = self.parameters.text("smtpd_recipient_limit") == "1"
        knows = everything if alone else everything - {"recipient"}
        yield Stage(_LISTS[5], knows=knows)
        yield Stage(_LISTS[6], knows=knows)

    def _blamed(self, branch: Branch, stranger: Stranger) -> Branch:
        """The relay list is to blame if a proper one would have refused him."""
        known = branch.way.gaps or any(cause.rule for cause in branch.way.causes)
        if known or self._passes_a_proper_list(stranger):
            return branch
        if branch.status is Status.OK:
            rule, text = "pf-relay-order", f"{_RELAY} = {self.parameters.text(_RELAY)}"
        else:
            rule, text = "pf-relay-empty", f"{_RELAY} = {self.parameters.text(_RELAY)}".strip()
        position = self.parameters.position(_RELAY) or self._level
        cause = Cause(text[:200], position, rule)
        return Branch(branch.status, Way(causes=(cause,)).joined(branch.way), branch.defers)

    def _passes_a_proper_list(self, stranger: Stranger) -> bool:
        words = list(Placed(_PROPER).words())
        branches = self.restrictions.followed(words, Walk(Stage(_RELAY, "check_recipient_access"), stranger))
        return any(branch.status is not Status.REJECT and not branch.way.gaps for branch in branches)


def _somebody(domain: str) -> Said:
    """Somebody elsewhere, and not in the usual domain if that is treated apart."""
    passed_over = OUTSIDE_DOMAINS[: OUTSIDE_DOMAINS.index(domain)]
    denied = (Claim(ClaimKind.FORWARD_PATH, f"someone@{one}", negated=True) for one in passed_over)
    return Said(f"someone@{domain}", frozenset(denied))


def _matches_subdomains(parameters: Parameters, name: str) -> bool:
    """Whether a domain in this list means those below it."""
    return name in {one.text for one in parameters.value("parent_domain_matches_subdomains").words()}


def _domains(rewriting: Parameters, tables: Tables) -> dict[str, DomainList]:
    lists = {
        name: DomainList(tuple(items(rewriting.value(name), tables)))
        for name in ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")
    }
    lists["relay_domains"] = DomainList(
        tuple(items(rewriting.value("relay_domains"), tables)),
        _matches_subdomains(rewriting, "relay_domains"),
        is_of_strings=False,
    )
    return lists


def _mynetworks(parameters: Parameters, tables: Tables) -> tuple[HostList, Cause | None]:
    """mynetworks, or what the style makes of it: this host, and the networks beside it, whatever they are."""
    subdomains = _matches_subdomains(parameters, "mynetworks")
    if parameters.is_set("mynetworks"):
        return HostList(tuple(items(parameters.value("mynetworks"), tables)), subdomains), None
    own = HostList(tuple(items(Placed("127.0.0.0/8 [::1]/128"), tables)), subdomains)
    style = parameters.text("mynetworks_style").lower()
    if style == "host" or parameters.text("inet_interfaces").lower() in {
        "loopback-only",
        "localhost",
        "127.0.0.1",
    }:
        return own, None
    position = parameters.position("mynetworks_style") or parameters.position("compatibility_level")
    return own, Cause(f"mynetworks_style = {style}", position, "pf-net-style")


def _trust_rule(listener: Listener) -> str:
    if not listener.parameters.is_overridden("mynetworks"):
        return "pf-net-all"
    return "pf-submission" if listener.port in _SUBMISSION else "pf-master-o"


def everybody(parameters: Parameters) -> tuple[int, ...]:
    """The families that it listens on."""
    protocols = parameters.text("inet_protocols").lower()
    versions = [version for version in (4, 6) if f"ipv{version}" in protocols or "all" in protocols]
    return tuple(versions) or (4, 6)
