"""coturn (turnserver.conf, 4.6): without a mechanism for credentials anybody may relay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType

from relaywatch.audit.addresses import AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import AuditFinding, Cause, Gap, GapKind, Position
from relaywatch.audit.proxies import headed, host_and_port, is_destination, is_loopback
from relaywatch.audit.server import Edit, Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import Joins, logical_lines
from relaywatch.audit.witness import OUTSIDE_HOST
from relaywatch.model.evidence import Weakness

_OFF = frozenset({"0", "false", "no", "off", "n", "f"})
_CREDENTIALS = ("lt-cred-mech", "use-auth-secret", "static-auth-secret", "user")
"""Each of them demands credentials: accounts and a secret even without the mechanism's own line; ``oauth`` doesn't."""
_SHORT: Mapping[str, str] = MappingProxyType(
    {"a": "lt-cred-mech", "z": "no-auth", "u": "user", "L": "listening-ip", "S": "stun-only"}
)


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    value: str
    position: Position

    def cause(self, rule: str = "") -> Cause:
        return Cause(f"{self.name}={self.value}" if self.value else self.name, self.position, rule)


def evaluate(setup: Setup) -> Iterator[Service]:
    """One server, for UDP and for TCP (RFC 6062)."""
    source = setup.read_main()
    if source is None:
        return
    said = []
    for line in logical_lines(source, Joins.BY_BACKSLASH):
        name, equals, value = line.text.partition("=")
        if not equals:
            name, _, value = line.text.partition(" ")
        bare = name.strip().lstrip("-")
        said.append(_Option(_SHORT.get(bare, bare), value.strip().strip('"'), line.position))
    heard = [one for one in said if one.name in {"listening-ip", "aux-server"}]
    yield Service(
        name=", ".join(one.value for one in heard) or "*:3478",
        weakness=Weakness.OPEN_PROXY,
        position=heard[0].position if heard else None,
        passing=_passing(setup, said),
        down=_contradiction(said),
        is_out_of_reach=bool(heard) and all(is_loopback(host_and_port(one.value)[0]) for one in heard),
    )


def _switch(said: Sequence[_Option], *names: str) -> _Option | None:
    """The line that switches it on, if one does: the last that names it decides."""
    last = {one.name: one for one in said if one.name in names}
    return next((one for one in last.values() if one.value.lower() not in _OFF), None)


def _contradiction(said: Sequence[_Option]) -> Cause | None:
    """``no-auth`` beside a mechanism: it says that both can't be, and ends."""
    without = _switch(said, "no-auth")
    mechanism = _switch(said, "lt-cred-mech", "use-auth-secret", "static-auth-secret")
    return without.cause("tu-both") if without and mechanism else None


def _passing(setup: Setup, said: Sequence[_Option]) -> tuple[Way, ...]:
    if _switch(said, "stun-only") is not None:
        return ()
    without = _switch(said, "no-auth")
    if without is None and _switch(said, *_CREDENTIALS) is not None:
        return ()
    peers = _peers(said)
    if not peers:
        return ()
    known = without.cause("tu-no-auth") if without else Cause("no credential mechanism", rule="tu-no-auth")
    carried = [
        (name, rule)
        for name, off, rule in (("UDP", "no-udp-relay", ""), ("TCP", "no-tcp-relay", "tu-tcp"))
        if _switch(said, off) is None
    ]
    inside = _switch(said, "allow-loopback-peers")
    if inside is not None:
        setup.set_aside(
            Gap(GapKind.NOT_EVALUATED, f"{inside.name}: leads to this machine's own ports", inside.position)
        )
    return tuple(
        headed(
            way.joined(Way(causes=(known if not rule else Cause(known.text, known.position, rule),))),
            f"{OUTSIDE_HOST}:25 by TURN over {name}",
        )
        for name, rule in carried
        for way in peers
    )


def _peers(said: Sequence[_Option]) -> tuple[Way, ...]:
    """Outside peers that aren't denied: ``allowed-peer-ip`` goes before ``denied-peer-ip``."""
    denied, allowed = AddressSet(), AddressSet()
    for one in said:
        if one.name == "denied-peer-ip":
            denied |= _range(one.value)
        elif one.name == "allowed-peer-ip":
            allowed |= _range(one.value)
    open_to = (AddressSet.everything() - denied) | allowed
    return is_destination(open_to).true


def _range(text: str) -> AddressSet:
    """An address, a network, or the first and last of a range."""
    first, dash, last = text.replace(" ", "").partition("-")
    try:
        if not dash:
            return AddressSet.of([first])
        low, high = ip_address(first), ip_address(last)
        return AddressSet.span(low, high) if low.version == high.version else AddressSet()
    except ValueError:
        return AddressSet()


def mend(setup: Setup, finding: AuditFinding) -> Iterator[Edit]:
    """Demand long-term credentials, which know no networks: whoever is allowed has an account."""
    source = setup.read_main()
    if source is None:
        return
    if finding.rule in {"tu-no-auth", "tu-tcp"}:
        if finding.line:
            yield Edit(setup.main, finding.line, finding.line, ("lt-cred-mech",))
        else:
            end = len(source.lines)
            yield Edit(setup.main, end + 1, end, ("lt-cred-mech",))
    elif finding.rule == "tu-both":
        yield Edit(setup.main, finding.line, finding.line, ())


SERVER = Server(
    name="coturn",
    home="/etc",
    marks=(Mark(name="turnserver.conf"), Mark(name="turnserver*.conf")),
    evaluate=evaluate,
    mend=mend,
    reload=("systemctl", "restart", "coturn"),
)
