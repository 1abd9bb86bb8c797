"""Which ports are tried when nobody names one: for relays by the probes, for proxies by ``ports.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from relaywatch.model.places import DATAGRAMS, Service, Transport
from relaywatch.script.probe import Probe

_UNTOLD = frozenset({Service.QUIC, Service.TURN})
"""Services that only the probe itself can tell."""


class PlannedPort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port, what is usually there, and who says so."""

    number: int
    usual: str
    source: str


@cache
def proxy_ports() -> tuple[PlannedPort, ...]:
    """The TCP ports at which proxies are looked for, likeliest first."""
    text = files(__package__).joinpath("ports.toml").read_text(encoding="utf-8")
    return tuple(msgspec.convert(tomllib.loads(text)["port"], list[PlannedPort]))


def relay_ports(probe: Probe) -> tuple[int, ...]:
    """The ports of a relay probe's default doors, each once."""
    return tuple(dict.fromkeys(port for port, _ in probe.default_doors))


def untold_doors(
    probe: Probe, ports: Sequence[int] | None, *, is_wanted: bool
) -> tuple[tuple[int, Transport], ...]:
    """The doors at which a probe is tried without recognition before it.

    These are those of its default doors that are of UDP, or whose service can't be told otherwise. Of
    ``ports`` that the user named, those that are among them; a probe that the user wanted by its name is tried
    at any port.
    """
    doors = [door for door in probe.default_doors if door[1] in DATAGRAMS or probe.services <= _UNTOLD]
    if ports is None:
        return tuple(doors)
    usual = tuple(door for door in doors if door[0] in ports)
    if usual or not is_wanted:
        return usual
    transports = dict.fromkeys(transport for _, transport in doors)
    return tuple((port, transport) for port in ports for transport in transports)
