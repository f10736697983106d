"""``kinety completion``: scripts that make a shell complete verbs and options."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    Bash: eval "$(kinety completion bash)" in ~/.bashrc. Zsh: the same in ~/.zshrc. Fish: kinety
    completion fish | source in ~/.config/fish/config.fish.
    """
    cls = get_completion_class(shell)
    if cls is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(cls(context.find_root().command, {}, "kinety", "_KINETY_COMPLETE").source())
