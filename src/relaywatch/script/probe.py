"""The probe: one coroutine and what is to be known of it, found by its module's name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from relaywatch.model.evidence import Weakness
from relaywatch.model.places import Service, Transport

from .brief import Brief
from .link import Link
from .ops import Op
from .tunnels import OpenLink, OpenTunnel, Way, open_link

Script = Callable[[Link, Brief], Coroutine[Op[Any], Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One way to look for one weakness.

    ``default_doors`` are the ports and transports to try where the user names none. ``services`` are what
    a door must speak, wherever it is, for a proxy probe to be worth its while; where they are QUIC or TURN,
    which can't be told without the probe itself, the default doors alone are tried. ``tunnel`` opens a
    tunnel on a connection that ``opener`` has made, so that chains can lead through; where one of ``ways`` was
    needed to reach our canary, chains ask in that way.
    """

    name: str
    weakness: Weakness
    default_doors: tuple[tuple[int, Transport], ...]
    references: tuple[str, ...]
    script: Script
    services: frozenset[Service] = frozenset()
    tunnel: OpenTunnel | None = None
    opener: OpenLink = open_link
    ways: tuple[Way, ...] = ()
    rank: int = 50
    """Which of several probes is tried first at a door: the lowest. At each the first that is proven ends it."""


@cache
def load_probes(package: str = "relaywatch.probes") -> MappingProxyType[str, Probe]:
    """Find every module of the package that has a ``PROBE``, by name: nothing is registered.

    :raises LookupError: if a probe isn't named for its module, ``smtp_relay`` for ``smtp-relay``.
    """
    probes: dict[str, Probe] = {}
    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{module_info.name}")
        probe: Probe | None = getattr(module, "PROBE", None)
        if probe is None:
            continue
        if probe.name != module_info.name.replace("_", "-"):
            raise LookupError(f"probe {probe.name!r} in module {module_info.name!r}")
        probes[probe.name] = probe
    return MappingProxyType(probes)
