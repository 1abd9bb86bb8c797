"""Postfix (postconf(5), master(5), access(5); 3.7 to 3.12): relay and recipient restrictions, for every listener."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from relaywatch.audit.findings import Cause, Gap, GapKind
from relaywatch.audit.hostname import hostname
from relaywatch.audit.placed import Placed
from relaywatch.audit.server import Mark, Server, Service
from relaywatch.audit.setup import Setup
from relaywatch.audit.text import SourceFile
from relaywatch.model.evidence import Weakness

from .mending import mend
from .parameters import Entry, NestingError, Parameters, read_main_cf
from .qmqp import qmqpd
from .services import MasterService, is_disabled, is_loopback, read_master_cf
from .smtpd import Listener, Smtpd, everybody
from .tables import Tables

_OTHERS = frozenset({"smtpd", "postscreen", "qmqpd"})


def evaluate(setup: Setup) -> Iterator[Service]:
    """Every inet listener that speaks SMTP, with what master.cf overrides."""
    source = setup.read_main()
    if source is None:
        return
    entries, stumbles = read_main_cf(source, setup)
    if "myhostname" not in entries and (name := hostname(setup)):
        entries["myhostname"] = Entry("myhostname", Placed(name), 0, 0)
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
    _note_gaps(services, entries, setup)
    off = Parameters(entries, {}).value("master_service_disable")
    tables = Tables(setup)
    listening = [service for service in services if service.kind == "inet" and service.command in _OTHERS]
    for service in listening:
        if not is_disabled(service, [word.text for word in off.words()]):
            yield _service(service, services, entries, setup, tables)


def _note_gaps(services: list[MasterService], entries: dict[str, Entry], setup: Setup) -> None:
    """What may let somebody through and isn't evaluated: other programs that listen, and commands made anew."""
    relayed = entries.get("relay_domains")
    if relayed and "mydomain" in relayed.value.text and not {"myhostname", "mydomain"} & entries.keys():
        gap = Gap(GapKind.NOT_EVALUATED, "$mydomain: the server's own name", relayed.value.position)
        setup.note(gap)
    for service in services:
        is_other = service.kind == "inet" and service.command not in _OTHERS
        if is_other and not _is_inside(service, entries):
            subject = f"{service.label} {service.command}"
            setup.note(Gap(GapKind.EXTERNAL, subject, service.name.position))
        rewriting = Parameters(entries, service.overrides).value("smtpd_command_filter")
        if service.kind == "inet" and rewriting.text:
            subject = f"smtpd_command_filter = {rewriting.text}"[:200]
            setup.note(Gap(GapKind.NOT_EVALUATED, subject, rewriting.position))


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
            Parameters(entries, _overrides_of(parameters.text("rewrite_service_name"), services)),
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


def _overrides_of(name: str, services: list[MasterService]) -> Mapping[str, Placed]:
    """What master.cf overrides for a service of Postfix's own."""
    found = (one.overrides for one in services if one.kind != "inet" and one.name.text == name)
    return next(found, {})


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
