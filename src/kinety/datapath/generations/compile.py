"""Generation 1: a compilation per endpoint, with its values as definitions.

The only generation that needs a compiler and the sources where it runs. The defaults of the node's
constants are those of the packaged object, so that they are written once, in bpf/abi/config.h.
"""

import errno
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import kinety
from kinety.datapath.template import OBJECT
from kinety.kernel.spec import CollectionSpec

from .generation import checked_spec, packaged_spec
from .values import Values

COMPILER = "clang-14"
#: As in the Makefile.
FLAGS = (
    *("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"),
    f"-I/usr/include/{platform.machine()}-linux-gnu",
)
#: With constants that leave two branches alike, clang reads a field of the context by a pointer that both
#: compute, and the verifier says "dereference of modified ctx ptr".
_NO_SINKING = ("-mllvm", "-sink-common-insts=false")
_SOURCE = "endpoint.bpf.c"
_GENERATION = 1
_PATIENCE_SECONDS = 60


class Compile:
    """How it was before: clang for every endpoint."""

    name = "compile"
    shared = False

    def __init__(self, sources: Path | None = None, compiler: str = COMPILER) -> None:
        """``sources`` is the folder bpf of the repository, by default the one this package lies beside.

        Raises FileNotFoundError without a compiler or the sources, with what to do.
        """
        found = shutil.which(compiler)
        if found is None:
            hint = "the generation `compile` runs clang for every endpoint: install it, or use another"
            raise FileNotFoundError(errno.ENOENT, hint, compiler)
        self._compiler = found
        self._sources = sources or Path(kinety.__file__).parents[2] / "bpf"
        if not (self._sources / _SOURCE).is_file():
            hint = "the generation `compile` needs Kinety's C sources, which a wheel does not have"
            raise FileNotFoundError(errno.ENOENT, hint, str(self._sources / _SOURCE))
        self._constants = packaged_spec(OBJECT).constants

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """Compile the source for one endpoint. Raises OSError with the compiler's own words."""
        if unknown := sorted(node.keys() - self._constants.keys()):
            raise ValueError(
                f"bpf/abi/config.h has no constant {', '.join(unknown)}; it has "
                f"{', '.join(sorted(self._constants))}"
            )
        for name, value in node.items():
            self._constants[name].pack(value)  # refuses what does not fit
        defaults = {name: constant.default for name, constant in self._constants.items()}
        constants = {**defaults, **values.constants(), **node}
        definitions = [f"-DVALUE_{name}={value:#x}" for name, value in constants.items()]
        with tempfile.TemporaryDirectory(prefix="kinety-compile-") as directory:
            target = Path(directory) / "endpoint.o"
            self._compile(definitions, target)
            return checked_spec(target.read_bytes(), f"{_SOURCE} for endpoint {values.endpoint}")

    def _compile(self, definitions: list[str], target: Path) -> None:
        command = [self._compiler, *FLAGS, *_NO_SINKING, f"-DGENERATION={_GENERATION}", f"-I{self._sources}"]
        command += definitions
        command += ["-c", str(self._sources / _SOURCE), "-o", str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
        except subprocess.CalledProcessError as error:
            failure = OSError(
                errno.EIO, f"{self._compiler} does not compile it", str(self._sources / _SOURCE)
            )
            for line in error.stderr.splitlines()[:3]:
                failure.add_note(line)
            raise failure from error
