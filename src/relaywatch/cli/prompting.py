"""Asks for what a scan needs, one question after the other, as the talk's spamrelay.pl did in 2002."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click

from relaywatch.model.places import parse_address
from relaywatch.targets.parse import parse_name

from .language import Words
from .options import Choices


@dataclass(frozen=True, slots=True)
class Answers:
    """The list, where the results go, where the dialogues are written down, and the rest as choices."""

    targets: tuple[str, ...]
    output: Path
    log: Path
    choices: Choices


def ask(words: Words, choices: Choices) -> Answers:
    """Ask on the terminal. What the talk's script took from anybody has its bounds here.

    The reverse-path and the forward-path are the sink's: bounces come home, and what arrives is ours. So
    of the reverse-path its domain is asked for, and of the forward-path the address where it arrives.
    """
    hosts = click.prompt(words("Host list (a file, or a target)"))
    ehlo_name = click.prompt(
        words("EHLO name"), default=choices.ehlo_name or "relaywatch.invalid", value_proc=parse_name_again
    )
    contact = click.prompt(
        words("Contact: a mail or web address for whoever is asked (empty: no message is sent to others)"),
        default=choices.contact or "",
        show_default=bool(choices.contact),
    )
    domain = click.prompt(
        words("Reverse-path: a domain of yours whose mail arrives on this machine (empty: its address)"),
        default="",
        show_default=False,
        value_proc=_domain,
    )
    address = click.prompt(
        words("Forward-path: the address of this machine where the test mail is to arrive"),
        default="127.0.0.1",
        value_proc=_address,
    )
    log = Path(click.prompt(words("Log of the sessions"), default="log"))
    output = Path(click.prompt(words("Results"), default="results.jsonl"))
    chosen = replace(
        choices,
        ehlo_name=ehlo_name,
        contact=contact or None,
        sink_domain=domain or None,
        sink_address=parse_address(address),
    )
    return Answers((hosts,), output, log, chosen)


def parse_name_again(text: str) -> str:
    """Read a name, or have it asked for again."""
    try:
        return parse_name(text.strip())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _domain(text: str) -> str:
    return parse_name_again(text.rpartition("@")[2]) if text.strip() else ""


def _address(text: str) -> str:
    try:
        return str(parse_address(text.strip()))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
