"""Podman's answers, given by a script in its place. The real one is in ``tests/e2e``."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kinety.model.label import K8S
from kinety.source import podman as source
from kinety.source.podman import Podman
from kinety.source.runtime import Container, News, Removed

WEB, DB, NEW = "a" * 64, "b" * 64, "c" * 64
LISTED = [
    {"Id": WEB, "Names": ["web"], "Labels": {"app": "web", "io.buildah.version": "1.28.2"}},
    {"Id": DB, "Names": ["db"], "Labels": None, "Pod": "d" * 64},
]
SCRIPT = """#!/bin/sh
echo "$*" >> {directory}/asked
case "$1 $2" in
{cases}
*) echo "Error: not expected" >&2; exit 125;;
esac
"""

Program = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Writes a program that does what is said for its first two words."""

    def write(cases: Mapping[str, str]) -> Path:
        lines = "\n".join(f'"{words}") {script};;' for words, script in cases.items())
        path = tmp_path / "podman"
        path.write_text(SCRIPT.format(directory=tmp_path, cases=lines))
        path.chmod(0o755)
        return path

    return write


def says(*values: Any) -> str:
    return "; ".join(f"echo '{json.dumps(each)}'" for each in values)


def event(status: str, container: str, name: str, **labels: str) -> dict[str, Any]:
    return {"ID": container, "Name": name, "Status": status, "Type": "container", "Attributes": labels}


def find(path: Path, container: str) -> Container | None:
    return asyncio.run(Podman(str(path)).find(container))


async def told(runtime: Podman, count: int) -> list[News]:
    """The first ones that are told."""
    async with asyncio.timeout(20), closed(runtime) as watching:
        return [await anext(watching) for _ in range(count)]


@asynccontextmanager
async def closed(runtime: Podman) -> AsyncIterator[AsyncIterator[News]]:
    watching = runtime.watch()
    try:
        yield watching
    finally:
        assert isinstance(watching, AsyncGenerator)
        await watching.aclose()


def test_labels_are_what_the_container_was_made_from(program: Program) -> None:
    labels = {"app": "web", "x": "a,b c", "only": "", "io.buildah.version": "1", "PODMAN_SYSTEMD_UNIT": "w"}
    path = program({"generate spec": says({"name": "web", "labels": labels, "rootfs": "/"})})
    assert find(path, WEB) == Container(WEB, "web", {"app": "web", "x": "a,b c", "only": ""})
    assert (path.parent / "asked").read_text() == f"generate spec --compact --name=false {WEB}\n"


def test_the_labels_of_a_pod_are_kubernetes(program: Program) -> None:
    path = program({"generate spec": says({"name": "infra", "labels": {"app": "web"}, "pod": "d" * 64})})
    assert find(path, WEB) == Container(WEB, "infra", {"app": "web"}, K8S)


def test_a_container_without_labels(program: Program) -> None:
    assert find(program({"generate spec": says({"name": "web"})}), WEB) == Container(WEB, "web", {})


def test_a_container_of_nobody(program: Program) -> None:
    path = program({"generate spec": "exit 125", "container exists": "exit 1"})
    assert find(path, WEB) is None


@pytest.mark.parametrize("name", ["web", "default-web", WEB[:12], WEB.upper(), WEB + "0"])
def test_another_runtimes_id_is_not_taken_for_a_name(program: Program, name: str) -> None:
    path = program({"generate spec": says({"name": "web"})})
    assert find(path, name) is None
    assert not (path.parent / "asked").exists()


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (
            {"generate spec": "echo why >&2; exit 125", "container exists": "exit 0"},
            "generate spec failed: why",
        ),
        ({"generate spec": "exit 125", "container exists": "exit 125"}, "generate spec failed"),
        ({"generate spec": "echo nonsense"}, "answered no JSON"),
    ],
)
def test_what_podman_fails_to_say_is_not_no_labels(
    program: Program, cases: Mapping[str, str], message: str
) -> None:
    with pytest.raises(OSError, match=message):
        find(program(cases), WEB)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"cannot run {tmp_path}/podman: No such file"):
        find(tmp_path / "podman", WEB)


def test_an_answer_is_not_waited_for_for_ever(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE", 0.2)
    with pytest.raises(OSError, match="generate spec did not answer within 0 s"):
        find(program({"generate spec": "exec sleep 60"}), WEB)


def test_all_are_told_and_then_those_that_are_made(program: Program) -> None:
    new = Container(NEW, "new", {"app": "new"})
    events = says(event("create", NEW, "new", app="new"), event("remove", WEB, "web", app="web"))
    path = program({"ps --all": says(LISTED), "events --format": f"{events}; exec sleep 60"})
    web, db = Container(WEB, "web", {"app": "web"}), Container(DB, "db", {}, K8S)

    async def watched() -> None:
        runtime = Podman(str(path))
        assert runtime.problem == "not asked yet"
        assert await told(runtime, 4) == [web, db, new, Removed(WEB)]
        assert runtime.problem is None
        asked = (path.parent / "asked").read_text()
        assert (await runtime.find(DB), await runtime.find(NEW)) == (
            db,
            Container(NEW, "new", {"app": "new"}),
        )
        assert (path.parent / "asked").read_text() == asked, "what was told is known"

    asyncio.run(watched())


def test_a_break_is_followed_by_all_of_them_again(program: Program) -> None:
    path = program({"ps --all": says(LISTED), "events --format": "echo Error: no events; exit 125"})

    async def watched() -> None:
        runtime = Podman(str(path))
        assert [each.id for each in await told(runtime, 5)] == [WEB, DB, WEB, DB, WEB]

    asyncio.run(watched())


def test_who_is_not_listed_any_more_is_not_taken_for_removed(program: Program) -> None:
    listed = f"mkdir $0.listed && {says(LISTED)} || {says(LISTED[:1])}"
    path = program({"ps --all": listed, "events --format": "exit 0"})

    async def watched() -> None:
        assert [each.id for each in await told(Podman(str(path)), 4)] == [WEB, DB, WEB, WEB]

    asyncio.run(watched())


def test_a_break_says_why(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    path = program({"ps --all": "echo broken >&2; exit 125", "events --format": "exec sleep 60"})

    async def watched() -> str | None:
        runtime = Podman(str(path))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), closed(runtime) as watching:
                await anext(watching)
        return runtime.problem

    assert asyncio.run(watched()) == f"{path} ps failed: broken"
    assert caplog.messages == [f"containers of Podman are not followed: {path} ps failed: broken"]
