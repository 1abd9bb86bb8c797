"""The reference of the command line, made from what the commands say of themselves: ``make docs``."""

import os
import sys

import click

from relaywatch.cli.main import relaywatch

HEAD = """\
# Commands

Made by `make docs` from each command's `--help`; what the exit codes and the output mean is in the
[README](../../README.md).
"""


def commands(command, path, parent=None):
    """Every command below, with its path and context, in the order of the alphabet."""
    context = click.Context(command, info_name=path, parent=parent, terminal_width=100, max_content_width=100)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), name, context)


def render():
    """The whole page, in English."""
    os.environ.update(LANGUAGE="en", LC_ALL="C.UTF-8")
    pages = [HEAD]
    for _, command, context in commands(relaywatch, "relaywatch"):
        pages.append(f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(pages)


if __name__ == "__main__":
    sys.stdout.write(render())
