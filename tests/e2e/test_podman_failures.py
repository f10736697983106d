"""Podman's containers when agent or Podman go away, at the worst moments; and many containers at once."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kinety.source import podman as source
from kinety.source.runtime import Container
from kinety.testing.wait import wait_until
from tests.e2e.podman import Podman
from tests.e2e.podman import podman as make_podman
from tests.e2e.real_node import SOON, Node
from tests.e2e.test_podman_labels import WEB_FROM_FRONT, assert_policy_holds, labels

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

MANY = 10
#: Podman's own failures; which of them it is, it guesses by words in the message.
REFUSED = (125, 126, 127)


@pytest.fixture
def podman(node: Node) -> Iterator[Podman]:
    """Podman on a node whose agent asks it, with one policy."""
    with make_podman(node) as made:
        node.start(*made.runtime)
        node.apply(WEB_FROM_FRONT)
        yield made


def assert_nothing_left(podman: Podman) -> None:
    podman.remove()
    assert podman.node.json("endpoint", "list") == []
    assert podman.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_labels_stay_when_the_agent_starts_again(podman: Podman, number: signal.Signals) -> None:
    for name in ("web", "front", "other"):
        podman.start(name, f"app={name}")
    podman.node.end(number)
    podman("stop", "--time", "0", "front")
    podman.node.start(*podman.runtime)
    podman("start", "front")
    assert labels(podman.node, "web") == {"container:app=web"}
    assert_policy_holds(podman, "web", "front", "other")
    assert_nothing_left(podman)


def test_containers_that_were_there_before_the_agent_asked_get_their_labels(podman: Podman) -> None:
    podman.node.end()
    podman.node.start()
    for name in ("web", "front", "other"):
        podman.start(name, f"app={name}")
    assert labels(podman.node, "web") == set()
    podman.node.end()
    podman.node.start(*podman.runtime)
    wait_until(lambda: labels(podman.node, "other") == {"container:app=other"}, SOON, "labels are followed")
    wait_until(lambda: labels(podman.node, "web") == {"container:app=web"}, SOON, "labels are followed")
    wait_until(lambda: labels(podman.node, "front") == {"container:app=front"}, SOON, "labels are followed")
    assert_policy_holds(podman, "web", "front", "other")
    assert_nothing_left(podman)


def test_without_an_agent_no_container_starts_and_nothing_is_left(podman: Podman) -> None:
    podman.start("before", "app=front")
    podman.node.end(signal.SIGKILL)
    done = podman.run("run", "--rm", *podman.container("--name", "web"))
    assert done.returncode in REFUSED
    assert f"the agent is away: no agent answers on {podman.node.socket}" in done.stderr
    podman("rm", "--force", "--time", "0", "before")
    podman.node.start(*podman.runtime)
    assert podman.left() == []
    assert podman.node.json("endpoint", "list") == []


def test_labels_that_podman_does_not_tell_are_no_reason_to_start_without(podman: Podman) -> None:
    """The program is away: only the agent's; the containers are started by the one that is there."""
    away = podman.directory / "away"
    podman.node.end()
    podman.node.start("--runtime", f"podman={away}")
    done = podman.run("run", "--rm", *podman.container("--name", "web"))
    assert done.returncode in REFUSED
    assert "podman does not say what labels container" in done.stderr
    assert podman.left() == []
    assert f"cannot run {away}: No such file or directory" in podman.node.kinety("status")
    away.symlink_to(podman.program)
    podman.start("web", "app=web")
    assert labels(podman.node, "web") == {"container:app=web"}
    assert_nothing_left(podman)


def being_started(podman: Podman, reached: Path, name: str, *options: str) -> "subprocess.Popen[bytes]":
    """A `podman run` that has come to the plugin."""
    words = podman.container("--name", name, "--label", f"app={name}", *options)
    process = subprocess.Popen([podman.program, "run", "--detach", *words], stdout=subprocess.DEVNULL)
    wait_until(lambda: reached.exists() and reached.read_text().strip(), SOON, "the plugin is called")
    return process


def test_labels_are_told_while_podman_waits_for_the_plugin(podman: Podman) -> None:
    with podman.held() as reached:
        process = being_started(podman, reached, "web")
        own = reached.read_text().strip()
        found = asyncio.run(source.Podman(str(podman.program)).find(own))
        assert found == Container(own, "web", {"app": "web"})
        assert process.poll() is None
    assert process.wait(SOON) == 0
    assert labels(podman.node, "web") == {"container:app=web"}
    assert_nothing_left(podman)


def forsaken(podman: Podman) -> Path:
    """Have Podman killed while it adds a container to the network. Returns the namespace that it forgets.

    It may forget mounts, too, which it makes at the same time, and which it cannot remove a container over.
    """
    with podman.held() as reached, being_started(podman, reached, "web") as process:
        process.kill()
    for place in podman.mounts():
        subprocess.run(["umount", place], check=True)
    wait_until(lambda: podman.node.json("endpoint", "list"), SOON, "the plugin goes on alone")
    return Path(podman.node.json("endpoint", "get", "web")["netns"])


def test_a_container_that_podman_was_killed_over_is_removed_with_its_endpoint(podman: Podman) -> None:
    namespace = forsaken(podman)
    podman("rm", "web")
    wait_until(lambda: podman.node.json("endpoint", "list") == [], SOON, "the removal is followed")
    subprocess.run(["umount", namespace], check=True)
    namespace.unlink()
    assert_nothing_left(podman)


def test_a_container_that_podman_was_killed_over_can_be_started_at_the_second_try(podman: Podman) -> None:
    namespace = forsaken(podman)
    first = podman.run("start", "web")
    assert first.returncode in REFUSED
    assert "there is an endpoint default/web already" in first.stderr
    podman("start", "web")
    podman.start("front", "app=front")
    podman.start("other", "app=other")
    assert_policy_holds(podman, "web", "front", "other")
    subprocess.run(["umount", namespace], check=True)
    namespace.unlink()
    assert_nothing_left(podman)


def test_without_events_labels_are_known_all_the_same(podman: Podman) -> None:
    configuration = podman.directory / "containers.conf"
    told = configuration.read_text()
    configuration.write_text(told.replace('events_logger = "file"', 'events_logger = "none"'))
    podman.node.end()
    podman.node.start(*podman.runtime)
    for name in ("web", "front", "other"):
        podman.start(name, f"app={name}")
    assert_policy_holds(podman, "web", "front", "other")
    wait_until(lambda: f"{podman.program} events: " in podman.node.kinety("status"), SOON, "status says why")
    configuration.write_text(told)
    wait_until(lambda: f"{podman.program} events: " not in podman.node.kinety("status"), SOON, "it goes on")
    assert_nothing_left(podman)


def test_many_containers_at_once(podman: Podman) -> None:
    podman.start("web", "app=web")
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda at: podman.start(f"c{at}", "app=front" if at % 2 else "app=other"), range(MANY)))
    for at in range(MANY):
        assert labels(podman.node, f"c{at}") == {"container:app=front" if at % 2 else "container:app=other"}
    assert_policy_holds(podman, "web", "c1", "c0")
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda at: podman("rm", "--force", "--time", "0", f"c{at}"), range(MANY)))
    assert [each["name"] for each in podman.node.json("endpoint", "list")] == ["web"]
    assert_nothing_left(podman)
