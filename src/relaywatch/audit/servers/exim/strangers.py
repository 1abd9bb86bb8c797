"""Whom to try: what Exim's lists and conditions know, as claims."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import product

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.domains import is_public_suffix, outsiders, registered
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.patterns import sample
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.strangers import Client, Said, claiming, regions, wide_clients

from .config import Condition, Config
from .matching import POINTING, Lists, expression_of

_MOST = 12
_MOST_NETWORKS = 4
_MOST_CLIENTS = 24
_BRACED = re.compile(r"\{([^{}]{1,120})\}")
_NAMED = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")
_MAILBOX = re.compile(r"[\w.+-]+@[\w.-]+")
_MAILBOXES = (
    "{}",
    "{}anywhere.example",
    "anybody{}",
    "anybody@{}",
    "{}@anywhere.example",
    "anybody{}.anywhere.example",
)
_OUTSIDE = "elsewhere.example"
_SOMEONE = "someone"
_LOCAL = re.compile(r"[\w+=-][\w+.=-]*")


@dataclass(slots=True)
class Candidates:
    """The strangers of one configuration."""

    config: Config
    lists: Lists
    setup: Setup

    def _conditions(self, *names: str) -> Iterator[Condition]:
        for statements in self.config.acls.values():
            for statement in statements:
                yield from (one for one in statement.conditions if one.name in names)

    def _items(self, kind: str, *names: str) -> list[str]:
        found = [item for one in self._conditions(*names) for item in self.lists.literals(kind, one.value)]
        return sorted(dict.fromkeys(found), key=lambda item: item == "@" or "." not in item)

    def clients(self, version: int, sets: list[AddressSet]) -> Iterator[Client]:
        """Clients of a family that aren't just anybody."""
        seen: set[frozenset[Claim]] = set()
        for one in regions(sets):
            for client in wide_clients(version, one, self.setup.allowed, _MOST_NETWORKS):
                if client.claims not in seen and len(seen) < _MOST_CLIENTS:
                    seen.add(client.claims)
                    yield client

    def named(self, anywhere: str) -> Iterator[Client]:
        """Clients whose address has a name that a list knows."""
        for item in self._items("host", "hosts")[: _MOST * 4]:
            expression = expression_of(item)
            text = self._sample(item) if expression is not None else item.removeprefix("*")
            for name in (text, f"a{text}", f"a.{text}"):
                fits = expression.holds(name) if expression else name.endswith(text)
                if fits and _NAMED.fullmatch(name) and not _is_address(name):
                    claims = frozenset({Claim(ClaimKind.CLIENT_NAME, name)})
                    yield Client(ip_address(anywhere), name, claims)
                    break

    def through(self, fronts: tuple[FrontEnd, ...], version: int) -> Iterator[Client]:
        """Clients that come through something in front, and have its address."""
        for front in fronts:
            for network in front.addresses.networks(version)[:_MOST_NETWORKS]:
                claims = frozenset({Claim(ClaimKind.FRONT_END, front.name)})
                cause = Cause(front.name, front.position)
                yield Client(network[0], claims=claims, causes=(cause,), how=ClaimKind.FRONT_END)

    def lying(self, sets: list[AddressSet], cause: Cause) -> Iterator[Client]:
        """Clients who say in a PROXY header that they have a trusted address."""
        for one in sets:
            for version in (4, 6):
                for network in one.networks(version)[:1]:
                    address = network[1] if network.num_addresses > 2 else network[0]
                    claims = frozenset({Claim(ClaimKind.PROXY_HEADER, f"TCP{version} {address}")})
                    yield Client(address, claims=claims, causes=(cause,), how=ClaimKind.PROXY_HEADER)

    def senders(self) -> Iterator[Said]:
        """Reverse-paths: none, and those that lists and conditions know."""
        yield claiming(ClaimKind.REVERSE_PATH, "")
        domains = self._items("domain", "sender_domains")
        items = self._items("address", "senders")
        texts = [f"postmaster@{one}" for one in map(self._domain, domains) if one]
        texts += [one for one in map(self._mailbox, items) if one]
        for word in self.words("sender_address", "return_path"):
            texts.append(word if "@" in word else f"postmaster@{word}")
        for text in list(dict.fromkeys(texts))[:_MOST]:
            yield claiming(ClaimKind.REVERSE_PATH, text)

    def greetings(self) -> Iterator[Said]:
        """HELO names that conditions know."""
        for word in list(dict.fromkeys(self.words("sender_helo_name")))[:_MOST]:
            yield claiming(ClaimKind.HELO, word)

    def words(self, *variables: str) -> Iterator[str]:
        """Words that a condition compares one of these variables with, and its own name."""
        for one in self._conditions("condition"):
            if not any(variable in one.value.text for variable in variables):
                continue
            for found in _BRACED.findall(one.value.text):
                if "$sender" not in found and found not in {"yes", "no", "true", "false"}:
                    yield from _said(found)
            for kind in ("domain", "address"):
                for name in re.findall(r"\+(\w+)", one.value.text):
                    value = self.config.lists.get((kind, name))
                    if value is not None:
                        yield from filter(None, map(self._domain, self.lists.literals(kind, value)))
            yield self.lists.primary

    def recipients(self) -> Iterator[Said]:
        """Forward-paths elsewhere: every local part that is asked for in every domain that a list may take."""
        domains = [_OUTSIDE, *self._domains_elsewhere()][:_MOST]
        for local, domain in product(self._local_parts(), domains):
            said = claiming(ClaimKind.FORWARD_PATH, f"{local}@{domain}")
            if domain == POINTING:
                claim = Claim(ClaimKind.DNS, f"{self.lists.primary} as an MX of {POINTING}")
                said = replace(said, claims=said.claims | {claim})
            if (local, domain) != (_SOMEONE, _OUTSIDE):
                yield said
        for item in self._items("address", "recipients")[:_MOST]:
            texts = self._mailboxes_elsewhere(item) if item.startswith("^") else [self._mailbox(item)]
            for text in texts if item.startswith(("*@", "^")) else ():
                if text:
                    yield claiming(ClaimKind.FORWARD_PATH, text)

    def _mailboxes_elsewhere(self, item: str) -> list[str]:
        """Mailboxes that an expression matches although it means another's domain."""
        expression, text = expression_of(item), self._sample(item)
        meant = registered(text.rpartition("@")[2].strip("."))
        forms = (
            "{}.elsewhere.example",
            "someone{}.elsewhere.example",
            "someone@{}.elsewhere.example",
            "{}",
            "someone{}",
        )
        made = [form.format(text) for form in forms] if expression is not None else []
        return [
            one
            for one in made
            if expression is not None
            and expression.holds(one)
            and _MAILBOX.fullmatch(one)
            and registered(one.rpartition("@")[2]) not in {"", meant}
        ][:1]

    def _domains_elsewhere(self) -> list[str]:
        """Others' domains that a list or a condition may take for its own."""
        items = self._items("domain", "domains")
        found = [domain for item in items for domain in self._outside(item)]
        found += [POINTING] if any(item.startswith("@mx_") for item in items) else []
        for one in self._conditions("condition"):
            for text in _BRACED.findall(one.value.text) if "$domain" in one.value.text else ():
                item = text if text.startswith("*") else f"^.*{text.lstrip('^')}"
                found += self._outside(item)
        return list(dict.fromkeys(found))

    def _local_parts(self) -> list[str]:
        """Somebody, and whom lists and conditions know."""
        found = [_SOMEONE]
        for item in self._items("localpart", "local_parts"):
            made = self._sample(item) if item.startswith("^") else item.replace("*", "a", 1)
            expression = expression_of(item)
            found += [one for one in (made, f"{made}a") if expression is None or expression.holds(one)][:1]
        found += self.words("local_part")
        return [one for one in dict.fromkeys(found) if _LOCAL.fullmatch(one)][:_MOST]

    def routes(self) -> Iterator[Said]:
        """Forward-paths with a route in them at a domain of its own."""
        own = next((one for item in self._items("domain", "domains") if (one := self._domain(item))), None)
        if own is not None:
            for sign in (
                "someone%elsewhere.example",
                "elsewhere.example!someone",
                '"someone@elsewhere.example"',
            ):
                yield claiming(ClaimKind.FORWARD_PATH, f"{sign}@{own}")

    def _sample(self, item: str) -> str:
        """A text that an expression matches; where none is found, nobody knows whom it means."""
        expression = expression_of(item)
        text = sample(expression.expression) if expression is not None else None
        if text is None:
            self.setup.note(Gap(GapKind.NOT_EVALUATED, item[:200]))
        return text or ""

    def _fitting(self, item: str) -> str:
        """A mailbox that an expression matches; where none is found, nobody knows whom it means."""
        expression, text = expression_of(item), self._sample(item)
        for form in _MAILBOXES:
            made = form.format(text)
            if expression is not None and expression.holds(made) and _MAILBOX.fullmatch(made):
                return made
        self.setup.note(Gap(GapKind.NOT_EVALUATED, item[:200]))
        return ""

    def _outside(self, item: str) -> list[str]:
        """Domains elsewhere that an item means."""
        if item.startswith("*") and len(item) > 1:
            suffix = item[1:].lstrip(".")
            return [f"elsewhere.{suffix}"] if is_public_suffix(suffix) else []
        expression = expression_of(item)
        return outsiders(expression) if expression is not None and self._sample(item) else []

    def _domain(self, item: str) -> str:
        """A domain that the item means."""
        if item == "@":
            return self.lists.primary
        if item.startswith("*") and len(item) > 2:
            return f"a{item[1:]}"
        if item.startswith("^"):
            return self._sample(item).strip(".")
        return item if re.fullmatch(r"[\w.$-]+", item) else ""

    def _mailbox(self, item: str) -> str:
        """A mailbox that the item of an address list means."""
        if not item or item.startswith("+"):
            return ""
        if item.startswith("^"):
            return self._fitting(item)
        local, at, domain = item.rpartition("@")
        where = "anywhere.example" if domain == "*" else self._domain(domain)
        if not where:
            return ""
        return f"{local.replace('*', 'somebody') if at else 'somebody'}@{where}"


def _said(found: str) -> Iterator[str]:
    """What a condition compares with: itself, or a text that it matches as an expression."""
    text = found.replace("\\N", "").replace("\\\\", "\\")
    if re.fullmatch(r"[\w.@:\[\]-]+", text):
        yield text
    expression = expression_of(f"^{text.lstrip('^')}")
    made = sample(expression.expression) if expression is not None else None
    if made and re.fullmatch(r"[\x21-\x7e]+", made):
        yield made


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
