"""Routers (chapter 15), as far as it takes to say whether accepted mail leaves for the outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause
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
            return [Way()] if not self.config.routers or self._goes_out(local, domain) else []
        return list(self._rewritten(local, domain))

    def _goes_out(self, local: str, domain: str) -> bool:
        for router in self.config.routers:
            driver, data = router.get("driver", Placed()).text, router.get("data", Placed()).text
            swallows = driver == "redirect" and data.startswith((":blackhole:", ":fail:"))
            decides = driver in _OUTWARD or (swallows and not set(router) - _HARMLESS)
            if decides and self._meets(router, local, domain):
                return not swallows
        return False

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
                and self._goes_out(user, outside.strip('"'))
            ):
                yield Way(causes=(Cause(f"data = {data.text}"[:200], data.position, "ex-localpart"),))
                return

    def _expander(self, local: str, domain: str) -> Expander:
        variables = {"local_part": local, "domain": domain, "local_part_data": local, "domain_data": domain}
        return Expander(variables, self.setup.has, lambda *_: False)
