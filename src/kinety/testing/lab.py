"""A throw-away node: network namespaces with random names, and a real agent as a process in one.

::

    world ══ uplink ══ node (agent) ══ veth ══ endpoint
                                    ══ veth ══ endpoint

Nothing outside the namespaces and one temporary directory is touched. Everything is taken down
again when the block ends, however it ends. Names of namespaces carry this process's number.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_network
from pathlib import Path

from kinety.api.client import Client
from kinety.api.errors import AgentUnreachable
from kinety.kernel import bpffs
from kinety.kernel.namespace import DIRECTORY, Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import IPAddress
from kinety.testing.interruption import Interruption, interruptible
from kinety.testing.scenario import ENDPOINT_NETWORKS, HOST_ADDRESSES, WORLD_ADDRESSES
from kinety.testing.wait import wait_until

_POOL_BITS = {4: 16, 6: 64}
_UPLINK_BITS = {4: 24, 6: 64}
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOCAL_SECONDS = 10.0
_DETECTION = Path("/proc/sys/net/ipv6/conf/default/accept_dad")
_LOOPBACK = 1
#: Where proxies have their files, beside the agent's socket.
_PROXIES = ("envoy", "dns")


class Lab:
    """A node's namespace, the world's, and those of endpoints. Make one with `lab`."""

    def __init__(self, directory: Path, interruption: Interruption) -> None:
        self._prefix = f"kinety-{os.getpid()}-{secrets.token_hex(4)}"
        self._interruption = interruption
        self._directory = directory
        self._namespaces: list[Namespace] = []
        self._agent: subprocess.Popen[bytes] | None = None
        self.socket = directory / "agent.sock"
        self.pins = directory / "bpf"
        self.log = directory / "agent.log"

    def build(self) -> None:
        """Make the node and the world, and connect them."""
        self.node = self.namespace("node")
        self.world = self.namespace("world")
        self._connect_world()

    def namespace(self, name: str) -> Namespace:
        """A new namespace with its loopback up, removed with the lab."""
        with self._interruption.held():
            made = Namespace.create(f"{self._prefix}-{name}")
            self._namespaces.append(made)
        with Netlink(made) as netlink, netlink.batch() as batch:
            batch.link_set(_LOOPBACK, up=True)
        return made

    def route_from_world(self, addresses: Iterable[IPAddress]) -> None:
        """Let the world reach endpoint addresses through the node."""
        with Netlink(self.world) as netlink:
            uplink = _index(netlink, "eth0")
            with netlink.batch() as batch:
                for address in addresses:
                    batch.route_add(ip_network(address), uplink, via=HOST_ADDRESSES[address.version])

    def add_to_world(self, addresses: Iterable[IPAddress]) -> None:
        """Give the world further addresses; returns when it answers on them."""
        further = list(addresses)
        with Netlink(self.world) as netlink:
            with netlink.batch() as batch:
                for address in further:
                    batch.address_add(_LOOPBACK, address)
            for address in further:
                if isinstance(address, IPv6Address):
                    netlink.wait_local(address, _LOCAL_SECONDS)

    def start_agent(self, *options: str) -> float:
        """Start the agent and return the seconds until it answers. Raises ChildProcessError with why not."""
        began = time.monotonic()
        with self.log.open("ab") as log, self._interruption.held():
            # In a session of its own: a terminal's Ctrl-C is for us, and we end the agent.
            self._agent = subprocess.Popen(
                self._command(*options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, _START_SECONDS, "the agent answers")
        return time.monotonic() - began

    def stop_agent(self, number: int = signal.SIGTERM) -> None:
        """End the agent's process; the datapath goes on."""
        if self._agent is None:
            return
        self._agent.send_signal(number)
        try:
            self._agent.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()
        self._agent = None

    def client(self) -> Client:
        """A client of the agent."""
        return Client(self.socket)

    def remove(self) -> None:
        """Take everything down, also when something of it fails. What is in a namespace goes with it."""
        with contextlib.ExitStack() as last:
            last.callback(self._unmount)
            for namespace in self._namespaces:
                last.callback(namespace.remove)
            if self._agent is not None and self._agent.poll() is None:
                os.killpg(self._agent.pid, signal.SIGKILL)
                self._agent.wait()
            self._end_proxies()

    def _end_proxies(self) -> None:
        """Proxies outlive the agent; it knows which there are, and how to end them."""
        if any((self._directory / name).is_dir() for name in _PROXIES):
            subprocess.run(
                self._command("--cleanup"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                check=False,
                timeout=_STOP_SECONDS,
            )

    def _unmount(self) -> None:
        if bpffs.mounted(self.pins):
            bpffs.unmount(self.pins)

    def _command(self, *options: str) -> list[str]:
        pools = {
            f"--ipv{family}-pool": f"{first}/{_POOL_BITS[family]}"
            for family, first in ENDPOINT_NETWORKS.items()
        }
        places: Mapping[str, object] = {
            "--state-dir": self._directory / "state",
            "--socket": self.socket,
            "--bpffs": self.pins,
            **pools,
        }
        words = [str(word) for pair in places.items() for word in pair]
        enter = ["nsenter", f"--net={DIRECTORY / f'{self._prefix}-node'}", "--"]
        return [*enter, sys.executable, "-m", "kinety.agent", *words, *options]

    def _answers(self) -> bool:
        assert self._agent is not None
        if self._agent.poll() is not None:
            last = self.log.read_text().strip().rpartition("\n")[2]
            raise ChildProcessError(f"the agent did not start: {last.removeprefix('kinety: ')}")
        with contextlib.suppress(AgentUnreachable), self.client() as client:
            client.status()
            return True
        return False

    def _connect_world(self) -> None:
        """The node's uplink, with default routes to the world.

        Without duplicate address detection: for the second that it takes, an interface has no address to
        ask for a neighbour from on another's behalf, and what is forwarded is lost.
        """
        for each in (self.node, self.world):
            each.call(_DETECTION.write_text, "0")
        with Netlink(self.node) as node, Netlink(self.world) as world:
            with node.batch() as batch:
                batch.veth(
                    0,
                    "uplink",
                    _mac(1),
                    peer="eth0",
                    peer_mac=_mac(2),
                    peer_namespace=self.world,
                    mtu=1500,
                )
            for netlink, name, addresses in (
                (node, "uplink", HOST_ADDRESSES),
                (world, "eth0", WORLD_ADDRESSES),
            ):
                index = _index(netlink, name)
                with netlink.batch() as batch:
                    for family, address in addresses.items():
                        batch.address_add(index, address, _UPLINK_BITS[family])
                    batch.link_set(index, up=True)
            uplink = _index(node, "uplink")
            with node.batch() as batch:
                for everywhere in ("0.0.0.0/0", "::/0"):
                    network = ip_network(everywhere)
                    batch.route_add(network, uplink, via=WORLD_ADDRESSES[network.version])


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """A lab while the block runs. Ctrl-C and SIGTERM end the block with KeyboardInterrupt."""
    with interruptible() as interruption, tempfile.TemporaryDirectory(prefix="kinety-") as directory:
        built = Lab(Path(directory), interruption)
        try:
            with interruption.allowed():
                built.build()
                yield built
        finally:
            built.remove()


def _index(netlink: Netlink, name: str) -> int:
    link = netlink.link_named(name)
    assert link is not None, f"there is no interface {name}"
    return link.index


def _mac(last: int) -> bytes:
    return bytes((0x02, 0, 0, 0, 0, last))
