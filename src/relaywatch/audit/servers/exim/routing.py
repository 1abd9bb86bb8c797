"""Routers (chapter 15), as far as it takes to say whether accepted mail leaves for the outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.placed import Placed
from relaywatch.audit.setup import Setup
from relaywatch.audit.strangers import Stranger

from .config import Config
from .expansion import Expander, ForcedError, UnknownError
from .matching import Lists

_OUTWARD = frozenset({"dnslookup", "manualroute", "ipliteral", "iplookup", "queryprogram"})
_HARMLESS = frozenset(
    {"driver", "data", "domains", "local_parts", "allow_fail", "debug_print", "no_more", "more"}
)
"""Options of a redirect with which it takes every address that its lists mean."""
_SIGNS = frozenset('%!"')
_MOST_DEEP = 8
_REWRITE = re.compile(
    r"""(?P<pattern>"[^"]*"|\S+)\s+(?P<new>"[^"]*"|\$\{.*\}|\S+)(?:\s+(?P<flags>[A-Za-z]+))?"""
)
_CHOSEN = re.compile(r"\$\{?(?:\d|local_part)|\$\{(?!domain\})")
"""What stands for something that he wrote before the @, or for what isn't known."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The routers of a configuration."""

    config: Config
    setup: Setup

    def leaves(self, stranger: Stranger) -> list[Way]:
        """The ways in which mail for the forward-path leaves: none, and it is unrouteable, or stays here."""
        address = stranger.recipient.text or ""
        local, _, domain = address.rpartition("@")
        if not _SIGNS & set(local):
            return self._sent(local, domain) if self.config.routers else [Way()]
        return [*self._rewritten(local, domain), *self._by_rewriting()]

    def _sent(self, local: str, domain: str, depth: int = 0) -> list[Way]:
        """The ways in which routers send it elsewhere, directly or by a redirect to a gateway."""
        for router in self.config.routers:
            if not self._meets(router, local, domain):
                continue
            driver, data = router.get("driver", Placed()).text, router.get("data", Placed())
            if driver == "redirect" and data.text.startswith((":blackhole:", ":fail:")):
                if not set(router) - _HARMLESS:
                    return []
            elif driver == "redirect":
                if ways := self._redirected(data, local, domain, depth):
                    return ways
            elif driver in _OUTWARD:
                return [Way()]
            elif driver == "accept" and (ways := self._handed_over(router)):
                return ways
        return []

    def _redirected(self, data: Placed, local: str, domain: str, depth: int) -> list[Way]:
        """What an alias of the owner's makes of a name leads where he says; what is made of the domain may lead out."""
        if "domain" not in data.text or depth > _MOST_DEEP:
            return []
        try:
            made = self._expander(local, domain).expand(data.text).strip().strip('"')
        except ForcedError:
            return []
        except UnknownError as error:
            return [self._unknown(f"data: {error}", data)]
        user, at, where = made.rpartition("@")
        return self._sent(user, where, depth + 1) if at and where != domain else []

    def _handed_over(self, router: dict[str, Placed]) -> list[Way]:
        """An ``accept`` may hand mail to another host too: what counts is its transport."""
        transport = router.get("transport", Placed())
        if not transport.text:
            return []
        driver = self.config.transports.get(transport.text)
        if driver is None:
            return [self._unknown(f"transport = {transport.text}", transport)]
        return [Way()] if driver == "smtp" else []

    def _by_rewriting(self) -> Iterator[Way]:
        """A rule that makes a domain of what he wrote, for recipients: what it makes isn't evaluated."""
        for rule in self.config.rewrites:
            found = _REWRITE.fullmatch(rule.text.strip())
            if found is None or (found["flags"] and not set(found["flags"]) & set("TES")):
                continue
            if _CHOSEN.search(found["new"].rpartition("@")[2]):
                yield self._unknown(f"rewrite {rule.text}", rule)

    def _unknown(self, subject: str, said: Placed) -> Way:
        gap = Gap(GapKind.NOT_EVALUATED, subject[:200], said.position)
        self.setup.set_aside(gap)
        return Way(gaps=frozenset({gap}), causes=(Cause(subject[:200], said.position),))

    def _meets(self, router: dict[str, Placed], local: str, domain: str) -> bool:
        """Whether a router's lists mean the address; where nobody knows, it may."""
        lists = Lists(self.config, self.setup, self._expander(local, domain).expand)
        for name, kind, what in (("domains", "domain", domain), ("local_parts", "localpart", local)):
            if name in router:
                found = lists.find(kind, router[name], what)
                if not found.holds and found.gap is None:
                    return False
        return True

    def _rewritten(self, local: str, domain: str) -> Iterator[Way]:
        """Redirects that make an outside address of what stands in the local part."""
        for router in self.config.routers:
            data = router.get("data")
            if (
                router.get("driver", Placed()).text != "redirect"
                or data is None
                or "$local_part" not in data.text
            ):
                continue
            if not self._meets(router, local, domain):
                continue
            try:
                made = self._expander(local, domain).expand(data.text).strip()
            except (UnknownError, ForcedError):
                continue
            user, at, outside = made.strip('"').rpartition("@")
            if (
                at
                and not _SIGNS & set(user)
                and outside != domain
                and any(not way.gaps for way in self._sent(user, outside.strip('"')))
            ):
                yield Way(causes=(Cause(f"data = {data.text}"[:200], data.position, "ex-localpart"),))
                return

    def _expander(self, local: str, domain: str) -> Expander:
        variables = {"local_part": local, "domain": domain, "local_part_data": local, "domain_data": domain}
        return Expander(variables, self.setup.has, lambda *_: False)
