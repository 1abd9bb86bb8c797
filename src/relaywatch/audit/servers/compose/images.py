"""Images that make a Postfix configuration of their environment: what they come to, written as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from relaywatch.audit.addresses import PRIVATE, AddressSet
from relaywatch.audit.conditions import Way
from relaywatch.audit.containers import Container, Setting
from relaywatch.audit.findings import Cause, Gap, Position
from relaywatch.audit.server import Service, load_servers
from relaywatch.audit.setup import FrontEnd, Setup
from relaywatch.audit.trees import TextTree

_MAIN = "/image/etc/postfix/main.cf"
OWN_FOLDERS = ("/tmp/docker-mailserver", "/docker-init.db", "/etc/postfix")  # noqa: S108 -- in the container
"""Folders from which the images take more settings, and scripts that they run."""
CHANGES = re.compile(r"postfix-(?:main|master)\.cf|.*\.sh|(?:main|master)\.cf")
_LOOPBACK = "127.0.0.0/8 [::1]/128"
_RELAYING = "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"


@dataclass(frozen=True, slots=True)
class Written:
    """A line of main.cf, and what it comes from."""

    text: str
    position: Position


def _postfix_variables(container: Container) -> Iterator[Written]:
    """``POSTFIX_<parameter>``, which both images write into main.cf as it is."""
    for name, setting in container.environment.items():
        if name.startswith("POSTFIX_") and setting.value:
            value = " ".join(setting.value.split())
            yield Written(f"{name.removeprefix('POSTFIX_')} = {value}", setting.position)


def _wader(container: Container, _subnets: AddressSet) -> Iterator[Written]:
    """wader/postfix-relay: an open relay unless its networks are set, as its Dockerfile says."""
    for text in (
        "compatibility_level = 2",
        "mydestination = localhost",
        f"smtpd_relay_restrictions = {_RELAYING}",
    ):
        yield Written(text, container.position)
    yield Written("mynetworks = 0.0.0.0/0", container.position)
    yield from _postfix_variables(container)


def _boky(container: Container, _subnets: AddressSet) -> Iterator[Written]:
    """boky/postfix: trusts all private networks unless told otherwise; senders' domains are a second lock."""
    here = container.position
    networks = container.environment.get("MYNETWORKS")
    senders = container.environment.get("ALLOWED_SENDER_DOMAINS")
    for text in (
        "compatibility_level = 3.6",
        "mydestination =",
        "relay_domains =",
        "smtpd_client_restrictions = permit_mynetworks, reject",
        "smtpd_sender_restrictions = permit_mynetworks, reject",
        f"smtpd_relay_restrictions = {'permit' if senders else _RELAYING}",
        "mynetworks = 127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
    ):
        yield Written(text, here)
    if senders:
        lists = "check_sender_access texthash:/etc/postfix/allowed_senders, reject"
        yield Written(f"smtpd_recipient_restrictions = {lists}", senders.position)
    yield from _postfix_variables(container)
    if networks:
        yield Written(f"mynetworks = {networks.value}", networks.position)


def _docker_mailserver(container: Container, subnets: AddressSet) -> Iterator[Written]:
    """docker-mailserver: PERMIT_DOCKER adds networks in which the gateway is."""
    permit = container.environment.get("PERMIT_DOCKER", Setting("none", container.position))
    more = {
        "host": " ".join(map(str, subnets.networks(4))),
        "connected-networks": " ".join(map(str, subnets.networks(4))),
        "network": "172.16.0.0/12",
    }.get(permit.value.strip().lower(), "")
    yield Written("compatibility_level = 3.6", container.position)
    yield Written(f"smtpd_relay_restrictions = {_RELAYING}", container.position)
    yield Written(f"mynetworks = {_LOOPBACK} {more}".rstrip(), permit.position)


def _juanluisbaptiste(container: Container, _subnets: AddressSet) -> Iterator[Written]:
    """juanluisbaptiste/postfix: private networks by default, ``SMTP_NETWORKS`` more."""
    networks = container.environment.get("SMTP_NETWORKS", Setting("", container.position))
    own = ", ".join(map(str, PRIVATE.networks(4)))
    yield Written("compatibility_level = 3.6", container.position)
    yield Written(f"smtpd_relay_restrictions = {_RELAYING}", container.position)
    yield Written(f"mynetworks = 127.0.0.0/8, {own}, {networks.value}".rstrip(", "), networks.position)


IMAGES: tuple[tuple[re.Pattern[str], Callable[[Container, AddressSet], Iterator[Written]]], ...] = (
    (re.compile(r"(?:^|/)(?:m?wader)/postfix-relay(?:[:@]|$)"), _wader),
    (re.compile(r"(?:^|/)(?:boky|bokysan)/(?:docker-)?postfix(?:[:@]|$)"), _boky),
    (
        re.compile(r"(?:^|/)(?:mailserver|docker-mailserver|tvial)/docker-mailserver(?:[:@]|$)"),
        _docker_mailserver,
    ),
    (re.compile(r"(?:^|/)juanluisbaptiste/postfix(?:[:@]|$)"), _juanluisbaptiste),
)
NETWORKS = ("MYNETWORKS", "POSTFIX_mynetworks", "PERMIT_DOCKER")
"""The variables that a mend sets; the first that there is decides."""


def takes_postfix_variables(container: Container) -> bool:
    """Whether the image writes ``POSTFIX_<parameter>`` into main.cf."""
    return any(image.search(container.image) and write in {_wader, _boky} for image, write in IMAGES)


def written_by(container: Container, subnets: AddressSet) -> tuple[Written, ...]:
    """The main.cf that the container's image makes of its environment; nothing if the image isn't known."""
    for image, write in IMAGES:
        if image.search(container.image):
            return tuple(write(container, subnets))
    return ()


def evaluated(
    container: Container, lines: tuple[Written, ...], fronts: tuple[FrontEnd, ...], setup: Setup
) -> tuple[Service, ...]:
    """What Postfix makes of it, told by the compose file's lines."""
    senders = container.environment.get("ALLOWED_SENDER_DOMAINS")
    table = "".join(f"{domain} OK\n" for domain in (senders.value.split() if senders else ()))
    tree = TextTree(
        {
            _MAIN: "".join(f"{line.text}\n" for line in lines),
            "/image/etc/postfix/allowed_senders": table,
            "/image/etc/postfix/master.cf": "smtp inet n - y - - smtpd\n",
        }
    )
    home = PurePosixPath("/etc/postfix")
    within = Setup(tree=tree, main=PurePosixPath(_MAIN), home=home, allowed=setup.allowed, front_ends=fronts)
    postfix = load_servers()["postfix"]
    services = tuple(_told(service, lines, container) for service in postfix.evaluate(within))
    for gap in within.gaps:
        moved = replace(gap, position=_position(gap.position, lines, container))
        (setup.set_aside if gap in within.harmless else setup.note)(moved)
    return services


def _told(service: Service, lines: tuple[Written, ...], container: Container) -> Service:
    def moved(cause: Cause) -> Cause:
        return replace(cause, position=_position(cause.position, lines, container))

    ways = tuple(
        Way(
            way.claims,
            frozenset(_moved_gap(gap, lines, container) for gap in way.gaps),
            tuple(map(moved, way.causes)),
        )
        for way in service.passing
    )
    down = moved(service.down) if service.down else None
    return replace(service, passing=ways, down=down, position=container.position)


def _moved_gap(gap: Gap, lines: tuple[Written, ...], container: Container) -> Gap:
    return replace(gap, position=_position(gap.position, lines, container))


def _position(position: Position | None, lines: tuple[Written, ...], container: Container) -> Position:
    is_line = position is not None and position.file == _MAIN and 1 <= position.line <= len(lines)
    return lines[position.line - 1].position if position is not None and is_line else container.position
