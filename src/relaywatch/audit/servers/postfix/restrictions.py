"""Restriction lists as smtpd_check.c evaluates them (SMTPD_ACCESS_README), for one stranger.

Every list may refuse; only the relay and recipient lists together let somebody through. What can only refuse by an
outside judgement (blocklists, policy services, databases) isn't relay control: a stranger of good reputation
passes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import NEVER, Way
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.placed import Placed
from relaywatch.audit.strangers import Stranger

from .addressing import address_keys
from .destinations import Destinations
from .lists import DomainList, HostList, Match, items
from .parameters import Parameters
from .tables import Row, Table, Tables
from .trust import Certificates
from .vocabulary import (
    DUNNO,
    FULL_NAMES,
    GOES_ON,
    LEADS_NOWHERE,
    LOOKUPS,
    MET,
    OK,
    PLAIN,
    REFUSING_LOOKUPS,
    REJECT,
    WITH_ARGUMENT,
    Branch,
    Stage,
    Status,
    Walk,
    is_naked,
    is_refusal,
)

_MOST_RECURSION = 100
_MOST_OPEN = 16


@dataclass(slots=True)
class Restrictions:
    """The restrictions of one service."""

    parameters: Parameters
    tables: Tables
    destinations: Destinations
    mynetworks: HostList
    certificates: Certificates
    classes: dict[str, list[Placed]]
    allowed: AddressSet
    trust_rule: str = "pf-net-all"
    neighbours: Cause | None = None
    """The style by which the networks beside this host are trusted, if they are."""
    _words: dict[str, list[Placed]] = field(default_factory=dict)
    _answers: dict[tuple[int, str], Row | Gap | None] = field(default_factory=dict)

    def words(self, name: str) -> list[Placed]:
        """A list's words."""
        if name not in self._words:
            self._words[name] = list(self.parameters.value(name).words())
        return self._words[name]

    def evaluate(self, stage: Stage, stranger: Stranger) -> list[Branch]:
        """The ways in which a stranger gets past a list; none if he is refused."""
        branches = self.followed(self.words(stage.name), Walk(stage, stranger))
        return [branch for branch in branches if branch.status is not Status.REJECT]

    def followed(self, words: list[Placed], walk: Walk) -> list[Branch]:
        """The ways through these words: OK and REJECT end them."""
        if walk.depth > _MOST_RECURSION:
            return [REJECT]
        done: list[Branch] = []
        open_ways = [DUNNO]
        index = 0
        while index < len(words) and open_ways:
            warns = words[index].text.lower() == "warn_if_reject"
            index += warns
            if index >= len(words):
                break
            branches, taken = self._one(words, index, replace(walk, warns=walk.warns or warns))
            index += taken
            ways = [branch.after(before) for before in open_ways for branch in branches]
            done.extend(way for way in ways if way.status is not Status.DUNNO)
            open_ways = list(dict.fromkeys(way for way in ways if way.status is Status.DUNNO))[:_MOST_OPEN]
        return [*done, *open_ways]

    def _one(self, words: list[Placed], index: int, walk: Walk) -> tuple[list[Branch], int]:
        """What one restriction says, and how many words it takes."""
        word = words[index]
        name, argument, taken = word.text.lower(), None, 1
        if ":" in name:
            name, argument = walk.stage.default_lookup, word
        elif name in LOOKUPS or name in WITH_ARGUMENT or name.endswith(REFUSING_LOOKUPS):
            if index + 1 >= len(words):
                return [REJECT], 1
            argument, taken = words[index + 1], 2
        branches = self._said(name, word, argument, walk)
        if walk.warns:
            branches = [
                DUNNO if one.status is Status.REJECT else replace(one, defers=False) for one in branches
            ]
        return branches, taken

    def _said(self, name: str, word: Placed, argument: Placed | None, walk: Walk) -> list[Branch]:
        if argument is not None:
            return self._said_of(name, word, argument, walk)
        if name in MET:
            return [DUNNO]
        if name in PLAIN:
            plain = PLAIN[name]
            return [_because(plain, Cause(name, word.position)) if plain is OK else plain]
        if name in _ASKED:
            return list(_ASKED[name](self, word, walk))
        if word.text in self.classes:
            return self.followed(self.classes[word.text], replace(walk, depth=walk.depth + 1))
        return [REJECT]  # an unknown restriction is a server configuration error to everybody who gets to it

    def _said_of(self, name: str, word: Placed, argument: Placed, walk: Walk) -> list[Branch]:
        if name in LOOKUPS:
            return self._looked_up(name, word, argument, walk)
        if name == "check_policy_service":
            gap = self.tables.gap(GapKind.EXTERNAL, f"{name} {argument.text}", argument.position)
            cause = Cause(f"{name} {argument.text}"[:200], word.position, "pf-relay-order")
            return [DUNNO, Branch(Status.OK, Way(gaps=frozenset({gap}), causes=(cause,)))]
        return [DUNNO if name in WITH_ARGUMENT or name.endswith(REFUSING_LOOKUPS) else REJECT]

    # --- about the client ------------------------------------------------------------------------

    def permit_mynetworks(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Whether he is in mynetworks; one who gets to a pattern that is none is put off."""
        client = walk.stranger.client
        if client.is_neighbour and self.neighbours is not None:
            yield _because(OK, self.neighbours)
            return
        found = self.mynetworks.find(client.address, client.name)
        if isinstance(found, Gap):
            if found.kind is GapKind.SYNTAX:
                yield REJECT
            else:
                cause = Cause(f"mynetworks = {self.parameters.text('mynetworks')}"[:200], found.position)
                yield DUNNO
                yield Branch(Status.OK, Way(gaps=frozenset({found}), causes=(cause,)))
        elif found is None:
            yield DUNNO
        else:
            yield _because(OK, *self._trust(found, walk, word))

    def _trust(self, found: Match, walk: Walk, word: Placed) -> Iterator[Cause]:
        """What to blame: the list, unless he lies about his address."""
        said = self.parameters.text("mynetworks")
        how, client_version = walk.stranger.client.how, walk.stranger.client.address.version
        rule = {None: self.trust_rule, ClaimKind.FRONT_END: "pf-net-gateway"}.get(how, "")
        if rule == "pf-net-all" and client_version == 6 and self._is_narrow(4):
            rule = "pf-net-ipv6"
        written = self.parameters.position("mynetworks")
        position = found.item.position if walk.stranger.client.claims else written or found.item.position
        yield Cause(f"mynetworks = {said}"[:200] if said else word.text, position, rule)
        if found.row is not None:
            yield Cause(found.row.text[:200], found.row.position)

    def _is_narrow(self, version: int) -> bool:
        return self.mynetworks.addresses().has_strangers(version, self.allowed) == NEVER

    def permit_inet_interfaces(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Its own addresses only, and so whoever comes through a front end on the same machine."""
        client = walk.stranger.client
        is_own = client.how is not None and client.address.is_loopback
        yield _because(OK, Cause(word.text, word.position, "pf-net-gateway")) if is_own else DUNNO

    def permit_sasl_authenticated(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """He has no password; but XCLIENT asks for none, and neither does the mechanism ANONYMOUS."""
        asks = self.parameters.is_yes("smtpd_sasl_auth_enable")
        is_in = walk.stranger.client.is_logged_in and asks
        yield _because(OK, Cause(word.text, word.position)) if is_in else DUNNO
        options = self.parameters.value("smtpd_sasl_security_options")
        if asks and not is_in and not any(one.text.lower() == "noanonymous" for one in options.words()):
            subject = "whether the mechanisms are without ANONYMOUS: no noanonymous"
            gap = self.tables.gap(GapKind.EXTERNAL, subject, options.position)
            yield Branch(Status.OK, Way(gaps=frozenset({gap}), causes=(Cause(word.text, word.position),)))

    def permit_naked_ip_address(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Whoever greets with an address (until Postfix 3.8)."""
        says = "greeting" in walk.stage.knows and is_naked(walk.stranger.greeting.text or "")
        yield _because(OK, Cause(word.text, word.position, "pf-relay-order-helo")) if says else DUNNO

    def permit_tls_all_clientcerts(self, word: Placed, _walk: Walk) -> Iterator[Branch]:
        """Whoever shows a trusted certificate."""
        yield DUNNO
        for way in self.certificates.trusted():
            cause = Cause(word.text, word.position, "pf-tls-cert")
            yield Branch(Status.OK, Way(causes=(cause,)).joined(way))

    def permit_tls_clientcerts(self, word: Placed, _walk: Walk) -> Iterator[Branch]:
        """Whose certificate is in relay_clientcerts."""
        yield DUNNO
        if self.certificates.takes_any():
            claim = Claim(ClaimKind.CERTIFICATE, "of his own making")
            cause = Cause(word.text, word.position, "pf-tls-cert")
            yield Branch(Status.OK, Way(frozenset({claim}), causes=(cause,)))

    def reject_plaintext_session(self, _word: Placed, _walk: Walk) -> Iterator[Branch]:
        """He encrypts, if he can."""
        yield DUNNO if self.certificates.offers_tls else REJECT

    # --- about the forward-path ------------------------------------------------------------------

    def reject_unauth_destination(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Whether the forward-path is another's."""
        if "recipient" not in walk.stage.knows:
            yield DUNNO
            return
        found = self.destinations.find(walk.stranger.recipient.text or "")
        if found is None:
            yield REJECT
            return
        gaps = frozenset({found.gap}) if found.gap else frozenset()
        causes = (found.cause or Cause(word.text, word.position),)
        yield Branch(Status.DUNNO, Way(gaps=gaps, causes=causes))

    def permit_auth_destination(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Lets through what is its own, and has nothing to say of anything else."""
        yield DUNNO
        if "recipient" in walk.stage.knows:
            for branch in self.reject_unauth_destination(word, walk):
                if branch.status is Status.DUNNO:
                    yield replace(branch, status=Status.OK)

    def check_relay_domains(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """In old words; it permits what it doesn't refuse, and clients of relay_domains as smtpd itself has them."""
        own = DomainList(
            tuple(items(self.parameters.value("relay_domains"), self.tables)),
            is_of_strings=False,
            matches_subdomains=True,
        )
        if isinstance(found := own.find(walk.stranger.client.name), Match):
            yield _because(OK, Cause(word.text, found.item.position, "pf-dom-wide"))
            return
        for branch in self.reject_unauth_destination(word, walk):
            yield replace(branch, status=Status.OK) if branch.status is Status.DUNNO else branch

    def permit_mx_backup(self, word: Placed, walk: Walk) -> Iterator[Branch]:
        """Whatever domain names this server as an MX, if its first MX is in the networks that are given."""
        yield DUNNO
        if "recipient" not in walk.stage.knows:
            return
        value = self.parameters.value("permit_mx_backup_networks")
        networks = HostList(tuple(items(value, self.tables)), matches_subdomains=True).addresses()
        strangers = [networks.has_strangers(version, self.allowed) != NEVER for version in (4, 6)]
        if not value.text or any(strangers):
            claim = Claim(ClaimKind.DNS, f"{self.parameters.text('myhostname')} as an MX of his own domain")
            cause = Cause(word.text, word.position, "pf-mxbackup")
            yield Branch(Status.OK, Way(frozenset({claim}), causes=(cause,)))

    # --- access tables ---------------------------------------------------------------------------

    def _looked_up(self, name: str, word: Placed, argument: Placed, walk: Walk) -> list[Branch]:
        about = LOOKUPS[name]
        if about in {"login", "etrn", "refusing"} or not self._is_said(about, walk):
            return [DUNNO]
        found = self._found(about, self.tables.open(argument), walk.stranger)
        if found is None:
            return [DUNNO]
        rule = "pf-relay-order" if about in {"client", "certificate"} else f"pf-relay-order-{_WORDS[about]}"
        if about == "sender" and not walk.stranger.sender.text:
            rule = "pf-relay-order-null"
        cause = Cause(f"{name} {argument.text}"[:200], word.position, rule)
        if isinstance(found, Row) and "$" in found.value.partition(" ")[0]:
            found = self.tables.gap(GapKind.NOT_EVALUATED, found.text, found.position)
        if isinstance(found, Gap):
            return [DUNNO, Branch(Status.OK, Way(gaps=frozenset({found}), causes=(cause,)))]
        causes = (
            (cause, Cause(found.text[:200], found.position)) if found.position != word.position else (cause,)
        )
        return self._acted(found.value, word, causes, walk)

    def _is_said(self, about: str, walk: Walk) -> bool:
        if about == "certificate":
            return self.certificates.asks
        if about == "client":
            return True
        return about in walk.stage.knows and getattr(walk.stranger, about).text is not None

    def _acted(self, value: str, word: Placed, causes: tuple[Cause, ...], walk: Walk) -> list[Branch]:
        """What a row's action comes to (access(5)); a restriction's name, or several, are evaluated in its place."""
        action, _, text = value.replace("\t", " ").partition(" ")
        action = action.lower()
        if action in GOES_ON:
            return [DUNNO]
        if action == "defer_if_permit":
            return [replace(DUNNO, defers=True)]
        if action in LEADS_NOWHERE or is_refusal(action, text) or not value:
            return [REJECT]
        if action in {"ok", "relay"} or value.isdecimal() or not value.strip(", "):
            return [_because(OK, *causes)]
        if ":" in value:
            return [REJECT]  # "do not specify lookup tables inside SMTPD access maps"
        words = list(Placed(value, ((0, word.position),)).words())
        inner = self.followed(words, replace(walk, depth=walk.depth + 1))
        return [_blamed(one, causes) if one.status is Status.OK else one for one in inner]

    def _found(self, about: str, table: Table, stranger: Stranger) -> Row | Gap | None:
        for key in self._keys(about, table, stranger):
            asked = id(table), key
            if asked not in self._answers:
                self._answers[asked] = table.lookup(key)
            if (found := self._answers[asked]) is not None:
                return found
        return None

    def _keys(self, about: str, table: Table, stranger: Stranger) -> Iterator[str]:
        """What a table is asked, in order."""
        if about == "client":
            yield from self._domain_keys(stranger.client.name, table)
            yield from address_keys(str(stranger.client.address), table)
        elif about == "certificate":
            yield "a fingerprint of his own making"
        elif about == "greeting":
            yield from self._domain_keys(stranger.greeting.text or "", table)
        elif about == "sender" and not stranger.sender.text:
            yield self.parameters.text("smtpd_null_access_lookup_key")
        else:
            said = stranger.sender if about == "sender" else stranger.recipient
            yield from self._mail_keys(said.text or "", table)

    def _domain_keys(self, name: str, table: Table) -> Iterator[str]:
        yield name
        rest = name
        parents = "smtpd_access_maps" in self.parameters.text("parent_domain_matches_subdomains")
        while table.is_keyed and "." in rest and not is_naked(name):
            _, _, rest = rest.partition(".")
            if rest:
                yield rest if parents else f".{rest}"

    def _mail_keys(self, address: str, table: Table) -> Iterator[str]:
        address = self.destinations.resolved(address)
        local, _, domain = address.rpartition("@")
        yield address
        if not table.is_keyed:
            return
        plain = local
        for delimiter in self.parameters.text("recipient_delimiter"):
            plain = plain.split(delimiter)[0] or plain
        yield f"{plain}@{domain}"
        yield from self._domain_keys(domain, table)
        yield f"{local}@"
        yield f"{plain}@"


_WORDS = {"greeting": "helo", "sender": "sender", "recipient": "recipient"}


def _full_name(_restrictions: Restrictions, word: Placed, walk: Walk) -> Iterator[Branch]:
    about = FULL_NAMES[word.text.lower()]
    said = getattr(walk.stranger, about).text if about in walk.stage.knows else None
    yield REJECT if said and "." not in said.rpartition("@")[2] else DUNNO


_ASKED: dict[str, Callable[[Restrictions, Placed, Walk], Iterator[Branch]]] = {
    method.__name__: method
    for method in (
        Restrictions.check_relay_domains,
        Restrictions.permit_auth_destination,
        Restrictions.permit_inet_interfaces,
        Restrictions.permit_mx_backup,
        Restrictions.permit_mynetworks,
        Restrictions.permit_naked_ip_address,
        Restrictions.permit_sasl_authenticated,
        Restrictions.permit_tls_all_clientcerts,
        Restrictions.permit_tls_clientcerts,
        Restrictions.reject_plaintext_session,
        Restrictions.reject_unauth_destination,
    )
}
_ASKED |= {"defer_unauth_destination": Restrictions.reject_unauth_destination}
_ASKED |= dict.fromkeys(FULL_NAMES, _full_name)


def _because(branch: Branch, *causes: Cause) -> Branch:
    return replace(branch, way=branch.way.because(*causes))


def _blamed(branch: Branch, causes: tuple[Cause, ...]) -> Branch:
    """The table that named a restriction is to blame only if the restriction itself is none."""
    blamed = tuple(replace(cause, rule="") for cause in causes) if _has_rule(branch) else causes
    return replace(branch, way=Way(causes=blamed).joined(branch.way))


def _has_rule(branch: Branch) -> bool:
    return any(cause.rule for cause in branch.way.causes)
