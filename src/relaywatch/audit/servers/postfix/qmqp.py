"""qmqpd(8): a listener that relays for every client in its list, and asks for nothing else."""

from __future__ import annotations

from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause
from relaywatch.audit.server import Service
from relaywatch.audit.setup import Setup
from relaywatch.model.evidence import Weakness

from .lists import HostList, items
from .parameters import Parameters
from .services import MasterService
from .tables import Tables

_CLIENTS = "qmqpd_authorized_clients"


def qmqpd(
    service: MasterService, parameters: Parameters, setup: Setup, tables: Tables, *, is_out_of_reach: bool
) -> Service:
    """Open to those strangers who are in the list."""
    value = parameters.value(_CLIENTS)
    clients = HostList(tuple(items(value, tables)), matches_subdomains=True)
    addresses = clients.addresses()
    cause = Cause(f"{_CLIENTS} = {value.text}"[:200], value.position, "pf-qmqp")
    ways = (way for version in (4, 6) for way in addresses.has_strangers(version, setup.allowed).true)
    unknown = [Way(gaps=clients.gaps)] if clients.gaps else []
    return Service(
        name=service.label,
        weakness=Weakness.OPEN_RELAY,
        position=service.name.position,
        passing=tuple(dict.fromkeys(way.because(cause) for way in (*ways, *unknown))),
        is_out_of_reach=is_out_of_reach,
    )
