"""The gate: what a permission covers and nobody excluded passes, each host once, mixed; the rest is told."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import accumulate

from relaywatch.model.places import Address
from relaywatch.targets.exclusions import Exclusions
from relaywatch.targets.parse import Span
from relaywatch.targets.permissions import Permission
from relaywatch.targets.remembered import Remembered
from relaywatch.targets.scope import Scope
from relaywatch.targets.shuffle import shuffled

from .hosts import Host, HostRange, Place

Skip = Callable[[str, str, int], None]
"""Hears why something is left out, what it is, and how many addresses that are."""

Permitted = tuple[Host, Permission]


@dataclass(frozen=True, slots=True)
class _Span:
    """The hosts of a part of a range, all under one permission."""

    named: HostRange
    span: Span
    permission: Permission

    @property
    def count(self) -> int:
        return self.span.count

    def at(self, number: int) -> Permitted:
        address = int(self.span.first) + number
        (host,) = self.named.hosts(self.span.part(address, address))
        return replace(host, local_domains=self.permission.domains), self.permission


@dataclass(frozen=True, slots=True)
class _Single:
    host: Host
    permission: Permission
    count: int = 1

    def at(self, _number: int) -> Permitted:
        return self.host, self.permission


IsDone = Callable[[Address, int | None], bool]
"""Says whether an address has been asked already, at a port or, where that is nothing, at the usual ones."""


def nothing_is_done(_address: Address, _port: int | None) -> bool:
    """There was no earlier run."""
    return False


Part = _Span | _Single


class Gate:
    """Passes hosts, with the permission that covers them; ``skip`` hears of the others.

    ``seed`` decides the order of those that come together. What ``is_done`` of an earlier run is passed over, so that
    the rest comes in the order in which it would have come.
    """

    def __init__(
        self,
        scope: Scope,
        exclusions: Exclusions,
        skip: Skip,
        *,
        seed: int = 0,
        is_done: IsDone = nothing_is_done,
    ) -> None:
        self._scope, self._exclusions, self._skip, self._seed = scope, exclusions, skip, seed
        self._is_done = is_done
        self._led_to: defaultdict[tuple[int | None, int | None], Remembered] = defaultdict(Remembered)
        """By the port that tells the place from others at its address, and the port that is asked there."""

    def permitted(self, named: Host | HostRange) -> Iterator[Part]:
        """The parts of it that may be checked; the rest is told."""
        if isinstance(named, HostRange):
            yield from self._out_of_range(named)
            return
        for host, permission in self._covered(self._without_excluded(named)):
            yield _Single(host, permission)

    def mixed(self, parts: Sequence[Part]) -> Iterator[Permitted]:
        """The hosts of the parts that haven't been passed with these ports; one by one, as they are asked for.

        They come in an order of our own, so that no network gets many connections in a row. It is the same
        whenever the same comes together.
        """
        ends = list(accumulate(part.count for part in parts))
        for number in shuffled(ends[-1] if ends else 0, self._seed):
            place = bisect_right(ends, number)
            yield from self._once(*parts[place].at(number - ends[place] + parts[place].count))

    # --- single hosts --------------------------------------------------------------------------

    def _covered(self, host: Host) -> Iterator[Permitted]:
        """The host for each permission that covers an address of it; what none covers is skipped.

        That is one nearly always: but what is allowed at one address may not be at the other.
        """
        shares: dict[Permission, list[Address]] = {}
        for address in host.addresses:
            permission = self._permission(host, address)
            if permission is None:
                name = next(iter(host.names_of(address)), None)
                why = self._scope.explain_refusal(address, _today(), name)
                self._skip(f"{host.target.origin}: {why}", str(address), 1)
            else:
                shares.setdefault(permission, []).append(address)
        for permission, addresses in shares.items():
            domains = tuple(dict.fromkeys((*host.local_domains, *permission.domains)))
            yield replace(host, addresses=tuple(addresses), local_domains=domains), permission

    def _permission(self, host: Host, address: Address) -> Permission | None:
        """By the address, or by a name that the DNS leads from to it: what a list calls it opens nothing."""
        names = host.names_of(address) or (None,)
        found = (self._scope.permission_for(address, _today(), name) for name in names)
        return next((permission for permission in found if permission is not None), None)

    def _without_excluded(self, host: Host) -> Host:
        kept = []
        for address in host.addresses:
            if exclusion := self._exclusions.find(address):
                self._skip(f"{host.target.origin}: {address} is excluded by {exclusion}", str(address), 1)
            else:
                kept.append(address)
        return replace(host, addresses=tuple(kept))

    # --- ranges --------------------------------------------------------------------------------

    def _out_of_range(self, named: HostRange) -> Iterator[_Span]:
        origin = named.target.origin
        for kept, exclusion in self._exclusions.cut(named.span):
            if exclusion is not None:
                self._skip(f"{origin}: {kept} is excluded by {exclusion}", str(kept), kept.count)
            else:
                yield from self._out_of_span(named, kept)

    def _out_of_span(self, named: HostRange, span: Span) -> Iterator[_Span]:
        for piece, permission in self._scope.cut(span, _today()):
            if permission is None:
                why = self._scope.explain_gap(piece, _today())
                self._skip(f"{named.target.origin}: {why}", str(piece), piece.count)
                continue
            yield _Span(named, piece, permission)

    # --- each once -----------------------------------------------------------------------------

    def _once(self, host: Host, permission: Permission) -> Iterator[Permitted]:
        """Pass the host with those ports that it hasn't been passed with before."""
        ports = tuple(port for port in host.ports if self._is_new(host.places, port))
        ports = tuple(port for port in ports if not self._is_done(host.address, port))
        if ports:
            yield replace(host, ports=ports), permission

    def _is_new(self, places: Iterable[Place], port: int | None) -> bool:
        """Whether the run hasn't been led there before, and remember that it has now."""
        is_new = False
        for address, own in places:
            led_to = self._led_to[own, port]
            if address not in led_to:
                is_new = True
                led_to.add(address)
        return is_new


def _today() -> date:
    return datetime.now(UTC).date()
