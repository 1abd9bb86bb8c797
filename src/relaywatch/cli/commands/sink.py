"""``relaywatch sink serve|keygen``: the receiving end as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from relaywatch.cli.language import N_
from relaywatch.cli.options import DIRECTORY, FILE, NAME
from relaywatch.cli.speaking import SpokenGroup, command, option, words_of
from relaywatch.model.places import Address, Endpoint, parse_address
from relaywatch.sink.keys import certificate_path, generate_keys
from relaywatch.sink.serve import ANY_ADDRESS_8443, ServeSettings, serve_sink
from relaywatch.sink.settings import ANY_ADDRESS_25, SinkSettings


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
) -> None:
    """Serve until told to stop."""
    settings = SinkSettings(
        domain=domain,
        listen=listen or ANY_ADDRESS_25,
        journal=journal,
        contact=contact,
        operator=operator,
    )
    words = words_of(ctx)
    click.echo(words("Receiving mail for {domain}.", domain=domain), err=True)
    asyncio.run(
        serve_sink(
            ServeSettings(
                sink=settings,
                key_file=key_file,
                poll_listen=poll_listen or ANY_ADDRESS_8443,
                page_listen=page_listen,
            )
        )
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
