"""The options that ``check`` and ``scan`` share, and the choices that they make."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import click

from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address, parse_address
from relaywatch.targets.parse import parse_name

from .language import N_
from .speaking import option

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


class AddressType(click.ParamType[Address]):
    """An IPv4 or IPv6 address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read it, or fail as click does."""
        try:
            return parse_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class NameType(click.ParamType[str]):
    """A host or domain name, as A-labels."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it, or fail as click does."""
        try:
            return parse_name(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class PortsType(click.ParamType[tuple[int, ...]]):
    """Ports and ranges of them, as ``1080,3128,8000-8100``."""

    name = "ports"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read them, or fail as click does."""
        ports: dict[int, None] = {}
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                self.fail(f"{part!r} is no port and no range of ports", param, ctx)
            begin, end = int(first), int(last) if dash else int(first)
            if not 1 <= begin <= end < 1 << 16:
                self.fail(f"{part!r} is outside of 1 to 65535, or ends before it begins", param, ctx)
            if len(ports) + end - begin >= MOST_PORTS:
                self.fail(f"more than {MOST_PORTS} ports", param, ctx)
            ports |= dict.fromkeys(range(begin, end + 1))
        return tuple(ports)


MOST_PORTS = 1000
"""Ports of one target that a run asks at."""
ADDRESS = AddressType()
PORTS = PortsType()
NAME = NameType()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user chose; ``None`` is for the run to decide."""

    scope: Path | None = None
    exclude: tuple[Path, ...] = ()
    sink_address: Address | None = None
    sink_domain: str | None = None
    sink: str | None = None
    sink_key_file: Path | None = None
    sink_port: int = 25
    sink_journal: Path | None = None
    second_domain: str | None = None
    mx_pointing_domain: str | None = None
    canary_ports: tuple[int, ...] = ()
    canary_zone: str | None = None
    canary_name: str | None = None
    second_sources: tuple[Address, ...] = ()
    sink_unproved_ok: bool = False
    wait: float = 60.0
    greylist_wait: float = 330.0
    ehlo_name: str | None = None
    operator: str | None = None
    contact: str | None = None
    no_mail: bool = False
    ports: tuple[int, ...] = ()
    probes: tuple[str, ...] = ()
    local_domains: tuple[str, ...] = ()
    exhaustive: bool = False
    source_addresses: tuple[Address, ...] = ()
    nameservers: tuple[Address, ...] = ()
    rate: float | None = None
    concurrency: int = 100
    workers: int = 1


def default_scope_path() -> Path:
    """Where a user's scope file is, if none is named."""
    from platformdirs import user_config_path  # noqa: PLC0415 -- only where it is needed

    return user_config_path("relaywatch") / "scope.toml"


def own_key_path() -> Path:
    """Where the key lies that makes the tokens of sinks in our own processes, so that late mail is known."""
    from platformdirs import user_data_path  # noqa: PLC0415 -- only where it is needed

    return user_data_path("relaywatch") / "sink-keys.toml"


def check_choices(choices: Choices) -> Choices:
    """Hold the choices against each other.

    :raises UsageError: if two of them can't be together, or one lacks its other half.
    """
    if choices.sink and choices.sink_address:
        raise UsageError("--sink is a sink elsewhere, --sink-address one in this process")
    if choices.sink and not (choices.sink_key_file and choices.sink_domain):
        raise UsageError("--sink needs --sink-key-file and --sink-domain")
    families = [address.version for address in choices.source_addresses]
    if len(set(families)) != len(families):
        raise UsageError("--source-address may be given once for each address family")
    if same := set(choices.second_sources).intersection(choices.source_addresses):
        shown = ", ".join(sorted(map(str, same)))
        raise UsageError(f"--second-source is another address than --source-address; both are {shown}")
    return choices


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the shared options; they come to it as one ``choices``."""

    @functools.wraps(function)
    def with_choices(**settings: Any) -> Any:
        names = {field.name for field in fields(Choices)}
        chosen = {name: settings.pop(name) for name in tuple(settings) if name in names}
        chosen["ports"] = tuple(dict.fromkeys(chain.from_iterable(chosen["ports"])))
        return function(choices=check_choices(Choices(**chosen)), **settings)

    for decorate in reversed(_SHARED):
        with_choices = decorate(with_choices)
    return with_choices


_SHARED: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    option(
        "--port",
        "--ports",
        "ports",
        type=PORTS,
        multiple=True,
        metavar="PORTS",
        help=N_(
            "Check this port, or these as 1080,3128,8000-8100, instead of the usual ones; may be repeated."
        ),
    ),
    option(
        "--probe", "probes", multiple=True, metavar="NAME", help=N_("Run this probe only; may be repeated.")
    ),
    option(
        "--local-domain",
        "local_domains",
        type=NAME,
        multiple=True,
        metavar="DOMAIN",
        help=N_("A domain that the target hosts; may be repeated."),
    ),
    option("--exhaustive", is_flag=True, help=N_("Ask every case, and go on after the first proof.")),
    option(
        "--scope",
        type=FILE,
        envvar="RELAYWATCH_SCOPE",
        help=N_("File of permissions; by default scope.toml in your configuration directory."),
    ),
    option(
        "--exclude",
        type=FILE,
        multiple=True,
        help=N_("File of addresses never to touch: one CIDR, range or address a line."),
    ),
    option(
        "--sink-address",
        type=ADDRESS,
        metavar="ADDRESS",
        help=N_("Receive in this process at this address: SMTP on port 25, and the canary ports."),
    ),
    option(
        "--sink-domain",
        type=NAME,
        metavar="DOMAIN",
        help=N_("Domain whose MX is the sink; without one the mailbox is an address literal."),
    ),
    option("--sink", metavar="URL", help=N_("Receive at a `relaywatch sink` elsewhere.")),
    option(
        "--sink-key-file",
        type=FILE,
        help=N_(
            "Key file of that sink. A sink in this process needs none; with a journal it uses one of your own, "
            "so that late mail is still known."
        ),
    ),
    option(
        "--sink-port",
        type=click.IntRange(0, 65535),
        default=25,
        metavar="PORT",
        help=N_("Port of the sink in this process; mail from elsewhere only ever comes to 25."),
    ),
    option("--sink-journal", type=DIRECTORY, help=N_("Directory to write arrivals down in, durably.")),
    option(
        "--second-domain",
        type=NAME,
        metavar="DOMAIN",
        help=N_("Another domain of yours whose MX is the sink, for reverse-paths from elsewhere."),
    ),
    option(
        "--mx-pointing-domain",
        type=NAME,
        metavar="DOMAIN",
        help=N_("A domain of yours whose first MX is the sink and whose second is the target."),
    ),
    option(
        "--canary-port",
        "canary_ports",
        type=click.IntRange(1, 65535),
        multiple=True,
        metavar="PORT",
        help=N_(
            "Port at which proxies are led to the sink in this process, beside a high one; may be repeated. "
            "443, 80, 587, 6667 and 23 if none is named, as far as they can be had."
        ),
    ),
    option(
        "--canary-name",
        type=NAME,
        metavar="NAME",
        help=N_(
            "A name that leads to that sink, for proxies that are asked by name; its mail exchanger's if none."
        ),
    ),
    option(
        "--canary-zone",
        type=NAME,
        metavar="DOMAIN",
        help=N_(
            "A domain that is delegated to this host, so that look-ups of its names are seen; needs port 53."
        ),
    ),
    option(
        "--second-source",
        "second_sources",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help=N_("Another address of ours, to see whether a proxy's session takes a stranger's datagrams."),
    ),
    option(
        "--sink-unproved-ok",
        is_flag=True,
        help=N_("Send messages even if the sink could not be shown to receive."),
    ),
    option(
        "--wait",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help=N_("How long to wait for what was sent to arrive."),
    ),
    option(
        "--greylist-wait",
        type=click.FloatRange(min=0),
        default=330.0,
        show_default=True,
        metavar="SECONDS",
        help=N_("How long to wait, at most, before asking once more what a server put off."),
    ),
    option(
        "--ehlo-name",
        type=NAME,
        envvar="RELAYWATCH_EHLO_NAME",
        show_envvar=True,
        metavar="NAME",
        help=N_("Name to give in EHLO: this host's own. Needed before mail is handed to others' servers."),
    ),
    option(
        "--operator",
        envvar="RELAYWATCH_OPERATOR",
        show_envvar=True,
        metavar="NAME",
        help=N_(
            "Who checks: a person or an organisation, said in the test message and in the sink's replies."
        ),
    ),
    option(
        "--contact",
        envvar="RELAYWATCH_CONTACT",
        show_envvar=True,
        metavar="ADDRESS",
        help=N_(
            "Mail or web address, said in the test message, that answers questions and takes opt-outs. "
            "Needed before mail is handed to others' servers."
        ),
    ),
    option(
        "--source-address",
        "source_addresses",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help=N_("Connect from this address of ours; once for each address family."),
    ),
    option(
        "--nameserver",
        "nameservers",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help=N_("Ask this name server instead of the system's; may be repeated."),
    ),
    option("--no-mail", is_flag=True, help=N_("Stop before DATA: hand over no message.")),
)
