"""Nodes for `bench.layer7`: a client, a server, and what leads the one to the other.

Every way is a node of its own with an agent, and the same policy about the server: plainly, or with a rule
about content that every request of the load keeps to, by one of the redirects. nginx serves. What stands
behind the redirect is Envoy first. Then, to see the redirect alone, it is *the server itself*: the agent and
Envoy end, which the datapath does not notice, and nginx takes over the listener's sockets, made as a proxy's
are. There is one connection then, as on the direct way, and only how its packets get there differs.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.layer7_place import cgroup_of
from bench.load import CONGESTION, pin, tool
from bench.wire import Wire, do, namespace, spawn
from kinety.abi import Redirect
from kinety.api.client import Client
from kinety.api.types import Document, EndpointRequest
from kinety.kernel.namespace import Namespace
from kinety.testing.lab import Lab, lab
from kinety.testing.wait import wait_until

__all__ = ["BODIES", "CORE", "DIRECT", "ENVOY", "PORT", "Way", "envoy_process", "policy", "unfiltered", "way"]

DIRECT = "direct"
ENVOY = Path(__file__).resolve().parent.parent / "build/envoy/envoy/_bin/envoy"
PORT, CORE, NICE = 8080, 0, -15
#: Bodies of answers by the path they are at, in bytes.
BODIES = {"/1k": 1024, "/1m": 1 << 20}
SOON = 10.0

NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=8;
  keepalive_timeout 60s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ {listen} root {folder}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A client and a server, and the processes that work for their requests besides the client."""

    wire: Wire
    lab: Lab
    server: subprocess.Popen[bytes]
    proxy: int | None
    #: The port of its listener.
    port: int | None

    @property
    def name(self) -> str:
        return self.wire.name

    @property
    def processes(self) -> list[int]:
        return [*workers(self.server.pid), *(() if self.proxy is None else (self.proxy,))]

    def requests(self) -> int:
        """How many the proxy has counted."""
        with self.lab.client() as client:
            return sum(each.requests or 0 for each in client.proxies().listeners)

    @contextmanager
    def served_by_itself(self) -> Iterator[Way]:
        """The server in the proxy's place, and nowhere else. Proxy and agent are gone from then on."""
        if self.proxy is None or self.port is None:
            yield self
            return
        cgroup = cgroup_of(self.proxy)
        self.lab.stop_agent()
        end(self.proxy)
        os.killpg(self.server.pid, signal.SIGKILL)
        places = [f"127.0.0.1:{self.port}", f"[::1]:{self.port}"]
        taking = [sys.executable, "-m", "bench.layer7_place", str(self.port), str(cgroup)]
        with nginx(self.lab.node, places, taking) as process:
            yield Way(self.wire, self.lab, process, None, self.port)


@contextmanager
def way(redirect: Redirect | None, called: str = "") -> Iterator[Way]:
    """A node of its own; without a redirect, nobody looks into requests. Called by that unless otherwise."""
    method = DIRECT if redirect is None else redirect.name.lower()
    with ExitStack() as stack:
        built = stack.enter_context(lab())
        client, server = (stack.enter_context(namespace(role)) for role in ("client", "server"))
        for space in (built.node, client, server):
            do(space, "sysctl", "--quiet", "--write", f"net.ipv4.tcp_congestion_control={CONGESTION}")
        process = stack.enter_context(nginx(server, [str(PORT), f"[::]:{PORT}"]))
        options = () if redirect is None else ("--envoy", str(ENVOY), "--l7-redirect", method)
        built.start_agent(*options)
        with built.client() as agent:
            agent.attach(EndpointRequest("client", netns=client.name, labels=("app=client",)))
            served = agent.attach(EndpointRequest("server", netns=server.name, labels=("app=server",)))
            assert served.ipv4 is not None
            agent.apply([Document("policy.yaml", policy("server", redirect is not None))])
            proxy = envoy_process(agent)
            port = agent.proxies().listeners[0].port if proxy else None
        if proxy is not None:
            stack.callback(end, proxy)
            favour(proxy)
        yield Way(Wire(called or method, client, server, served.ipv4), built, process, proxy, port)


def unfiltered(way: Way) -> None:
    """No rules of netfilter's on a node whose agent is gone: neither masquerading nor tracking."""
    do(way.lab.node, "nft", "flush", "ruleset")


def policy(selected: str, looks: bool, path: str = "/.*", name: str = "content") -> str:
    """A policy that lets everybody's requests in to an application, to one port."""
    rules = f"rules: {{http: [{{method: GET, path: '{path}'}}]}}" if looks else ""
    return f"""apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}, namespace: default}}
spec:
  endpointSelector:
    matchExpressions: [{{key: app, operator: In, values: [{selected}]}}]
  ingress:
  - fromEndpoints: [{{}}]
    toPorts:
    - ports: [{{port: '{PORT}', protocol: TCP}}]
      {rules}
"""


def envoy_process(agent: Client) -> int | None:
    """Envoy's, of a node that has one running."""
    return next((each.pid for each in agent.proxies().proxies if each.name == "envoy"), None)


def end(pid: int) -> None:
    """End a process that is not a child of this one; returns when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with open(descriptor, closefd=True) as process, selectors.DefaultSelector() as selector:
        selector.register(process, selectors.EVENT_READ)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not selector.select(SOON):
            raise TimeoutError(f"process {pid} does not end")


def favour(pid: int) -> None:
    """All threads of a process run on the core of the load, as its other processes do."""
    for each in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(each.name), {CORE})
        os.setpriority(os.PRIO_PROCESS, int(each.name), NICE)


@contextmanager
def nginx(
    space: Namespace, places: Sequence[str], before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """The server at some places; ``before`` is a command that becomes it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        for path, size in BODIES.items():
            (folder / path.removeprefix("/")).write_bytes(b"x" * size)
        listen = " ".join(f"listen {place} backlog=4096;" for place in places)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, listen=listen))
        command = [tool("nginx"), "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"]
        with spawn(space, *before, *pin(command)) as process:
            wait_until(lambda: workers(process.pid), SOON, "nginx serves")
            yield process


def workers(pid: int) -> list[int]:
    """Children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
