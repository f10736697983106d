"""Answers on their way into plan, store and kernel, and out of them again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from ipaddress import ip_address

import pytest

from kinety.agent.declaration import parsed
from kinety.agent.names.names import Mapped, Names
from kinety.agent.worker import Worker
from kinety.model.address import IPAddress, Prefix, pack_address
from kinety.model.identity import Identity
from kinety.model.label import Label
from kinety.model.name import Answer
from kinety.plan.change import Capacity
from tests.unit.agent.conftest import Agent

ONE, TWO, THREE = (Prefix.parse(f"192.0.2.{number}/32") for number in range(1, 4))


def answer(name: str, *addresses: Prefix, ttl: int = 60, chain: tuple[str, ...] = ()) -> Answer:
    return Answer(name, tuple((ip_address(str(each).partition("/")[0]), ttl) for each in addresses), chain)


POLICY = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: names}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toFQDNs: [PEERS]
    toPorts: [{ports: [{port: "443"}]}]
"""


class Scene:
    """An agent with a policy about ``*.com``, and its names."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.now = agent, 1000.0
        self.told: list[tuple[str, str, bool]] = []
        self.agent.attach(1, "client")
        self.obey("*.com")

    def obey(self, *patterns: str) -> None:
        peers = ", ".join(f"{{matchPattern: '{each}'}}" for each in patterns)
        self.agent.control.apply([parsed("names.yaml", POLICY.replace("PEERS", peers))])
        self.agent.control.settle()

    def names(self, worker: Worker) -> Names:
        return Names(self.agent.control, worker, self.agent.names, self.forget, lambda: self.now)

    async def forget(self, mapped: Collection[Mapped]) -> None:
        """What a proxy is told, and whether the kernel still has it then."""
        self.told += [(name, str(address), self.knows(address)) for name, address in mapped]

    def knows(self, address: IPAddress) -> bool:
        return Prefix(pack_address(address), 128) in self.kernel()

    def kernel(self) -> dict[Prefix, Identity]:
        return dict(self.agent.datapath.ipcache)


def asked_by(client: str, name: str, *addresses: Prefix) -> Answer:
    return replace(answer(name, *addresses), client=ip_address(client))


def story(scene: Scene, told: Callable[[Names], Awaitable[None]]) -> None:
    """A coroutine with the scene's names, on an event loop and a worker of its own."""

    async def tell() -> None:
        worker = Worker()
        try:
            await told(scene.names(worker))
        finally:
            worker.close()

    asyncio.run(tell())


@pytest.fixture
def scene(agent: Agent) -> Scene:
    return Scene(agent)


def test_the_kernel_knows_an_address_when_learning_returns(scene: Scene) -> None:
    async def told(names: Names) -> None:
        assert await names.learn(answer("a.com", ONE, TWO))
        kernel = scene.kernel()
        assert kernel[ONE] == kernel[TWO]
        assert scene.agent.control.engine.identities[kernel[ONE]] >= {Label("fqdn", "*.com")}
        steps = scene.agent.control.steps
        assert await names.learn(answer("a.com", TWO))
        assert scene.agent.control.steps == steps, "a mapping that is known is only renewed"
        assert await names.learn(answer("b.com", THREE))
        assert scene.kernel()[THREE] == kernel[ONE]
        assert scene.agent.agrees()

    story(scene, told)


def test_answers_that_come_at_once_are_one_step(scene: Scene) -> None:
    async def told(names: Names) -> None:
        steps = scene.agent.control.steps
        addresses = [Prefix.parse(f"198.51.100.{number}/32") for number in range(50)]
        said = (names.learn(answer(f"{each.packed[-1]}.com", each)) for each in addresses)
        assert all(await asyncio.gather(*said))
        assert scene.kernel().keys() >= set(addresses)
        assert scene.agent.control.steps - steps <= 2

    story(scene, told)


def test_what_expired_goes_unless_somebody_talks_to_it(scene: Scene) -> None:
    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE, TWO, ttl=40))
        scene.now += 41
        scene.agent.datapath.flows.talking = frozenset({TWO.packed})
        await names.let_go()
        assert (ONE in scene.kernel(), TWO in scene.kernel()) == (False, True)
        assert names.held(("a.com", TWO.packed))
        assert (names.statistics().mappings, names.statistics().held) == (1, 1)
        scene.agent.datapath.flows.talking = frozenset()
        await names.let_go()
        assert (scene.kernel(), scene.agent.store.names.all()) == ({}, {})
        assert names.statistics().held == 0

    story(scene, told)


def test_a_restart_knows_what_was_known_even_if_it_has_expired(scene: Scene) -> None:
    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE, ttl=40))
        await names.learn(answer("b.org", TWO))

    story(scene, told)
    before, identities = scene.kernel(), dict(scene.agent.control.engine.identities)
    scene.agent.stop()
    scene.now += 10_000
    scene.agent.start()
    assert scene.kernel() == before
    assert scene.agent.control.engine.identities[before[ONE]] == identities[before[ONE]]
    assert scene.agent.names.names()[TWO.packed] == {"b.org"}


def test_too_many_addresses_are_told_of(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    async def told(names: Names) -> None:
        for number in range(10, 15):
            scene.now += 1
            await names.learn(answer("a.com", Prefix.parse(f"192.0.2.{number}/32")))
        assert {str(each) for each in scene.kernel()} == {f"192.0.2.{number}/32" for number in (12, 13, 14)}
        assert names.statistics().evicted == 2
        assert scene.told == [("a.com", f"192.0.2.{number}", True) for number in (10, 11)]
        assert "--fqdn-max-addresses" in caplog.text

    story(scene, told)


def test_no_room_refuses_an_answer_and_no_other(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.agent.control.engine._capacity = Capacity(ipcache_hosts=1)

    async def told(names: Names) -> None:
        said = (names.learn(each) for each in (answer("a.com", ONE, TWO), answer("b.com", THREE)))
        assert await asyncio.gather(*said) == [False, True]
        assert scene.kernel().keys() == {THREE}
        assert (names.statistics().refused, names.statistics().mappings) == (1, 1)
        assert "ipcache_hosts" in caplog.text
        assert scene.agent.agrees()

    story(scene, told)


@pytest.mark.parametrize("step", ["identity_classes", "ipcache"])
def test_a_kernel_that_refuses_is_mended_and_knows_no_more_than_was_said(scene: Scene, step: str) -> None:
    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE))
        scene.agent.datapath.failing = step
        assert await names.learn(answer("b.com", TWO)) is False
        assert (scene.kernel().keys(), set(scene.agent.store.names.all())) == ({ONE}, {("a.com", ONE.packed)})
        assert await names.learn(answer("b.com", TWO))
        assert scene.agent.agrees()

    story(scene, told)


def test_names_can_be_forgotten(scene: Scene) -> None:
    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE, TWO))
        await names.learn(answer("b.com", TWO))
        assert await names.clean("a.com") == 2
        assert scene.kernel().keys() == {TWO}
        assert await names.clean("nobody.com") == 0
        assert await names.clean(None) == 1
        assert scene.kernel() == {}

    story(scene, told)


def test_an_answer_nobody_waits_for_any_more_is_taken_all_the_same(scene: Scene) -> None:
    async def told(names: Names) -> None:
        first = asyncio.create_task(names.learn(answer("a.com", ONE)))
        await asyncio.sleep(0)
        first.cancel()
        assert await names.learn(answer("b.com", TWO))
        assert scene.kernel().keys() == {ONE, TWO}

    story(scene, told)


def test_who_passes_answers_hears_of_what_goes_before_it_goes(scene: Scene) -> None:
    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE, ttl=40))
        await names.learn(answer("b.com", TWO, THREE, ttl=100))
        assert names.mappings()["a.com", ip_address("192.0.2.1")] == 40.0
        scene.now += 41
        assert names.mappings().keys() == {("b.com", ip_address(f"192.0.2.{last}")) for last in (2, 3)}
        await names.let_go()
        assert scene.told == [("a.com", "192.0.2.1", True)]
        assert await names.clean("b.com") == 2
        assert sorted(scene.told[1:]) == [("b.com", "192.0.2.2", True), ("b.com", "192.0.2.3", True)]
        assert (names.mappings(), scene.kernel()) == ({}, {})

    story(scene, told)


@pytest.mark.parametrize("clean", [False, True])
def test_an_answer_that_comes_while_its_mapping_goes_is_learnt_after_it_has_gone(
    scene: Scene, clean: bool
) -> None:
    """In between it would be confirmed to the proxy and then go."""

    async def told(names: Names) -> None:
        await names.learn(answer("a.com", ONE, ttl=40))
        scene.now += 0 if clean else 41
        asked: list[asyncio.Task[bool]] = []

        async def ask_again(_: Collection[Mapped]) -> None:
            assert names.mappings() == {}, "a proxy that comes now is not told of it"
            asked.append(asyncio.create_task(names.learn(answer("a.com", ONE, ttl=40))))
            await names._worker.run(lambda: None)
            await asyncio.sleep(0)
            assert not asked[0].done()

        names._forget = ask_again
        await (names.clean("a.com") if clean else names.let_go())
        assert ONE not in scene.kernel()
        assert await asked[0]
        assert scene.kernel().keys() == {ONE}
        assert len(names.mappings()) == 1

    story(scene, told)


def test_a_client_that_asks_for_endless_names_is_turned_away_and_others_are_not(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.agent.names.room = 40

    async def told(names: Names) -> None:
        endless = [
            asked_by("10.0.0.1", f"e{each}.com", Prefix.parse(f"198.51.100.{each}/32")) for each in range(99)
        ]
        results = await asyncio.gather(*map(names.learn, endless))
        assert results == [True] * 20 + [False] * 79
        assert await names.learn(asked_by("10.0.0.2", "a.com", ONE))
        assert not await names.learn(endless[50])
        assert await names.learn(endless[0])
        assert scene.kernel().keys() == {ONE, *(Prefix.parse(f"198.51.100.{each}/32") for each in range(20))}
        assert (names.statistics().crowded, names.statistics().refused) == (80, 0)
        [said] = [each for each in caplog.messages if "may have as many as are free" in each]
        assert "10.0.0.1, has brought 20 of the 40 mappings" in said
        assert await names.clean("e0.com") == 1
        assert await names.learn(endless[50]) is False
        assert await names.clean("e1.com") == 1
        assert await names.learn(endless[50])

    story(scene, told)


def test_an_answer_waits_for_one_of_every_other_client_and_not_for_all(scene: Scene) -> None:
    """Three steps' worth of one client's are there first."""
    scene.agent.names.most = 1000
    scene.agent.control.engine._capacity = Capacity(ipcache_hosts=10_000)

    async def told(names: Names) -> None:
        learnt: list[str] = []

        async def learn(said: Answer) -> None:
            assert await names.learn(said)
            learnt.append(said.name)

        def block(third: int) -> list[Prefix]:
            return [Prefix.parse(f"198.18.{third}.{last}/32") for last in range(250)]

        large = [asked_by("10.0.0.1", f"{third}.com", *block(third)) for third in range(12)]
        await asyncio.gather(*map(learn, [*large, asked_by("10.0.0.2", "a.com", ONE)]))
        assert learnt.index("a.com") < 5

    story(scene, told)
