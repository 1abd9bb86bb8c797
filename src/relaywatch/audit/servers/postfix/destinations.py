"""Which forward-paths are Postfix's own (ADDRESS_CLASS_README), and which lists of them are too wide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.claims import ClaimKind
from relaywatch.audit.domains import is_public_suffix, outsiders, registered
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.patterns import sample
from relaywatch.audit.strangers import Said, claiming

from .lists import DomainList, Match
from .parameters import Parameters
from .tables import Tables, UnknownTable

_CLASSES = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains")
_USER = "someone"
_SIGNS = frozenset("%!@")
_TRANSPORTS = {
    "mydestination": "local_transport",
    "virtual_mailbox_domains": "virtual_transport",
    "relay_domains": "relay_transport",
}
_NOWHERE = ("discard", "error", "retry")
_NOBODYS = frozenset({"localhost", "local", "localdomain", "invalid"})
"""Top-level names in which nobody has a domain (RFC 6761 sections 6.3 and 6.4, RFC 6762 section 3), and a custom."""
_MOST_ROUTES = 8


@dataclass(frozen=True, slots=True)
class Destination:
    """That a forward-path is Postfix's own, and by what."""

    cause: Cause | None
    """A list that is too wide, if that is why."""
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Destinations:
    """The address classes of one service."""

    parameters: Parameters
    """The smtpd service's own."""
    rewriting: Parameters
    """Those of trivial-rewrite(8), which says what class an address is of: what smtpd overrides is nothing to it."""
    tables: Tables
    lists: dict[str, DomainList]

    @property
    def own(self) -> str:
        """A domain of its own."""
        return next((word for word, match in self.lists["mydestination"].literals() if not match.row), "")

    def resolved(self, address: str) -> str:
        """The address as trivial-rewrite resolves it: a route at a local domain is followed."""
        local, _, domain = address.rpartition("@")
        follows = self.rewriting.is_yes("allow_percent_hack")
        for _ in range(_MOST_ROUTES):
            found = self.lists["mydestination"].find(domain)
            if not follows or not isinstance(found, Match) or not _SIGNS & set(local):
                break
            local, _, domain = _rewritten(local).rpartition("@")
        return f"{local}@{domain}"

    def find(self, address: str) -> Destination | None:
        """Whether mail for this address is taken as its own; nothing if it is another's.

        What has a route in its local part is mistrusted, unless allow_untrusted_routing says otherwise.
        """
        if "@" not in address:
            return Destination(None)
        local, _, domain = self.resolved(address).rpartition("@")
        unknown: Destination | None = None
        for name in _CLASSES:
            found = self.lists[name].find(domain)
            if isinstance(found, Gap):
                cause = Cause(f"{name} = {self.rewriting.text(name)}"[:200], found.position)
                unknown = unknown or Destination(cause, found)
            elif found is not None:
                return self._routed(name) if _SIGNS & set(local) else self._of(name, local, domain, found)
        return unknown

    def goes_nowhere(self, address: str) -> bool:
        """Whether mail for it is thrown away or refused once it is taken."""
        if any(self.rewriting.text(name) for name in ("transport_maps", "content_filter")):
            return False
        domain = self.resolved(address).rpartition("@")[2]
        own = (name for name in _CLASSES if isinstance(self.lists[name].find(domain), Match))
        transport = _TRANSPORTS.get(next(own, ""), "default_transport")
        by_sender = "sender_dependent_default_transport_maps"
        if transport == "default_transport" and self.rewriting.text(by_sender):
            return False
        return self.rewriting.text(transport).partition(":")[0] in _NOWHERE

    def _of(self, name: str, local: str, domain: str, found: Match) -> Destination | None:
        if name == "virtual_alias_domains":
            return None  # it goes where the alias says, and nowhere without one
        maps = {"virtual_mailbox_domains": "virtual_mailbox_maps", "relay_domains": "relay_recipient_maps"}
        listed = self._is_listed(maps[name], local, domain) if name in maps else True
        if listed is False:
            return None
        value = self.rewriting.text(name)
        cause = Cause(f"{name} = {value}"[:200], found.item.position, "pf-dom-wide")
        if found.row is not None and found.row.pattern is not None:
            cause = Cause(found.row.text[:200], found.row.position, "pf-dom-wide")
        return Destination(cause, listed if isinstance(listed, Gap) else None)

    def _routed(self, name: str) -> Destination | None:
        if name != "relay_domains" or not self.parameters.is_yes("allow_untrusted_routing"):
            return None
        position = self.parameters.position("allow_untrusted_routing")
        return Destination(Cause("allow_untrusted_routing = yes", position, "pf-routing"))

    def _is_listed(self, maps: str, local: str, domain: str) -> bool | Gap:
        """Whether a recipient is known, where unknown ones are refused."""
        value = self.parameters.value(maps)
        if not value.text or not self.parameters.is_yes("smtpd_reject_unlisted_recipient"):
            return True
        gap: Gap | None = None
        for word in value.words():
            table = self.tables.open(word)
            if isinstance(table, UnknownTable) and table.asks_for_key:
                continue
            for key in (f"{local}@{domain}", f"@{domain}") if table.is_keyed else (f"{local}@{domain}",):
                found = table.lookup(key)
                if isinstance(found, Gap):
                    gap = gap or found
                elif found is not None:
                    return True
        return gap or False

    def is_own(self, domain: str) -> bool:
        """Whether the domain is named as its own, and not only matched by something too wide."""
        for one in self.lists.values():
            found = one.find(domain)
            if isinstance(found, Match) and (found.row is None or found.row.pattern is None):
                named = (found.row.key if found.row else found.item.word).lower().lstrip(".")
                if named == domain.lower() or registered(named):
                    return True
        return False

    def wide(self) -> Iterator[Said]:
        """Forward-paths elsewhere that a list may take for its own: a witness is made up for each entry."""
        relayed = self.lists["relay_domains"]
        for word, _ in relayed.literals():
            suffix = word.lstrip(".")
            if (
                ":" not in word
                and suffix.lower() not in _NOBODYS
                and is_public_suffix(suffix)
                and (relayed.matches_subdomains or word.startswith("."))
            ):
                yield forward_path(f"elsewhere.{suffix}")
        for name in _CLASSES:
            for row in self.lists[name].patterns():
                if row.pattern is None:
                    continue
                if not row.pattern.is_negated and sample(row.pattern.expression) is None:
                    self.tables.setup.note(Gap(GapKind.NOT_EVALUATED, row.key[:200], row.position))
                yield from map(forward_path, outsiders(row.pattern))

    def routes(self) -> Iterator[Said]:
        """Forward-paths with a route in them, through domains that it relays to."""
        for word, match in self.lists["relay_domains"].literals():
            if match.row is None or match.row.network is None:
                domain = f"a{word}" if word.startswith(".") else word
                yield claiming(ClaimKind.FORWARD_PATH, f"{_USER}%elsewhere.example@{domain}")
                return


def forward_path(domain: str) -> Said:
    """Somebody in this domain."""
    return claiming(ClaimKind.FORWARD_PATH, f"{_USER}@{domain}")


def _rewritten(local: str) -> str:
    """Where a route in a local part leads: the right-most sign first, a bang from the left."""
    if "@" in local:
        return local
    if "%" in local:
        user, _, domain = local.rpartition("%")
        return f"{user}@{domain}"
    domain, _, user = local.partition("!")
    return f"{user}@{domain}"
