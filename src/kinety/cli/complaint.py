"""How an error reaches a person: one line on standard error, which nothing in it can break or colour."""

import click


def complain(message: str) -> None:
    """Print one thing that is wrong; what cannot be printed in it is escaped."""
    line = "".join(each if each.isprintable() else _escaped(each) for each in " ".join(message.split()))
    click.echo(f"kinety: {line}", err=True)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
