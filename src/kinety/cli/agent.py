"""``kinety agent``: becomes the agent's process."""

import os
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> None:
    """Run the agent of this node.

    See ``kinety agent --help`` for its options.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "kinety.agent", *arguments])
