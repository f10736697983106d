"""How long from the request that applies a policy about content until a request is judged by it?

Another endpoint has a hundred sets of rules. Then policies come and go that forbid what a client asks of a
server: each with rules that nobody had before, so that Envoy needs a listener more; and one whose rules are
in use elsewhere, which comes to select the server too, first on a node that knows few flows and then on one
that knows many. Last, a policy in force is edited, and the client asks over the connection that it has.

The client asks every millisecond, whether it was answered or not: a change catches some requests under way,
and the one whose SYN has just passed is only sent again a second later, which says nothing of how long policy
takes. Over one connection it asks when it was answered. A time runs from the agent's being asked to apply to
the end of the first answer that is by the new policy. The baseline is when the agent answers, which means
that policy is in force: a request that is sent after that and judged otherwise ends the benchmark.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.figure import Figure, Goal, median, percentile, spread
from bench.layer7_node import ENVOY, PORT, end, envoy_process, nginx, policy
from bench.load import tool
from bench.node import Node, node
from bench.wire import do, namespace
from kinety.kernel.namespace import Namespace

TURNS, QUICK_TURNS, CROWD, QUICK_CROWD = 100, 3, 100, 5
SOON = 10.0
#: Between two requests, in seconds: asking is not to keep the agent from its work.
PAUSE = 0.001
#: Requests that may be under way.
ASKERS = 50
#: wrk counts in whole ones. Nearly every port of the client's has been used then.
MANY_SECONDS = 2
ALLOWED, FORBIDDEN = 200, 403
NEW, IN_USE = Goal("value", "<=", 100.0), Goal("value", "<=", 10.0)
IN_USE_ELSEWHERE = "policy with rules that are in use to its first answer"
ANSWERED = "until the agent answers"
PATH = "/1k"


@dataclass
class Times:
    """Milliseconds until the agent answered, and until the first request was judged."""

    answered: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)

    def figures(self, what: str, goal: Goal) -> list[Figure]:
        parts = (("P50", median, None), ("P99", lambda values: percentile(values, 99), goal))
        return [
            Figure(
                f"{what}, {name}",
                of(self.judged),
                "ms",
                ANSWERED,
                of(self.answered),
                spread=spread(self.judged),
                goal=bound,
            )
            for name, of, bound in parts
        ]


@dataclass(frozen=True, slots=True)
class Setting:
    """A client, and a server that policies come to select."""

    machine: Node
    client: Namespace
    address: str

    def status(self, connection: socket.socket | None = None) -> int:
        """What a request is answered, over a connection of its own unless one is given."""
        if connection is not None:
            return asked(connection)
        with self.connect() as own:
            return asked(own)

    def connect(self) -> socket.socket:
        made = self.client.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(SOON)
        made.connect((self.address, PORT))
        return made

    def ports(self, name: str) -> frozenset[int]:
        """Of the listeners that a policy asks for."""
        listeners = self.machine.client.proxies().listeners
        return frozenset(each.port for each in listeners if any(name in asking for asking in each.policies))

    def time(
        self, times: Times, text: str, ask: Callable[[], int], wanted: int, askers: int = ASKERS
    ) -> None:
        """Apply a policy, and ask meanwhile. Raises RuntimeError when it is not obeyed afterwards.

        ``askers`` is how many requests may be under way at a time.
        """
        began = time.perf_counter()

        def apply() -> None:
            self.machine.apply(text)
            times.answered.append((time.perf_counter() - began) * 1e3)

        def asked() -> float | None:
            """When the answer had come, if it was the one that is waited for."""
            return time.perf_counter() if answer(ask) == wanted else None

        with ThreadPoolExecutor(1) as other, ThreadPoolExecutor(askers) as client:
            applied = other.submit(apply)
            under_way = [client.submit(asked)]
            while not (judged := [end for each in under_way if each.done() and (end := each.result())]):
                if time.perf_counter() - began > SOON:
                    raise RuntimeError("the policy that was applied does nothing")
                time.sleep(PAUSE)
                under_way = [each for each in under_way if not each.done() or each.result()]
                if len(under_way) < askers:
                    under_way.append(client.submit(asked))
            times.judged.append((min(judged) - began) * 1e3)
            applied.result()
        if (status := ask()) != wanted:
            raise RuntimeError(f"the first request after the policy was applied: {status}, not {wanted}")

    def connect_often(self, seconds: int) -> None:
        """Leave the node with many flows that were."""
        wrk = [tool("wrk"), "--threads", "1", "--connections", "32", "--header", "Connection: close"]
        do(self.client, *wrk, "--duration", f"{seconds}s", f"http://{self.address}:{PORT}{PATH}")


def run(quick: bool = False) -> list[Figure]:
    """Median and 99th percentile of each kind of change."""
    turns, crowd = (QUICK_TURNS, QUICK_CROWD) if quick else (TURNS, CROWD)
    with setting(crowd) as built:
        return [
            *new(built, turns).figures("policy with rules that are new to its first answer", NEW),
            *in_use(built, turns).figures(IN_USE_ELSEWHERE, IN_USE),
            *(
                ()
                if quick
                else after_many(built, turns).figures(f"{IN_USE_ELSEWHERE}, many flows known", IN_USE)
            ),
            *edited(built, turns).figures("policy edited to its first answer on an open connection", NEW),
        ]


def new(built: Setting, turns: int) -> Times:
    """Every policy has rules of its own."""
    times = Times()
    for turn in range(turns):
        require(built, ALLOWED)
        name, document = f"new-{turn}", policy("server", True, f"/new-{turn}", f"new-{turn}")
        built.time(times, document, built.status, FORBIDDEN)
        if len(built.ports(name)) != 1:
            raise RuntimeError("rules that are new have no listener of their own")
        built.machine.client.delete_policy("CiliumNetworkPolicy", "default", name)
    return times


def in_use(built: Setting, turns: int) -> Times:
    """The policy selects another endpoint from the start."""
    times = Times()
    elsewhere, here = (policy(selected, True, "/shared", "shared") for selected in ("other", "other, server"))
    for _ in range(turns):
        built.machine.apply(elsewhere)
        require(built, ALLOWED)
        ports = built.ports("shared")
        built.time(times, here, built.status, FORBIDDEN)
        if built.ports("shared") != ports:
            raise RuntimeError("rules that are in use have another listener now")
    built.machine.client.delete_policy("CiliumNetworkPolicy", "default", "shared")
    return times


def after_many(built: Setting, turns: int) -> Times:
    """The same, on a node that has seen many flows."""
    built.connect_often(MANY_SECONDS)
    return in_use(built, turns)


def edited(built: Setting, turns: int) -> Times:
    """Rules of the same policy forbid and allow in turn what a client asks."""
    times = Times()
    paths = {ALLOWED: PATH, FORBIDDEN: "/else"}
    built.machine.apply(policy("server", True, paths[ALLOWED], "edited"))
    with built.connect() as connection:
        for turn in range(turns):
            wanted = (FORBIDDEN, ALLOWED)[turn % 2]
            document = policy("server", True, paths[wanted], "edited")
            built.time(times, document, lambda: built.status(connection), wanted, askers=1)
    return times


def answer(ask: Callable[[], int]) -> int | None:
    """A status, or None from a connection that is reset because its way changes under it."""
    try:
        return ask()
    except ConnectionError:
        return None


def require(built: Setting, status: int) -> None:
    """See that what is to change is not so already."""
    if (found := built.status()) != status:
        raise RuntimeError(f"before the change a request is answered {found}, not {status}")


def asked(connection: socket.socket) -> int:
    """What a request over HTTP/1.1 is answered; its body is read, the connection stays."""
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: server\r\n\r\n".encode())
    read = b""
    while b"\r\n\r\n" not in read:
        read += receive(connection)
    head, _, body = read.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    left = int(headers["content-length"]) - len(body)
    while left > 0:
        left -= len(receive(connection))
    return int(status.split()[1])


def receive(connection: socket.socket) -> bytes:
    """Some bytes. Raises ConnectionError at the end."""
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed in the middle of an answer")
    return data


@contextmanager
def setting(crowd: int) -> Iterator[Setting]:
    """A node with a client, a server under no policy, and somebody else with so many sets of rules."""
    with ExitStack() as stack:
        machine = stack.enter_context(node("--envoy", str(ENVOY)))
        spaces = {role: stack.enter_context(namespace(role)) for role in ("client", "server", "other")}
        made = {role: machine.attach(role, space, [f"app={role}"]) for role, space in spaces.items()}
        stack.enter_context(nginx(spaces["server"], [str(PORT)]))
        machine.apply(many(crowd))
        envoy = envoy_process(machine.client)
        if envoy is None:
            raise RuntimeError("there is no Envoy")
        stack.callback(end, envoy)
        address = made["server"].ipv4
        assert address is not None
        yield Setting(machine, spaces["client"], address)


def many(count: int) -> str:
    """A policy with as many sets of rules, each about a port."""
    ports = "".join(
        f"\n    - ports: [{{port: '{20_000 + number}', protocol: TCP}}]"
        f"\n      rules: {{http: [{{method: GET, path: '/many/{number}/.*'}}]}}"
        for number in range(count)
    )
    return f"""apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: many, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: other}}}}
  ingress:
  - fromEndpoints: [{{}}]
    toPorts:{ports}
"""
