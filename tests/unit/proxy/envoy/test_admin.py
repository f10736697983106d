"""Envoy's statistics as a table by listener."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kinety.proxy.envoy.admin import ListenerStatistics, statistics, version


def asked(tmp_path: Path, answer: dict[str, Any]) -> dict[str, ListenerStatistics]:
    async def main() -> dict[str, ListenerStatistics]:
        async def stats(request: web.Request) -> web.Response:
            assert request.query["format"] == "json"
            return web.json_response(answer)

        application = web.Application()
        application.router.add_get("/stats", stats)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        try:
            return await statistics(tmp_path / "s")
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def counter(name: str, value: int) -> dict[str, Any]:
    return {"name": name, "value": value}


def test_http_and_tls_listeners(tmp_path: Path) -> None:
    answer = {
        "stats": [
            counter("http.a.downstream_rq_total", 10),
            counter("http.a.rq_direct_response", 3),
            counter("listener.a.downstream_cx_total", 4),
            counter("listener.b.downstream_cx_total", 9),
            counter("listener.b.no_filter_chain_match", 2),
            counter("tcp.b.downstream_cx_total", 5),
            {
                "histograms": {
                    "supported_quantiles": [0, 50, 99],
                    "computed_quantiles": [
                        {
                            "name": "http.a.downstream_rq_time",
                            "values": [
                                {"interval": None, "cumulative": 0},
                                {"interval": None, "cumulative": 1.05},
                                {"interval": None, "cumulative": 7},
                            ],
                        }
                    ],
                }
            },
        ]
    }
    assert asked(tmp_path, answer) == {
        "a": ListenerStatistics(10, 3, 1.05, 7),
        "b": ListenerStatistics(7, 2, None, None),
    }


def test_a_listener_nobody_used(tmp_path: Path) -> None:
    answer = {"stats": [counter("listener.a.downstream_cx_total", 0), {"histograms": {}}]}
    assert asked(tmp_path, answer) == {"a": ListenerStatistics(0, 0, None, None)}


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Envoy does not answer on"):
        asyncio.run(version(tmp_path / "none"))
