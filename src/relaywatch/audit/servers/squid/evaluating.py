"""What a stranger gets out of each of Squid's listeners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import product

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import ALWAYS, Condition, Way, claimed, joined, unknown
from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.proxies import first_of_each, headed, is_loopback
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Address

from .access import AccessList, undefined
from .acls import Acls, addresses
from .naming import hosts_to_ask_for
from .reading import Directive, directives
from .requests import (
    Listener,
    Mode,
    Request,
    listeners,
    methods_to_ask_by,
    ports_to_ask_for,
    schemes_to_ask_by,
)

_MOST_FORGED = 8
_REWRITING = ("url_rewrite_program", "redirect_program")
_TO_NEIGHBOURS = ("icp_access", "htcp_access", "snmp_access")


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every listener for clients."""
    said = directives(setup)
    squid = _Squid.of(setup, said)
    for listener in listeners(said):
        yield Service(
            name=f"{listener.directive.name} {listener.directive.words[0]}",
            weakness=Weakness.OPEN_PROXY,
            position=listener.position,
            passing=() if squid.down else squid.passing(listener),
            down=squid.down,
            is_out_of_reach=bool(listener.host) and is_loopback(listener.host),
        )


@dataclass(frozen=True, slots=True)
class _Squid:
    setup: Setup
    said: list[Directive]
    acls: Acls
    lists: tuple[AccessList, ...]
    """All of them must allow a request."""
    direct: tuple[AccessList, ...]
    """``always_direct``, which goes before, and ``never_direct``."""
    down: Cause | None

    @classmethod
    def of(cls, setup: Setup, said: list[Directive]) -> _Squid:
        acls = Acls(setup).read(said)
        lists = (
            AccessList.of("http_access", said, default=False),
            AccessList.of("adapted_http_access", said, default=True),
            AccessList.of("http_access2", said, default=True),
            AccessList.of("miss_access", said, default=True),
        )
        direct = tuple(AccessList.of(name, said, default=False) for name in ("always_direct", "never_direct"))
        down = acls.down or undefined(said) or _no_schemes(said)
        for name in _TO_NEIGHBOURS:
            for one in said:
                if one.name == name and one.words[:1] == ("allow",):
                    setup.set_aside(Gap(GapKind.NOT_EVALUATED, one.text, one.position))
        return cls(setup, said, acls, lists, direct, down)

    def passing(self, listener: Listener) -> tuple[Way, ...]:
        """The shortest ways through, one for each cause."""
        through = self._through(listener)
        if not through:
            return ()
        ways = [
            headed(way, request.shown)
            for request in self._requests(listener)
            for way in joined(self._let_in(request), self._onwards(request))
        ]
        return tuple(self._told(way) for way in first_of_each(joined(through, ways)))

    def _told(self, way: Way) -> Way:
        """What else is missing is told beside what opens it."""
        ports = {
            claim.value.split(" ")[0].rpartition(":")[2] for claim in way.claims if _is_by_connect(claim)
        }
        if "25" not in ports:
            return way
        return way.because(Cause("no http_access deny CONNECT !SSL_ports before it", rule="sq-connect"))

    def _through(self, listener: Listener) -> tuple[Way, ...]:
        """Whether a listener leads to hosts that the client names at all."""
        if listener.mode is Mode.ACCELERATOR:
            if "no-vhost" in listener.options:
                return ()
            if "allow-direct" in listener.options:
                return (Way(causes=(listener.directive.cause("sq-allow-direct"),)),)
            return tuple(Way(causes=(peer.cause(),)) for peer in self._peers())
        if listener.mode is Mode.INTERCEPTION:
            gap = Gap(GapKind.NOT_EVALUATED, listener.directive.text, listener.position)
            return unknown(self.setup.note(gap)).because(listener.directive.cause("sq-intercept")).true
        return (Way(),)

    def _peers(self) -> list[Directive]:
        """Other proxies that this one asks: not the servers of an accelerator."""
        return [one for one in self.said if one.name == "cache_peer" and "originserver" not in one.words]

    def _requests(self, listener: Listener) -> Iterator[Request]:
        """An accelerator refuses CONNECT."""
        methods = methods_to_ask_by(self.said)
        asked = [
            (method, scheme)
            for method in methods
            for scheme in (("",) if method == "CONNECT" else schemes_to_ask_by(self._values("proto")))
            if scheme or listener.mode is not Mode.ACCELERATOR
        ]
        hosts = hosts_to_ask_for(self.acls, OUTSIDE_HOST)
        ports = ports_to_ask_for(self._values("port"))
        for (method, scheme), host, port, version in product(asked, hosts, ports, (4, 6)):
            yield Request(
                listener=listener, method=method, port=port, version=version, scheme=scheme, host=host
            )

    def _values(self, kind: str) -> list[str]:
        """What acls of a kind name."""
        return [value.text for acl in self.acls.known.values() if acl.kind == kind for value in acl.values]

    def _let_in(self, request: Request) -> tuple[Way, ...]:
        if "require-proxy-header" in request.listener.options:
            return self._let_in_by_header(request)
        own = self._allowed(request)
        forged = [way for one in self._forged_field(request) for way in one]
        return (*own, *forged)

    def _allowed(self, request: Request) -> tuple[Way, ...]:
        ways: tuple[Way, ...] = (Way(),)
        for one in self.lists:
            ways = joined(ways, one.allowing(self.acls, request))
        return joined(ways, self._rewritten().true)

    def _rewritten(self) -> Condition:
        """A program that rewrites what is asked may refuse as well."""
        program = next((one for one in self.said if one.name in _REWRITING and one.words != ("none",)), None)
        if program is None:
            return ALWAYS
        return unknown(self.setup.note(Gap(GapKind.EXTERNAL, program.text, program.position)))

    def _forged_field(self, request: Request) -> Iterator[tuple[Way, ...]]:
        """Where X-Forwarded-For is believed of strangers, they come from wherever they say."""
        believing = AccessList.of("follow_x_forwarded_for", self.said, default=False)
        if not believing.lines or self._is_off("acl_uses_indirect_client"):
            return
        believed = believing.allowing(self.acls, request)
        if not believed:
            return
        line = next(one for one in believing.lines if one.gap or one.words[0] == "allow")
        for address in self._worth_forging():
            claim = claimed(Claim(ClaimKind.FIELD, f"X-Forwarded-For: {address}")).because(
                line.cause("sq-forwarded-for")
            )
            yield joined(joined(claim.true, believed), self._allowed(replace(request, seen_as=address)))

    def _let_in_by_header(self, request: Request) -> tuple[Way, ...]:
        """With ``require-proxy-header`` whoever may send one comes from wherever it says."""
        believing = AccessList.of("proxy_protocol_access", self.said, default=False)
        believed = believing.allowing(self.acls, request)
        ways: list[Way] = []
        for address in (ip_address("203.0.113.7"), *self._worth_forging()):
            claim = claimed(Claim(ClaimKind.PROXY_HEADER, f"from {address}")).because(
                request.listener.directive.cause("sq-proxy-header")
            )
            ways += joined(joined(claim.true, believed), self._allowed(replace(request, seen_as=address)))
        return tuple(ways[:1])

    def _worth_forging(self) -> list[Address]:
        """An address of every network that an acl names, and our own."""
        found: dict[Address, None] = {ip_address("127.0.0.1"): None}
        for acl in self.acls.known.values():
            for value in acl.values if acl.kind == "src" else ():
                meant = addresses(value.text) or AddressSet()
                for network in (*meant.networks(4)[:1], *meant.networks(6)[:1]):
                    found.setdefault(network.network_address)
        return list(found)[:_MOST_FORGED]

    def _is_off(self, name: str) -> bool:
        last = next((one for one in reversed(self.said) if one.name == name), None)
        return last is not None and last.words[:1] == ("off",)

    def _onwards(self, request: Request) -> tuple[Way, ...]:
        """Where Squid may not go itself, only another proxy that it asks leads out."""
        if request.listener.mode is Mode.ACCELERATOR or self._peers():
            return (Way(),)
        always, never = self.direct
        if not never.allowing(self.acls, request):
            return (Way(),)
        denying = replace(never, lines=tuple(map(_opposite, never.lines)))
        return (*always.allowing(self.acls, request), *denying.allowing(self.acls, request))


def _opposite(line: Directive) -> Directive:
    if line.gap is not None:
        return line
    answer = "deny" if line.words[0] == "allow" else "allow"
    return replace(line, words=(answer, *line.words[1:]))


def _is_by_connect(claim: Claim) -> bool:
    return claim.kind is ClaimKind.DESTINATION and claim.value.endswith(" by CONNECT")


def _no_schemes(said: list[Directive]) -> Cause | None:
    """An acl that asks for credentials, and nothing that could check them."""
    if any(one.name == "auth_param" and "program" in one.words for one in said):
        return None
    asking = (
        one
        for one in said
        if one.name == "acl" and one.words[1:2] in {("proxy_auth",), ("proxy_auth_regex",)}
    )
    return next((one.cause("sq-syntax") for one in asking), None)
