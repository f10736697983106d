"""Write what benchmarks say of rules about content into a page, as tables.

    python -m tools.tabulate_layer7 RESULTS PAGE

RESULTS is what ``python -m bench.run --output RESULTS`` wrote about ``layer7``, ``layer7_listener``,
``layer7_apply`` and ``dns``; PAGE has places for tables (tools/tables.py).
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from tools.tables import NOTHING, Figure, amount, fill, markdown, ratio

DIRECT, DEFAULT = "direct", "sk_assign"
_OF_REQUESTS = re.compile(
    r"(redirect alone, )?([^:]+ connections?, [^:]+): ([^,]+)(?:, (p50|p99|processor))?"
)
_OF_LISTENERS = re.compile(r"(one more|one changed) with (\d+) rule sets?, (P50|P99)")
_OF_MEMORY = re.compile(r"Envoy, (\d+) rule sets?")
_OF_MANY = re.compile(r"(\d+) rule sets? more at once, (\d+) in all")
_OF_POLICY = re.compile(r"(policy .+), (P50|P99)")
_OF_NAMES = re.compile(r"(DNS[^:]*): (.+)")


class Asked(NamedTuple):
    """What a figure about requests is of; ``what`` is nothing for how many a second."""

    alone: bool
    case: str
    way: str
    what: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Document:
    """Figures; those about requests by what was asked."""

    figures: Sequence[Figure]
    requests: Mapping[Asked, Figure]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError when there is none of requests."""
        figures = json.loads(path.read_text())["figures"]
        requests = {}
        for each in figures:
            if match := _OF_REQUESTS.fullmatch(each["name"]):
                alone, case, way, what = match.groups(default="")
                requests[Asked(bool(alone), case, way, what, each["baseline_name"])] = each
        if not requests:
            raise ValueError(f"{path}: no figures of requests: ask bench.run for `layer7`")
        return cls(figures, requests)

    def cases(self) -> list[str]:
        """Kinds of requests."""
        return list(dict.fromkeys(each.case for each in self.requests))

    def ways(self, alone: bool) -> list[str]:
        """Ways other than the direct one."""
        return list(dict.fromkeys(each.way for each in self.requests if each.alone == alone))

    def rivals(self) -> list[str]:
        """Ways that another is compared with, other than the direct one."""
        return [each for each in dict.fromkeys(each.baseline for each in self.requests) if each != DIRECT]

    def by_way(self, alone: bool, case: str, what: str) -> list[Figure]:
        """Against the direct way."""
        return [self.requests[Asked(alone, case, way, what, DIRECT)] for way in self.ways(alone)]

    def matching(self, pattern: re.Pattern[str]) -> list[tuple[re.Match[str], Figure]]:
        """Figures whose whole name is so."""
        matches = ((pattern.fullmatch(each["name"]), each) for each in self.figures)
        return [(match, each) for match, each in matches if match]


def by_way(document: Document, heading: str, alone: bool, *what: str) -> str:
    """By kind of requests, the direct way and the others; several figures in each cell if need be."""
    rows = []
    for case in document.cases():
        parts = [document.by_way(alone, case, each) for each in what]
        cells = [[figures[0]["baseline"], *(each["value"] for each in figures)] for figures in parts]
        rows.append([case, *(" / ".join(map(amount, cell)) for cell in zip(*cells, strict=True))])
    return markdown([heading, DIRECT, *document.ways(alone)], rows)


def requests(document: Document) -> str:
    """Through Envoy, but for the direct way."""
    return by_way(document, "requests a second", False, "")


def times(document: Document) -> str:
    """Median, and what one request in a hundred exceeds."""
    return by_way(document, "µs, P50 / P99", False, "p50", "p99")


def processor(document: Document) -> str:
    """Microseconds of the processor."""
    return by_way(document, "µs of the processor for a request", False, "processor")


def alone_processor(document: Document) -> str:
    """The same where the server itself is in the proxy's place."""
    return by_way(document, "redirect alone, µs for a request", True, "processor")


def alone(document: Document) -> str:
    """Requests a second there, as ratios to the direct way."""
    rows = [[case, *map(ratio, document.by_way(True, case, ""))] for case in document.cases()]
    return markdown([f"redirect alone, against {DIRECT}", *document.ways(alone=True)], rows)


def rivals(document: Document) -> str:
    """Requests a second of the default way, as ratios to other ways'."""
    names = document.rivals()
    rows = [
        [case, *(ratio(document.requests[Asked(False, case, DEFAULT, "", name)]) for name in names)]
        for case in document.cases()
    ]
    return markdown([f"{DEFAULT} against", *names], rows)


def listeners(document: Document) -> str:
    """Milliseconds until Envoy serves, and its memory, by how many sets of rules there are."""
    memory = {int(match[1]): each for match, each in document.matching(_OF_MEMORY)}
    many = {int(match[2]): (match[1], each) for match, each in document.matching(_OF_MANY)}
    parts = {(match[1], int(match[2]), match[3]): each for match, each in document.matching(_OF_LISTENERS)}
    rows = []
    for count, envoy in memory.items():
        several, took = many[count]
        cells = (
            " / ".join(amount(parts[what, count, part]["value"]) for part in ("P50", "P99"))
            for what in ("one more", "one changed")
        )
        rows.append(
            [str(count), f"{several}: {amount(took['value'])}", *cells, f"{amount(envoy['value'])} MiB"]
        )
    head = ["sets of rules", "added at once, ms", "one more, P50 / P99", "one changed, P50 / P99", "Envoy"]
    return markdown(head, rows)


def policies(document: Document) -> str:
    """Milliseconds from the order to apply until the first request is judged by it, and until the answer."""
    found = {(match[1], match[2]): each for match, each in document.matching(_OF_POLICY)}
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        both = [found[name, part] for part in ("P50", "P99")]
        goal = both[1]["goal"].removeprefix("value <= ")
        rows.append(
            [
                name,
                *(amount(each["value"]) for each in both),
                f"{goal}: {'met' if both[1]['met'] else '**not met**'}",
                *(amount(each["baseline"]) for each in both),
            ]
        )
    head = ["ms", "judged, P50", "P99", "goal for P99", "answered, P50", "P99"]
    return markdown(head, rows)


def names(document: Document) -> str:
    """What the DNS proxy does and adds."""
    found: dict[str, dict[str, Figure]] = {}
    for match, each in document.matching(_OF_NAMES):
        found.setdefault(match[1], {})[match[2]] = each
    rows = []
    for name, figures in found.items():
        pace = next(what.removeprefix("lost at ") for what in figures if what.startswith("lost at "))
        cells = (
            figures.get("answers"),
            figures.get("the proxy's processor time"),
            *(figures[f"added at {pace}, {part}"] for part in ("p50", "p99")),
        )
        rows.append([name, *(NOTHING if each is None else amount(each["value"]) for each in cells), pace])
    return markdown(
        ["", "answers a second", "µs of the processor for one", "added, ms, P50", "P99", "at questions"], rows
    )


TABLES: dict[str, Callable[[Document], str]] = {
    "requests": requests,
    "times": times,
    "processor": processor,
    "rivals": rivals,
    "alone": alone,
    "alone_processor": alone_processor,
    "listeners": listeners,
    "policies": policies,
    "names": names,
}


def main() -> None:
    """Fill the page."""
    results, page = map(Path, sys.argv[1:])
    page.write_text(fill(page.read_text(), TABLES, Document.read(results)))


if __name__ == "__main__":
    main()
