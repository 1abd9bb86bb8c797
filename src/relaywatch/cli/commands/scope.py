"""``relaywatch scope add|list|check``: whom you may check."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from relaywatch.cli.language import N_, Words
from relaywatch.cli.options import default_scope_path
from relaywatch.cli.speaking import SpokenGroup, command, option, words_of
from relaywatch.model.errors import UsageError
from relaywatch.targets.parse import TargetKind, parse_target
from relaywatch.targets.permissions import Permission, permission_from
from relaywatch.targets.scope import Scope, append_permission, read_scope

_PATH = click.Path(dir_okay=False, path_type=Path)


def _scope_option(function: Any) -> Any:
    return option(
        "--scope",
        "path",
        type=_PATH,
        envvar="RELAYWATCH_SCOPE",
        default=default_scope_path,
        help=N_("File of permissions; by default scope.toml in your configuration directory."),
    )(function)


@click.group(
    "scope",
    cls=SpokenGroup,
    help=N_("Say whom you may check: loopback needs no permission, everything else does."),
)
def scope() -> None:
    """Say whom you may check: loopback needs no permission, everything else does."""


@command("add", N_("Add a permission at the end of the file; what stands there stays as it is."))
@_scope_option
@option("--network", "networks", multiple=True, metavar="CIDR", help=N_("Addresses that may be checked."))
@option("--domain", "domains", multiple=True, help=N_("A domain of the owner's."))
@option("--owner", required=True, help=N_("Who gave the permission."))
@option("--contact", required=True, help=N_("How to reach them."))
@option("--until", required=True, metavar="YYYY-MM-DD", help=N_("The last day on which it holds."))
@option("--rate", type=float, help=N_("At most so many new connections a second."))
@option("--per-target", type=int, help=N_("At most so many connections at a time to one target."))
@option(
    "--loopback-chains",
    is_flag=True,
    help=N_("Allow chains through a proxy of the target's to its own loopback and address."),
)
@option(
    "--chain-target",
    "chain_targets",
    multiple=True,
    help=N_("Allow chains to this mail server of the same permission."),
)
@option(
    "--local-reverse-paths", is_flag=True, help=N_("Allow messages with a reverse-path of the target's own.")
)
@option("--local-mailboxes", is_flag=True, help=N_("Allow a message to a mailbox at the target."))
@click.pass_context
def add(ctx: click.Context, /, path: Path, until: str, **given: Any) -> None:
    """Add a permission."""
    table = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    try:
        permission = permission_from(table | {"until": date.fromisoformat(until)})
    except ValueError as error:
        raise UsageError(str(error)) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    grown = append_permission(path, permission)
    _describe(len(grown.permissions), permission, words_of(ctx))


@command("list", N_("List the permissions, and which of them have run out."))
@_scope_option
@click.pass_context
def list_permissions(ctx: click.Context, path: Path) -> None:
    """List all."""
    for number, permission in enumerate(read_scope(path).permissions, 1):
        _describe(number, permission, words_of(ctx))


@command("check", N_("Read the file strictly; with targets, say which permission covers each."))
@_scope_option
@click.argument("targets", nargs=-1)
@click.pass_context
def check(ctx: click.Context, path: Path, targets: tuple[str, ...]) -> None:
    """Check the file, and targets against it; exit code 2 if one isn't covered."""
    words = words_of(ctx)
    permissions = read_scope(path)
    click.echo(
        words("{path}: {count} permissions, readable", path=path, count=len(permissions.permissions)),
        err=True,
    )
    refused = [text for text in targets if not _say_coverage(permissions, text, words)]
    if refused:
        ctx.exit(2)


def _say_coverage(permissions: Scope, text: str, words: Words) -> bool:
    """Say of each address of the target whether it is covered; the first that isn't is enough."""
    try:
        target = parse_target(text)
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from None
    if target.kind in {TargetKind.NAME, TargetKind.MX}:
        raise UsageError(
            words("{name}: give the address; a permission is decided by where a name leads", name=text)
        )
    today = _today()
    owners: dict[str, None] = {}
    for piece, permission in permissions.cut(target.addresses, today):
        if permission is None:
            click.echo(permissions.explain_gap(piece, today))
            return False
        owners[permission.owner] = None
    click.echo(words("{target}: permitted by {owner}", target=text, owner=", ".join(owners)))
    return True


def _describe(number: int, permission: Permission, words: Words) -> None:
    covered = ", ".join([*map(str, permission.networks), *permission.domains])
    holds = permission.is_valid_on(_today())
    until = words(N_("until {day}") if holds else N_("until {day}, which is over"), day=permission.until)
    click.echo(f"{number}. {covered}: {permission.owner} <{permission.contact}>, {until}")


def _today() -> date:
    return datetime.now(UTC).date()


for _command in (add, list_permissions, check):
    scope.add_command(_command)
COMMAND: click.Command = scope
