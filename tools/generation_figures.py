"""What a benchmark's JSON document says of generations: for those who draw it and those who tabulate it.

The questions are ``generations`` or ``generations_in_full``, ``generation_price``, ``generation_traffic``,
``template_size`` and ``hook_price`` of ``bench``; figures are found by their names.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

GENERATIONS = ("compile", "symbols", "rodata", "resident")
LIBBPF = "libbpf"
#: A second load of what traffic is compared with.
CONTROL = "compile, loaded again"
_AT_COUNT = re.compile(r"(\w+), (\d+) endpoints?: (.+)")
_OF_TEMPLATE = re.compile(r"(template|endpoint\.bpf\.c), (\d+) instructions: (.+)")
_OF_PACKET = re.compile(r"(\w+), (IPv[46]): packet of an established flow")
_OF_HOOKS = re.compile(r"(.+), (IPv[46]): above loaded without a hook point")
_OF_LOAD = re.compile(rf"(.+): ({'|'.join((CONTROL, *GENERATIONS))})")

Series = Mapping[int, float]
Figure = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A pair of programs, and its figures by what they say. ``real`` is the pair that the agent uses."""

    real: bool
    instructions: int
    figures: Mapping[str, Figure]

    def value(self, what: str) -> float:
        return float(self.figures[what]["value"])

    def baseline(self, what: str) -> float:
        return float(self.figures[what]["baseline"])


@dataclass(frozen=True, slots=True)
class Document:
    """Figures by name."""

    figures: Mapping[str, Figure]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError when the questions were not asked of every generation."""
        found = cls({each["name"]: each for each in json.loads(path.read_text())["figures"]})
        made = found.by_count("generate + load, each")
        if missing := [name for name in GENERATIONS if name not in made]:
            raise ValueError(f"{path}: no figures of {', '.join(missing)}: ask bench.run for `generations`")
        return found

    def by_count(self, what: str) -> dict[str, dict[int, float]]:
        """A figure by generation and number of endpoints, libbpf's where it is the baseline."""
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for name, figure in self.figures.items():
            if (match := _AT_COUNT.fullmatch(name)) and match[3] == what:
                found[match[1]][int(match[2])] = float(figure["value"])
                if figure["baseline"] is not None:
                    found[LIBBPF][int(match[2])] = float(figure["baseline"])
        return dict(found)

    def packets(self) -> dict[tuple[str, str], Figure]:
        """Nanoseconds of a packet, by generation and family; ``compile`` is the baseline."""
        matches = ((_OF_PACKET.fullmatch(name), each) for name, each in self.figures.items())
        return {(match[1], match[2]): each for match, each in matches if match}

    def traffic(self) -> dict[tuple[str, str], Figure]:
        """Rates by load, and generation or control; ``compile`` is the baseline."""
        found = {}
        for name, figure in self.figures.items():
            if match := _OF_LOAD.fullmatch(name):
                found[match[1], match[2]] = figure
        return found

    def hooks(self) -> dict[tuple[str, str], Figure]:
        """Nanoseconds above programs without the hook point, by what hangs there and family."""
        matches = ((_OF_HOOKS.fullmatch(name), each) for name, each in self.figures.items())
        return {(match[1], match[2]): each for match, each in matches if match}

    def templates(self) -> list[Template]:
        """By size, the real one last."""
        found: dict[tuple[bool, int], dict[str, Figure]] = defaultdict(dict)
        for name, figure in self.figures.items():
            if match := _OF_TEMPLATE.fullmatch(name):
                found[match[1] != "template", int(match[2])][match[3]] = figure
        return [Template(*key, figures) for key, figures in sorted(found.items())]

    def goals(self) -> list[Figure]:
        """Figures that a bound was set for, to the ratio."""
        return [each for each in self.figures.values() if (each["goal"] or "").startswith("ratio")]
