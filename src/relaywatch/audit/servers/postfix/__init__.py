"""Postfix (postconf(5), master(5), access(5); 3.7 to 3.12): relay and recipient restrictions, for every listener."""

from __future__ import annotations

import re
from collections.abc import Iterator

from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

from .mending import mend
from .parameters import Entry, NestingError, Parameters, read_main_cf
from .qmqp import qmqpd
from .services import MasterService, is_loopback, read_master_cf
from .smtpd import Listener, Smtpd, everybody
from .tables import Tables

_OTHERS = frozenset({"smtpd", "postscreen", "qmqpd"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every inet listener that speaks SMTP, with what master.cf overrides."""
    source = setup.read_main()
    if source is None:
        return
    entries, stumbles = read_main_cf(source, setup)
    master = setup.read("master.cf")
    services = list(read_master_cf(master, setup)) if master is not None else []
    if master is None:
        services = list(read_master_cf(_AS_SHIPPED, setup))
    elif not any(service.kind == "inet" for service in services):
        setup.note(Gap(GapKind.NOT_EVALUATED, "master.cf without a listener"))
    if stumbles is not None:
        text = source.lines[stumbles.line - 1].strip()[:200]
        down = Cause(text, stumbles, "pf-syntax")
        yield Service(name="smtp/inet", weakness=Weakness.OPEN_RELAY, position=stumbles, down=down)
        return
    tables = Tables(setup)
    listening = [service for service in services if service.kind == "inet" and service.command in _OTHERS]
    for service in listening:
        yield _service(service, services, entries, setup, tables)


def _service(
    service: MasterService,
    services: list[MasterService],
    entries: dict[str, Entry],
    setup: Setup,
    tables: Tables,
) -> Service:
    """One listener; postscreen hands its clients on to the smtpd service."""
    front = Parameters(entries, service.overrides)
    inside = _is_inside(service, entries)
    leading = (one for one in setup.front_ends if one.leads_to(service.port))
    front_ends = tuple(one for one in leading if one.reaches_loopback or not inside)
    try:
        if service.command == "qmqpd":
            return qmqpd(service, front, setup, tables, is_out_of_reach=inside)
        behind = _behind(service, services, front)
        if behind is None:
            return _closed(service, is_out_of_reach=True)
        parameters = Parameters(entries, behind.overrides)
        listener = Listener(
            parameters,
            service.port,
            _versions(service, parameters),
            front_ends,
            only_front_ends=inside,
            proxy_header=None if inside else _proxy_header(front, service.command),
        )
        smtpd = Smtpd.of(listener, setup, tables)
        if (down := smtpd.down()) is not None:
            return _closed(service, down=down)
        return Service(
            name=service.label,
            weakness=Weakness.OPEN_RELAY,
            position=service.name.position,
            passing=smtpd.ways(),
            is_out_of_reach=inside,
            own=smtpd.restrictions.destinations.own,
        )
    except NestingError as error:
        return _closed(service, down=Cause(str(error), service.name.position, "pf-syntax"))


def _closed(service: MasterService, *, is_out_of_reach: bool = False, down: Cause | None = None) -> Service:
    return Service(
        name=service.label,
        weakness=Weakness.OPEN_RELAY,
        position=service.name.position,
        is_out_of_reach=is_out_of_reach,
        down=down,
    )


def _behind(service: MasterService, services: list[MasterService], front: Parameters) -> MasterService | None:
    """The service that speaks with the client."""
    if service.command == "smtpd":
        return service
    name = front.text("smtpd_service_name")
    return next((one for one in services if one.kind == "pass" and one.name.text == name), None)


def _is_inside(service: MasterService, entries: dict[str, Entry]) -> bool:
    """Whether only this machine reaches it; master(8) knows no overrides."""
    if service.host:
        return is_loopback(service.host)
    words = list(Parameters(entries, {}).value("inet_interfaces").words())
    return bool(words) and all(is_loopback(word.text.strip("[]")) for word in words)


def _versions(service: MasterService, parameters: Parameters) -> tuple[int, ...]:
    versions = everybody(parameters)
    if not service.host or not set(service.host) <= set("0123456789abcdefABCDEF.:"):
        return versions
    return (6,) if ":" in service.host else (4,)


def _proxy_header(front: Parameters, command: str) -> Cause | None:
    name = f"{command}_upstream_proxy_protocol"
    value = front.value(name)
    if not value.text:
        return None
    return Cause(f"{name} = {value.text}", value.position, "pf-proxyproto")


_AS_SHIPPED = SourceFile.of("master.cf", b"smtp inet n - y - - smtpd\n")
"""What there is where only main.cf was given; that the rest is missing is a gap all the same."""
SERVER = Server(
    name="postfix",
    home="/etc/postfix",
    marks=(
        Mark(name="postfix/main.cf"),
        Mark(
            name="main.cf",
            holds=re.compile(
                r"^(?:mydestination|mynetworks|smtpd_\w+|relay_domains|compatibility_level|queue_directory)\s*=",
                re.MULTILINE,
            ),
        ),
    ),
    evaluate=evaluate,
    mend=mend,
    check=("postfix", "-c", "{home}", "check"),
    reload=("postfix", "reload"),
)
