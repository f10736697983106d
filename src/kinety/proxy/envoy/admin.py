"""Envoy's statistics, asked for on its own socket."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

_SECONDS = aiohttp.ClientTimeout(total=5)
#: How the names of all statistics end that are asked for: Envoy keeps no others.
STATISTICS = (
    ".downstream_rq_total",
    ".rq_direct_response",
    ".downstream_rq_time",
    ".downstream_cx_total",
    ".no_filter_chain_match",
)
_WANTED = (
    r"^http\.[^.]+\.(downstream_rq_total|rq_direct_response|downstream_rq_time)$"
    r"|^tcp\.[^.]+\.downstream_cx_total$"
    r"|^listener\.[^.]+\.(downstream_cx_total|no_filter_chain_match)$"
)


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """Requests, or TLS connections, since Envoy's start; ``p50`` and ``p99`` of the time they took, in ms."""

    requests: int
    denied: int
    p50: float | None
    p99: float | None


async def version(socket: Path) -> str:
    """Which Envoy it is. Raises OSError when it does not answer."""
    # The commit, the version, and how it was built.
    return str((await _asked(socket, "/server_info"))["version"].split("/")[1])


async def statistics(socket: Path) -> dict[str, ListenerStatistics]:
    """Of every listener, by its name. Raises OSError when Envoy does not answer."""
    # The first question has Envoy's threads sum up what they measured, the second gets the sums.
    await _asked(socket, "/stats", format="json", filter="^$")
    answer = await _asked(socket, "/stats", format="json", filter=_WANTED)
    counters: dict[str, int] = {}
    times: dict[str, tuple[float | None, float | None]] = {}
    for each in answer["stats"]:
        if "name" in each:
            counters[each["name"]] = each["value"]
        else:
            times.update(_times(each["histograms"]))
    names = {each.split(".")[1] for each in counters if each.startswith("listener.")}
    return {name: _of_listener(name, counters, times.get(name, (None, None))) for name in names}


def _of_listener(
    name: str, counters: Mapping[str, int], times: tuple[float | None, float | None]
) -> ListenerStatistics:
    if (total := counters.get(f"http.{name}.downstream_rq_total")) is not None:
        return ListenerStatistics(total, counters.get(f"http.{name}.rq_direct_response", 0), *times)
    # Connections to the listener itself are nobody's requests.
    total = counters.get(f"listener.{name}.downstream_cx_total", 0)
    total -= counters.get(f"listener.{name}.no_filter_chain_match", 0)
    return ListenerStatistics(total, total - counters.get(f"tcp.{name}.downstream_cx_total", 0), None, None)


def _times(histograms: Mapping[str, Any]) -> Iterable[tuple[str, tuple[float | None, float | None]]]:
    """p50 and p99 by listener."""
    quantiles = histograms.get("supported_quantiles", [])
    for each in histograms.get("computed_quantiles", []):
        found = dict(zip(quantiles, (value["cumulative"] for value in each["values"]), strict=True))
        yield each["name"].split(".")[1], (found.get(50), found.get(99))


async def _asked(socket: Path, path: str, **query: str) -> dict[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=_SECONDS) as session,
            session.get(f"http://envoy{path}", params=query) as response,
        ):
            found: dict[str, Any] = await response.json(content_type=None)
            return found
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"Envoy does not answer on {socket}: {error}") from error
