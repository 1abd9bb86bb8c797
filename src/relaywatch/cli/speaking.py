"""Click commands that speak the user's language, and that end as the contract says."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from relaywatch.model.errors import RelaywatchError, UsageError

from .exit_codes import ExitCode
from .language import LANGUAGES, N_, LanguageCode, Words, language_of, words_in
from .untrusted import neutralise

_WORDS = "relaywatch.words"
F = TypeVar("F", bound=Callable[..., Any])


def words_of(context: click.Context) -> Words:
    """The words of ``--lang`` if it was given, else of the locale."""
    words: Words = context.meta.get(_WORDS) or words_in(language_of(os.environ))
    return words


class SpokenOption(click.Option):
    """An option whose help is translated when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Click's record, in the user's language."""
        spoken = copy.copy(self)
        spoken.help = words_of(ctx)(self.help or "")
        return super(SpokenOption, spoken).get_help_record(ctx)


class SpokenCommand(click.Command):
    """A command whose help is translated when it is shown, and whose usage errors are click's."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, in the user's language."""
        spoken = copy.copy(self)
        spoken.help = words_of(ctx)(self.help or "")
        super(SpokenCommand, spoken).format_help_text(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what the user asked wrongly becomes a message and exit code 2."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(neutralise(str(error)), ctx) from error
        except RelaywatchError as error:
            raise CouldNotTestError(neutralise(str(error))) from error


class SpokenGroup(click.Group):
    """A group whose help, and whose commands' one-line help, is translated when it is shown."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, in the user's language."""
        spoken = copy.copy(self)
        spoken.help = words_of(ctx)(self.help or "")
        super(SpokenGroup, spoken).format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what there is, in the user's language."""
        words = words_of(ctx)
        with formatter.section(words("Commands")):
            formatter.write_dl([(name, words(text)) for name, text in self.summaries(ctx)])

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Each command with its help."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, command.help or "") for name, command in commands if command]


class CouldNotTestError(click.ClickException):
    """Something of ours is missing or broken, so that nothing could be tested: not the user's fault."""

    exit_code = ExitCode.COULD_NOT_TEST


def command(name: str, help_text: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, with ``--lang``."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=SpokenCommand, help=help_text)(language_option(function))

    return decorate


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option of a command, its help marked by `N_`."""
    return click.option(*names, cls=SpokenOption, **settings)


def language_option(function: F) -> F:
    """``--lang ko|en``."""
    return option(
        "--lang",
        type=click.Choice(LANGUAGES),
        is_eager=True,
        expose_value=False,
        callback=_choose_language,
        help=N_("Language of the output; by default that of the locale."),
    )(function)


def _choose_language(context: click.Context, _parameter: click.Parameter, value: LanguageCode | None) -> None:
    if value:
        context.meta[_WORDS] = words_in(value)
