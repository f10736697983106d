"""Nothing is distributed without the BPF objects: it would install and never run."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithObjects(build_py):
    """Packages the objects that `make bpf` has compiled, or refuses."""

    def run(self) -> None:
        """Build; an editable installation may come before its objects."""
        if not self.editable_mode and not any(Path("src/kinety/bpf").glob("*.o")):
            raise SystemExit("kinety: the BPF objects are not built: run `make bpf` first")
        super().run()


setup(cmdclass={"build_py": BuildWithObjects})
