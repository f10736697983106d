"""All that the kernel's verifier said of a program it refuses: for who asks, in a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

verifier_log_option = click.option(
    "--verifier-log",
    "log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all that the verifier says of a program it refuses there; the message has its telling line.",
)


@contextmanager
def verifier_log(path: Path | None) -> Iterator[None]:
    """Write the log that a refusal carries, if any. Raises what it met."""
    from kinety.api.errors import ApiError

    try:
        yield
    except ApiError as error:
        if path is not None and error.problem.log is not None:
            path.write_text(error.problem.log)
        raise
