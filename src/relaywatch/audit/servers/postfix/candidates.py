"""What is worth claiming: for every row and list that may let somebody through, a stranger who is meant by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.patterns import sample
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import FrontEnd
from relaywatch.audit.strangers import (
    ANYBODY,
    ANYBODY_ELSE,
    GREETING,
    GREETING_ELSE,
    UNNAMED,
    Client,
    Said,
    claiming,
    regions,
    wide_clients,
)
from relaywatch.model.places import Address

from .addressing import addresses_of_all
from .lists import is_name
from .restrictions import Restrictions
from .tables import Row, Table, matches
from .vocabulary import LEADS_NOWHERE, LOOKUPS, is_refusal

_MOST_OF_A_KIND = 3
_MOST_OF_A_TABLE = 12
_MOST_ADDRESSES = 4
_MOST_CLIENTS = 24
_REFUSED = LEADS_NOWHERE | {"defer_if_permit"}
_DOMAIN = "anywhere.example"
_UNQUOTED = frozenset(' "(),:;<>@[\\]')
_NEUTERED = frozenset('<>()\\";@ ')
"""What smtpd replaces in a HELO name."""
_BARE = {
    "smtpd_client_restrictions": "client",
    "smtpd_helo_restrictions": "greeting",
    "smtpd_sender_restrictions": "sender",
    "smtpd_relay_restrictions": "recipient",
    "smtpd_recipient_restrictions": "recipient",
}
"""What a table without a restriction's name before it is asked about."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The strangers of one service."""

    restrictions: Restrictions
    lists: tuple[str, ...]
    allowed: AddressSet

    def lookups(self) -> Iterator[tuple[str, Table]]:
        """Every access table in the lists and their classes, with what it is asked about."""
        classes = [word for words in self.restrictions.classes.values() for word in words]
        seen: set[tuple[str, str]] = set()
        for stage, words in [
            *((name, self.restrictions.words(name)) for name in self.lists),
            *((name, classes) for name in self.lists if classes),
        ]:
            for word, following in zip(words, [*words[1:], Placed()], strict=False):
                about, table = LOOKUPS.get(word.text.lower()), following
                if about is None and ":" in word.text:
                    about, table = _BARE.get(stage), word
                if about and table.text and (about, table.text) not in seen:
                    seen.add((about, table.text))
                    yield about, self.restrictions.tables.open(table)

    def rows(self, wanted: str) -> Iterator[Row]:
        """The rows that don't refuse of the tables that are asked about this."""
        for about, table in self.lookups():
            for row in table.rows() if about == wanted else ():
                if _refuses(row.value):
                    continue
                if row.pattern is not None and not row.pattern.is_negated and not _is_read(row):
                    gap = Gap(GapKind.NOT_EVALUATED, row.key[:200], row.position)
                    self.restrictions.tables.setup.note(gap)
                yield row

    def address_sets(self) -> list[AddressSet]:
        """Sets of addresses that make a difference, all of mynetworks first."""
        rows: dict[str, list[Row]] = {}
        for about, table in self.lookups():
            for row in table.rows() if about == "client" else ():
                rows.setdefault(row.value, []).append(row)
        sets = [self.restrictions.mynetworks.addresses(), *map(addresses_of_all, rows.values())]
        return [one for one in sets if one]

    def clients(self, version: int, sets: list[AddressSet]) -> Iterator[Client]:
        """Clients of a family that aren't just anybody."""
        seen: set[frozenset[Claim]] = set()
        for one in regions(sets):
            for client in wide_clients(version, one, self.allowed, _MOST_ADDRESSES):
                if client.claims not in seen and len(seen) < _MOST_CLIENTS:
                    seen.add(client.claims)
                    yield client

    def named(self, anywhere: Address) -> Iterator[Client]:
        """Clients whose address has a name that is let in."""
        names = self._names()
        yield from self.with_names(names, anywhere)
        if names or self._asks("client"):
            yield Client(
                anywhere, GREETING_ELSE, frozenset({Claim(ClaimKind.CLIENT_NAME, UNNAMED, negated=True)})
            )

    def _names(self) -> list[str]:
        names = [*self.restrictions.mynetworks.names()]
        names += [row.key for row in self.rows("client") if row.network is None and row.pattern is None]
        for row in self.rows("client"):
            if row.pattern is not None and not row.pattern.is_negated:
                names.append(sample(row.pattern.expression) or "")
        return names

    def with_names(self, names: Iterable[str], anywhere: Address) -> Iterator[Client]:
        """Clients whose address has such a name."""
        fitting = [name.lower() for name in names if is_name(name.strip(".")) and name != UNNAMED]
        for name in list(dict.fromkeys(fitting))[:_MOST_OF_A_TABLE]:
            claim = Claim(ClaimKind.CLIENT_NAME, name)
            yield Client(anywhere, f"a{name}" if name.startswith(".") else name, frozenset({claim}))

    def lying(self, kind: ClaimKind, cause: Cause) -> Iterator[Client]:
        """Clients who may say which address they have, and say a trusted one; by XCLIENT a name too, or a login."""
        form = "TCP{0} {1}" if kind is ClaimKind.PROXY_HEADER else "ADDR={1}"
        rows = [row for row in self.rows("client") if row.pattern is None]
        trusted = [self.restrictions.mynetworks.addresses(), addresses_of_all(rows)]
        for addresses in dict.fromkeys(trusted):
            for version in (4, 6):
                for network in addresses.networks(version)[:1]:
                    address = network[1] if network.num_addresses > 2 else network[0]
                    claim = Claim(kind, form.format(version, address))
                    yield Client(address, claims=frozenset({claim}), causes=(cause,), how=kind)
        if kind is not ClaimKind.XCLIENT:
            return
        anywhere = ip_address("198.51.100.7")
        for client in self.with_names(self._names(), anywhere):
            claims = frozenset({Claim(kind, f"NAME={client.name}")})
            yield Client(anywhere, client.name, claims, (cause,), kind)
        claims = frozenset({Claim(kind, "LOGIN=anybody")})
        yield Client(anywhere, claims=claims, causes=(cause,), how=kind, is_logged_in=True)

    def _asks(self, wanted: str) -> bool:
        return any(about == wanted for about, _ in self.lookups())

    def senders(self) -> Iterator[Said]:
        """Reverse-paths: none at all, and what the tables know."""
        yield claiming(ClaimKind.REVERSE_PATH, "")
        if self._asks("sender"):
            yield Said(ANYBODY_ELSE, frozenset({Claim(ClaimKind.REVERSE_PATH, ANYBODY, negated=True)}))
        for text in _mailboxes(self.rows("sender")):
            yield claiming(ClaimKind.REVERSE_PATH, text)

    def greetings(self) -> Iterator[Said]:
        """HELO names that the tables know, and an address without brackets."""
        if self._asks("greeting"):
            yield Said(GREETING_ELSE, frozenset({Claim(ClaimKind.HELO, GREETING, negated=True)}))
        for row in _few(self.rows("greeting")):
            if row.pattern is None:
                names = [f"a{row.key}" if row.key.startswith(".") else row.key]
            else:
                names = list(_matching(row, ("{}", "a{}", "{}.example", "a{}.example")))
            fitting = [name for name in names if name and not _NEUTERED & set(name)]
            yield from (claiming(ClaimKind.HELO, name) for name in fitting[:1])
        if any("permit_naked_ip_address" in word.text for name in self.lists for word in self._words(name)):
            yield claiming(ClaimKind.HELO, "198.51.100.7")

    def recipients(self) -> Iterator[Said]:
        """Forward-paths elsewhere that a list or a table may take for its own."""
        destinations = self.restrictions.destinations
        yield from destinations.wide()
        yield from destinations.routes()
        for text in _mailboxes(self.rows("recipient")):
            if not destinations.is_own(text.rpartition("@")[2]):
                yield claiming(ClaimKind.FORWARD_PATH, text)

    def knows(self, domain: str) -> bool:
        """Whether a table of forward-paths has a row about somebody there, and none about somebody elsewhere."""
        keys = {f"someone@{domain}", domain, domain.partition(".")[2]}
        return any(
            row.key.lower() in keys if row.pattern is None else row.pattern.holds(f"someone@{domain}")
            for about, table in self.lookups()
            for row in (table.rows() if about == "recipient" else ())
        )

    def _words(self, name: str) -> list[Placed]:
        return self.restrictions.words(name)


def through(front_ends: Iterable[FrontEnd], version: int, sets: Iterable[AddressSet]) -> Iterator[Client]:
    """Clients that come through something in front, and have its address; one in each of the sets if it may be."""
    known = list(sets)
    for front in front_ends:
        parts = [*(front.addresses & one for one in known), front.addresses]
        networks = [network for part in parts for network in part.networks(version)[:_MOST_ADDRESSES]]
        for address in dict.fromkeys(network[0] for network in networks):
            cause = Cause(front.name, front.position)
            claim = Claim(ClaimKind.FRONT_END, front.name)
            yield Client(address, claims=frozenset({claim}), causes=(cause,), how=ClaimKind.FRONT_END)


def neighbour(anywhere: Address, what: str) -> Client:
    """A client in the network beside the server."""
    claims = frozenset({Claim(ClaimKind.CLIENT_ADDRESS, what)})
    return replace(Client(anywhere, claims=claims), is_neighbour=True)


def _mailboxes(rows: Iterable[Row]) -> Iterator[str]:
    """A mailbox for each row."""
    for row in _few(rows):
        if row.pattern is not None:
            forms = (
                "{}",
                "anybody{}",
                "anybody@{}." + _DOMAIN,
                "anybody@{}",
                "{}" + _DOMAIN,
                "anybody{}." + _DOMAIN,
                "{}@" + _DOMAIN,
            )
            yield from [text for text in _matching(row, forms) if _is_mailbox(text)][:_MOST_OF_A_KIND]
        elif row.key.endswith("@"):
            yield f"{row.key}{_DOMAIN}"
        elif row.key.startswith("."):
            yield f"anybody@a{row.key}"
        elif "@" in row.key:
            yield row.key
        elif ":" not in row.key and "<" not in row.key:
            yield f"anybody@{row.key}"


def _matching(row: Row, forms: Iterable[str]) -> Iterator[str]:
    """The texts that a row's expression matches, made of samples; those first that no row before it takes."""
    if row.pattern is None:
        return
    own = "" if row.pattern.is_negated else sample(row.pattern.expression) or ""
    around = [sample(one.pattern.expression) or "" for one in (*row.within, *row.before) if one.pattern]
    samples = dict.fromkeys([own, *(text for inner in around for text in (f"{own}{inner}", f"{inner}{own}"))])
    texts = [ANYBODY, "postmaster", *(form.format(text) for text in samples for form in forms)]
    fitting = [one for one in texts if all(matches(part, one) for part in (row, *row.within))]
    yield from sorted(fitting, key=lambda one: any(matches(part, one) for part in row.before))


def _few(rows: Iterable[Row]) -> Iterator[Row]:
    """Some rows of every action: what one of them comes to, the others do."""
    counted: Counter[str] = Counter()
    total = 0
    for row in rows:
        counted[row.value.lower()] += 1
        if counted[row.value.lower()] <= _MOST_OF_A_KIND and total < _MOST_OF_A_TABLE:
            total += 1
            yield row


def _refuses(value: str) -> bool:
    action, _, text = value.partition(" ")
    return action.lower() in _REFUSED or is_refusal(action, text)


def _is_read(row: Row) -> bool:
    """Whether somebody can be made up whom the row's expression means."""
    return row.pattern is not None and sample(row.pattern.expression) is not None


def _is_mailbox(text: str) -> bool:
    local, at, domain = text.partition("@")
    return bool(local and at) and is_name(domain) and text.isprintable() and not _UNQUOTED & set(local)
