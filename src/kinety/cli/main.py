"""``kinety``: the entry point, and what becomes of errors."""

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from kinety import __version__
from kinety.cli.complaint import complain
from kinety.cli.exit_code import BROKEN_PIPE, INTERRUPTED, OK, REFUSED, UNREACHABLE, USAGE

#: Verb → where it is defined, and its line in the help.
COMMANDS = {
    "address": ("kinety.cli.address:address", "Show which endpoint has which address."),
    "agent": ("kinety.cli.agent:agent", "Run the agent of this node."),
    "cni": ("kinety.cli.cni:cni", "Make Kinety the network of container runtimes."),
    "completion": ("kinety.cli.completion:completion", "Print a shell's completion script."),
    "datapath": (
        "kinety.cli.datapath:datapath",
        "Look at the programs that judge packets, and replace them.",
    ),
    "endpoint": ("kinety.cli.endpoint:endpoint", "Attach network namespaces and look at them."),
    "fqdn": ("kinety.cli.fqdn:fqdn", "Show what DNS said of names that rules ask for."),
    "identity": ("kinety.cli.identity:identity", "Show identities and their labels."),
    "map": ("kinety.cli.map:map_", "Look into the maps of the datapath."),
    "monitor": ("kinety.cli.monitor:monitor", "Show new flows and drops as they happen."),
    "policy": ("kinety.cli.policy:policy", "Apply, check, show and explain policies."),
    "namespace": ("kinety.cli.namespace:namespace", "What holds for all endpoints of a namespace."),
    "node": ("kinety.cli.node:node", "What holds for the node itself."),
    "proxy": ("kinety.cli.proxy:proxy", "Show the proxies that look into flows."),
    "run": ("kinety.cli.run:run", "Run a command in a network namespace of its own, as an endpoint."),
    "status": ("kinety.cli.status:status", "Show how the agent is doing."),
    "test": ("kinety.cli.test:test", "Check scenarios, offline or with real packets."),
}


class VerbGroup(click.Group):
    """Verbs that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the verbs."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, imported."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing any verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="kinety %(version)s")
@click.option("--socket", type=click.Path(), metavar="PATH", help="The agent's socket.  [env: KINETY_SOCKET]")
def kinety(socket: str | None) -> None:
    """Container networking and security policy for Linux, enforced by eBPF."""


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Nothing more can be written; without this the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _run() -> int:
    try:
        result: Any = kinety.main(prog_name="kinety", standalone_mode=False)
    except SystemExit:
        # Click meets a broken pipe first, makes standard output harmless and exits.
        if "PacifyFlushWrapper" in type(sys.stdout).__name__:
            return BROKEN_PIPE
        raise
    except click.exceptions.Abort as error:
        raise KeyboardInterrupt from error
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "kinety"
        return _fail(USAGE, f"{error.format_message()} (see {command} --help)")
    except click.ClickException as error:
        return _fail(error.exit_code, error.format_message())
    except BrokenPipeError:
        raise
    except ConnectionError as error:
        return _fail(UNREACHABLE, str(error))
    except (OSError, ValueError) as error:
        return _fail(REFUSED, str(error))
    except Exception as error:
        if type(error).__module__ != "kinety.api.errors":
            raise
        return _fail(REFUSED, str(error))
    return result if isinstance(result, int) else OK


def _fail(code: int, message: str) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    main()
