"""``relaywatch sink serve|keygen``: the receiving end as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from relaywatch.cli.language import N_, Words
from relaywatch.cli.options import ADDRESS, DIRECTORY, FILE, NAME
from relaywatch.cli.speaking import SpokenGroup, command, option, words_of
from relaywatch.cli.untrusted import neutralise
from relaywatch.model.errors import UsageError
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.sink.keys import certificate_path, generate_keys
from relaywatch.sink.serve import ANY_ADDRESS_8443, ServedSink, ServeSettings, serve_sink
from relaywatch.sink.settings import ANY_ADDRESS_25, CANARY_PORTS, SinkSettings, with_canaries


class EndpointType(click.ParamType[Endpoint]):
    """``ADDRESS:PORT``, an IPv6 address in brackets."""

    name = "endpoint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        """Read it, or fail as click does."""
        host, _, port = str(value).rpartition(":")
        try:
            address: Address = parse_address(host.removeprefix("[").removesuffix("]"))
            number = int(port)
        except ValueError:
            self.fail(f"{value!r} is not ADDRESS:PORT", param, ctx)
        if not 0 <= number <= 65535:
            self.fail(f"{value!r}: a port is a number up to 65535", param, ctx)
        return Endpoint(address, number)


ENDPOINT = EndpointType()
_KEYS = N_("Key file; its certificate lies beside it.")


@click.group(
    "sink", cls=SpokenGroup, help=N_("Receive what comes through open relays, for checkers elsewhere.")
)
def sink() -> None:
    """Receive what comes through open relays, for checkers elsewhere."""


@command("serve", N_("Receive until SIGTERM or SIGINT; checkers poll it over HTTPS with the key."))
@option("--domain", required=True, type=NAME, help=N_("Name of this host, which the MX record names."))
@option("--key-file", required=True, type=FILE, help=_KEYS)
@option(
    "--listen",
    type=ENDPOINT,
    multiple=True,
    metavar="ADDRESS:PORT",
    help=N_("SMTP; by default port 25 of every address."),
)
@option(
    "--poll-listen",
    type=ENDPOINT,
    multiple=True,
    metavar="ADDRESS:PORT",
    help=N_("HTTPS for checkers; by default port 8443."),
)
@option(
    "--page-listen",
    type=ENDPOINT,
    multiple=True,
    metavar="ADDRESS:PORT",
    help=N_("HTTP for the page that explains who we are."),
)
@option("--journal", type=DIRECTORY, required=True, help=N_("Directory to write arrivals down in, durably."))
@option(
    "--operator",
    metavar="NAME",
    default="the operator of this checker",
    help=N_("Who runs it, for whoever wonders."),
)
@option(
    "--contact",
    metavar="ADDRESS",
    default="",
    help=N_("Mail or web address that answers questions and takes opt-outs."),
)
@option(
    "--public-address",
    type=ADDRESS,
    multiple=True,
    help=N_(
        "Address by which proxies reach this host; by default where it listens, or where its name leads."
    ),
)
@option(
    "--canary-port",
    type=click.IntRange(1, 65535),
    multiple=True,
    help=N_(
        "Port that proxies are led to, may be repeated; by default 443, 80, 40025, 587, 23, 6667. "
        "SMTP on 25 and 587. Those that can't be had are left out."
    ),
)
@option("--no-canaries", is_flag=True, help=N_("Receive mail only; open proxies can't be proven then."))
@option(
    "--dns-zone",
    type=NAME,
    metavar="ZONE",
    help=N_("Domain that is delegated to this host: answer for it, and note who looks up its names."),
)
@option(
    "--dns-port",
    type=click.IntRange(1, 65535),
    default=53,
    show_default=True,
    help=N_("Where to answer for that domain."),
)
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    *,
    domain: str,
    key_file: Path,
    listen: tuple[Endpoint, ...],
    poll_listen: tuple[Endpoint, ...],
    page_listen: tuple[Endpoint, ...],
    journal: Path,
    operator: str,
    contact: str,
    public_address: tuple[Address, ...],
    canary_port: tuple[int, ...],
    no_canaries: bool,
    dns_zone: str | None,
    dns_port: int,
) -> None:
    """Serve until told to stop."""
    if no_canaries and (canary_port or dns_zone):
        raise UsageError("--no-canaries goes with neither --canary-port nor --dns-zone")
    settings = SinkSettings(
        domain=domain,
        listen=listen or ANY_ADDRESS_25,
        journal=journal,
        contact=contact,
        operator=operator,
        canary_addresses=public_address,
    )
    if not no_canaries:
        settings = with_canaries(settings, canary_port or CANARY_PORTS, zone=dns_zone, dns_port=dns_port)
    words = words_of(ctx)
    click.echo(words("Receiving mail for {domain}.", domain=domain), err=True)
    asyncio.run(
        serve_sink(
            ServeSettings(
                sink=settings,
                key_file=key_file,
                poll_listen=poll_listen or ANY_ADDRESS_8443,
                page_listen=page_listen,
            ),
            opened=lambda served: _tell(served, words, wants_canaries=not no_canaries),
        )
    )


def _tell(served: ServedSink, words: Words, *, wants_canaries: bool) -> None:
    """Say where canaries wait, and what was to be listened on and can't."""
    for why in served.sink.left_out:
        click.echo(words("Left out: {why}", why=neutralise(why)), err=True)
    places = served.places
    if not wants_canaries:
        return
    if not places.addresses:
        click.echo(
            words("No public address is known to lead proxies to; name one with --public-address."), err=True
        )
        return
    click.echo(
        words(
            "Canaries wait at {addresses}, ports {ports}; SMTP on {smtp}.",
            addresses=", ".join(map(str, places.addresses)),
            ports=", ".join(map(str, places.ports)),
            smtp=", ".join(map(str, places.smtp_ports)),
        ),
        err=True,
    )


@command("keygen", N_("Make keys and a certificate for a sink; give the key file to its checkers."))
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@option(
    "--name",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    help=N_("Host name or address by which checkers reach it; may be repeated."),
)
@click.pass_context
def keygen(ctx: click.Context, /, path: Path, names: tuple[str, ...]) -> None:
    """Write the key file and the certificate."""
    generate_keys(path, names)
    words = words_of(ctx)
    click.echo(words("{keys}: for the sink and its checkers; keep it secret.", keys=path), err=True)
    click.echo(words("{certificate}: for the sink alone.", certificate=certificate_path(path)), err=True)


for _command in (serve, keygen):
    sink.add_command(_command)
COMMAND: click.Command = sink
