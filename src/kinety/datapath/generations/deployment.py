"""Endpoints deployed by generations: their programs loaded, placed, moved, changed and removed.

Programs are made and verified first, and placed last, so whatever fails, each endpoint is judged by
programs that are whole: those it had. Changing a constant for all endpoints is the same at large: all
programs are made, then all placements are replaced; if one cannot be, the others go back.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from kinety.datapath.replacement import Programs, Step, all_or_none
from kinety.datapath.template import PROGRAMS, shared_maps
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec
from kinety.model.endpoint import EndpointId

from .generation import Generation
from .placement import Hooks, Placement
from .values import Values


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that programs took: to make, to load (the verifier included), and to place."""

    generate: float = 0.0
    load: float = 0.0
    attach: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.generate + other.generate, self.load + other.load, self.attach + other.attach)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the kernel keeps for deployed endpoints, in numbers and bytes; the node's maps are not in it."""

    programs: int
    program_bytes: int
    maps: int
    map_bytes: int


@dataclass(slots=True)
class _Loaded:
    """Programs of a generation with the maps of their own; ``users`` endpoints are judged by them."""

    generation: Generation
    spec: CollectionSpec
    collection: Collection
    users: int

    @property
    def programs(self) -> Programs:
        return self.collection.programs

    def own_maps(self, shared: Mapping[str, Map]) -> list[Map]:
        return [each for name, each in self.collection.maps.items() if name not in shared]


@dataclass(slots=True)
class _Deployed:
    values: Values
    loaded: _Loaded
    placement: Placement


class Deployment:
    """Endpoints with programs of whatever generation. One caller at a time, in the node's namespace."""

    def __init__(
        self,
        maps: Mapping[str, Map],
        node: Mapping[str, int],
        *,
        fallback: Mapping[str, Program] | None = None,
        clsact_only: bool = False,
    ) -> None:
        """``maps`` are the node's, shared by all; ``node`` are constants of bpf/abi/config.h.

        ``fallback`` are the programs that judge an endpoint whose filters are removed (the agent's).
        """
        self._maps = maps
        self._sizes = {name: each.info.max_entries for name, each in maps.items()}
        self._node = dict(node)
        self._hooks = Hooks(fallback, clsact_only=clsact_only)
        self._endpoints: dict[EndpointId, _Deployed] = {}
        self._shared: dict[Generation, _Loaded] = {}

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def tcx(self) -> bool:
        """Whether programs are placed by tcx links; else by clsact filters."""
        return self._hooks.tcx

    def generation(self, endpoint: EndpointId) -> str:
        """What an endpoint's programs were made by. Raises KeyError when it is not deployed."""
        return self._endpoints[endpoint].loaded.generation.name

    def programs(self, endpoint: EndpointId) -> Programs:
        """The programs that judge an endpoint. Raises KeyError when it is not deployed."""
        return self._endpoints[endpoint].loaded.programs

    def deploy(self, values: Values, generation: Generation) -> Cost:
        """Judge an endpoint, whose interface and row exist, by programs of a generation.

        Raises OSError when kernel or compiler refuse, ValueError when object and values do not fit or the
        endpoint is deployed already. Nothing is left behind then.
        """
        if values.endpoint in self._endpoints:
            raise ValueError(f"endpoint {values.endpoint} is deployed already: move it")
        loaded, cost = self._make(values, generation)
        try:
            started = time.perf_counter()
            placement = self._hooks.place(values.interface, loaded.programs)
            cost += Cost(attach=time.perf_counter() - started)
        except BaseException:
            self._release(loaded)
            raise
        self._endpoints[values.endpoint] = _Deployed(values, loaded, placement)
        return cost

    def move(self, endpoint: EndpointId, generation: Generation) -> Cost:
        """Judge a deployed endpoint by another generation's programs from some packet on; none is lost.

        Raises KeyError when it is not deployed, else as ``deploy``; the endpoint then stays as it was.
        """
        deployed = self._endpoints[endpoint]
        loaded, cost = self._make(deployed.values, generation)
        try:
            cost += self._replace(deployed, loaded)
        except BaseException:
            self._release(loaded)
            raise
        former, deployed.loaded = deployed.loaded, loaded
        self._release(former)
        return cost

    def change(self, constants: Mapping[str, int]) -> Cost:
        """Give constants of the node other values, for every endpoint or for none.

        Raises as ``deploy``; then all endpoints are judged as before.
        """
        node, shared = self._node, self._shared
        self._node, self._shared = {**node, **constants}, {}
        fresh: dict[EndpointId, _Loaded] = {}
        total = Cost()
        try:
            for endpoint, deployed in self._endpoints.items():
                fresh[endpoint], cost = self._make(deployed.values, deployed.loaded.generation)
                total += cost
            started = time.perf_counter()
            all_or_none(
                Step(
                    partial(deployed.placement.replace, fresh[endpoint].programs),
                    partial(deployed.placement.replace, deployed.loaded.programs),
                )
                for endpoint, deployed in self._endpoints.items()
            )
            total += Cost(attach=time.perf_counter() - started)
        except BaseException:
            for loaded in fresh.values():
                self._release(loaded)
            self._node, self._shared = node, shared
            raise
        for endpoint, deployed in self._endpoints.items():
            former, deployed.loaded = deployed.loaded, fresh[endpoint]
            self._release(former)
        return total

    def remove(self, endpoint: EndpointId) -> bool:
        """Take an endpoint's programs away; False when it has none."""
        deployed = self._endpoints.pop(endpoint, None)
        if deployed is None:
            return False
        deployed.placement.remove()
        self._release(deployed.loaded)
        return True

    def variable(self, endpoint: EndpointId, name: str) -> bytes:
        """The bytes of a variable that an endpoint's programs keep in ``.data`` or ``.bss``.

        Raises KeyError when they have none of that name.
        """
        loaded = self._endpoints[endpoint].loaded
        variable = loaded.spec.variables[name]
        row = loaded.collection.maps[variable.section].lookup(bytes(4))
        assert row is not None  # an array of one row
        return row[variable.offset : variable.offset + variable.size]

    def memory(self) -> Memory:
        """Kernel memory of programs and of maps that are theirs alone."""
        loaded = list({id(each.loaded): each.loaded for each in self._endpoints.values()}.values())
        programs = [program for each in loaded for program in each.programs.values()]
        maps = [each for one in loaded for each in one.own_maps(self._maps)]
        return Memory(
            len(programs),
            sum(program.memory() for program in programs),
            len(maps),
            sum(each.memory() for each in maps),
        )

    def close(self) -> None:
        """Remove every endpoint's programs; idempotent."""
        for endpoint in list(self._endpoints):
            self.remove(endpoint)
        self._hooks.close()

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, values: Values, generation: Generation) -> tuple[_Loaded, Cost]:
        """Programs for one more user, to be given back by ``_release``."""
        if generation.shared and (held := self._shared.get(generation)):
            held.users += 1
            return held, Cost()
        started = time.perf_counter()
        spec = generation.generate(values, self._node)
        generated = time.perf_counter()
        try:
            collection = self._load(spec)
        except (OSError, ValueError) as error:
            error.add_note(f"generation {generation.name}, endpoint {values.endpoint}")
            raise
        loaded = _Loaded(generation, spec, collection, users=1)
        if generation.shared:
            self._shared[generation] = loaded
        return loaded, Cost(generated - started, time.perf_counter() - generated)

    def _load(self, spec: CollectionSpec) -> Collection:
        """Programs over the node's maps. What the node does without is not made for them either."""
        if shared_maps(spec).keys() - self._maps.keys():
            spec = pruned(spec)
        maps = {name: each for name, each in self._maps.items() if name in spec.maps}
        sizes = {name: self._sizes[name] for name in maps}
        return Collection.load(spec, max_entries=sizes, maps=maps, programs=PROGRAMS)

    @staticmethod
    def _replace(deployed: _Deployed, loaded: _Loaded) -> Cost:
        started = time.perf_counter()
        deployed.placement.replace(loaded.programs)
        return Cost(attach=time.perf_counter() - started)

    def _release(self, loaded: _Loaded) -> None:
        loaded.users -= 1
        if loaded.users:
            return
        if self._shared.get(loaded.generation) is loaded:
            del self._shared[loaded.generation]
        loaded.collection.close()
