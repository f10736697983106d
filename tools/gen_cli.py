"""Write docs/reference/cli.md from the verbs' own help.

Usage: ``python tools/gen_cli.py``; a unit test demands that the committed file is the same.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from kinety.cli.main import kinety

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# The command line

`kinety` is a client of the [agent's API](api.md). Without an agent work `policy check` and `policy diff`,
`policy explain`, `policy verdicts` and `policy lint` of files, `test`, `datapath`, and `completion`.
Every listing takes `--output table|json|yaml`. The agent's socket is `--socket`, else `KINETY_SOCKET`, else
`/run/kinety/agent.sock`.

Errors are one line on standard error; bad documents are one line for each thing that is wrong with them, with
file, line and path. Exit codes:

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused, bad input, or an expectation that was not met |
| 2 | wrong usage |
| 3 | no agent answers, or it went away |
| 125 | `kinety run`: the command was not run |
| 126 | `kinety run`: the command cannot be executed |
| 127 | `kinety run`: there is no such command |
| 130 | interrupted |
| 141 | the reader of the output went away |

`kinety agent` ends with 0 when a signal stopped it, and with 1 when it could not run. `kinety run` ends as
its command does, by the same signal, too.

Completion in the shell knows verbs, options, files, and what the agent knows: endpoints, policies, maps. Put
`eval "$(kinety completion bash)"` into `~/.bashrc`; `kinety completion --help` has the other shells.

Made by `tools/gen_cli.py` from the verbs' own help; `kinety agent --help` has the agent's options.
"""


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section for a verb and each of its own."""
    if command.name != "agent":
        yield f"## `{context.command_path}`\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from sections(child, click.Context(child, parent=context, info_name=name))


def text() -> str:
    """The file's content."""
    settings = kinety.context_settings
    top = click.Context(kinety, info_name="kinety", terminal_width=100, max_content_width=100, **settings)
    return "\n".join([HEAD, *sections(kinety, top)])


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
