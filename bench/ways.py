"""Ways to give endpoints their programs, to ask the same of each: Kinety's generations and libbpf."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from bench.libbpf import Library
from bench.rows import Node
from kinety.datapath.generations.compile import Compile
from kinety.datapath.generations.deployment import Cost, Deployment, Memory
from kinety.datapath.generations.generation import Generation
from kinety.datapath.generations.resident import Resident
from kinety.datapath.generations.rodata import Rodata
from kinety.datapath.generations.symbols import Symbols
from kinety.datapath.generations.values import Values
from kinety.datapath.template import PROGRAMS
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.model.endpoint import EndpointId

__all__ = ["GENERATIONS", "LIBBPF", "ByGeneration", "ByLibbpf", "Way"]

GENERATIONS: dict[str, Callable[[], Generation]] = {
    "compile": Compile,
    "symbols": Symbols,
    "rodata": Rodata,
    "resident": Resident,
}
LIBBPF = "libbpf, open + load"
_RODATA = ".rodata.config"


class Way(Protocol):
    """Endpoints with programs, made in one way. ``close`` takes all of them away."""

    def deploy(self, values: Values) -> Cost:
        """Make, load and place the programs of one more endpoint."""
        ...

    def change(self, constants: Mapping[str, int]) -> Cost:
        """Give constants of the node other values, in the programs of every endpoint."""
        ...

    def memory(self) -> Memory:
        """Kernel memory of the programs, and of maps that are theirs alone."""
        ...

    def close(self) -> None: ...


class ByGeneration:
    """By one generation. Made and used in the node's namespace."""

    def __init__(self, node: Node, generation: Generation) -> None:
        self._generation = generation
        self._deployment = Deployment(node.maps, node.constants)

    def deploy(self, values: Values) -> Cost:
        return self._deployment.deploy(values, self._generation)

    def change(self, constants: Mapping[str, int]) -> Cost:
        return self._deployment.change(constants)

    def memory(self) -> Memory:
        return self._deployment.memory()

    def close(self) -> None:
        self._deployment.close()


class ByLibbpf:
    """By libbpf, which opens an object of ``rodata``, fills it and loads it for each endpoint.

    It attaches nothing. What is put into ``.rodata`` is worked out before the clock runs.
    """

    def __init__(self, node: Node, path: Path, rodata: Rodata) -> None:
        """``path`` is the object that ``rodata`` was read from."""
        self._library, self._path, self._rodata = Library(), path, rodata
        self._constants = node.constants
        self._maps = {name: each.fd for name, each in node.maps.items()}
        self._shared = {each.id for each in node.maps.values()}
        self._endpoints: dict[EndpointId, tuple[Values, list[Program]]] = {}

    def deploy(self, values: Values) -> Cost:
        programs, seconds = self._load(values)
        self._endpoints[values.endpoint] = values, programs
        return Cost(load=seconds)

    def change(self, constants: Mapping[str, int]) -> Cost:
        self._constants = {**self._constants, **constants}
        fresh = {endpoint: (values, *self._load(values)) for endpoint, (values, _) in self._endpoints.items()}
        former = [program for _, programs in self._endpoints.values() for program in programs]
        self._endpoints = {endpoint: (values, programs) for endpoint, (values, programs, _) in fresh.items()}
        for program in former:
            program.close()
        return Cost(load=sum(seconds for _, _, seconds in fresh.values()))

    def memory(self) -> Memory:
        programs = [program for _, each in self._endpoints.values() for program in each]
        own = {number for program in programs for number in program.map_ids()} - self._shared
        map_bytes = 0
        for number in own:
            with Map.from_id(number) as each:
                map_bytes += each.memory()
        return Memory(len(programs), sum(program.memory() for program in programs), len(own), map_bytes)

    def close(self) -> None:
        for _, programs in self._endpoints.values():
            for program in programs:
                program.close()
        self._endpoints = {}

    def _load(self, values: Values) -> tuple[list[Program], float]:
        contents = self._rodata.generate(values, self._constants).maps[_RODATA].contents
        assert contents is not None  # a section of the object's
        started = time.perf_counter()
        handle = self._library.load(self._path, {_RODATA: contents}, self._maps)
        seconds = time.perf_counter() - started
        return [Program(fd) for fd in self._library.programs(handle, PROGRAMS)], seconds
