"""A runtime that runs several plugins for a container, as libcni does. https://www.cni.dev/docs/spec/#section-3"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.real_node import Node
from tests.e2e.runtime import Answer, Runtime
from tests.feature import CNI_PLUGINS, RUNTIMES

_UNPACKED = RUNTIMES / "usr"
_LIBRARIES = _UNPACKED / "lib" / "x86_64-linux-gnu"


class Chain:
    """One network of several plugins; each gets the result of those before it. Without a type it is ours."""

    def __init__(
        self, node: Node, directory: Path, plugins: Sequence[Mapping[str, Any]], version: str = "1.0.0"
    ) -> None:
        self.node = node
        self.directory = directory
        self.version = version
        own = {"type": "kinety-cni", "socket": str(node.socket), "stateDir": str(node.state)}
        self.plugins = [
            own | each if each.get("type", "kinety-cni") == "kinety-cni" else each for each in plugins
        ]
        self.results: dict[str, Any] = {}
        self._ours = Runtime(node).plugin
        self._tools()

    def _tools(self) -> None:
        """Programs that plugins run, with the libraries they were unpacked with."""
        for name in ("iptables", "ip6tables"):
            script = self.directory / name
            script.write_text(
                f"#!/bin/sh\nLD_LIBRARY_PATH={_LIBRARIES} XTABLES_LIBDIR={_LIBRARIES}/xtables"
                f' exec {_UNPACKED}/sbin/xtables-nft-multi {name} "$@"\n'
            )
            script.chmod(0o755)

    def add(self, container: str, **capabilities: Any) -> Answer:
        """ADD by each; the first failure ends it, and everything is taken back."""
        answer = Answer(0, None)
        for plugin in self.plugins:
            answer = self.call("ADD", plugin, container, answer.said, capabilities)
            if answer.code:
                self.delete(container, **capabilities)
                return answer
        self.results[container] = answer.said
        return answer

    def check(self, container: str, **capabilities: Any) -> list[Answer]:
        """CHECK by each."""
        known = self.results[container]
        return [self.call("CHECK", each, container, known, capabilities) for each in self.plugins]

    def delete(self, container: str, **capabilities: Any) -> None:
        """DEL by each, the last first; all must succeed."""
        known = self.results.pop(container, None)
        for each in reversed(self.plugins):
            answer = self.call("DEL", each, container, known, capabilities)
            assert answer.code == 0, (each["type"], answer)

    def call(
        self, command: str, plugin: Mapping[str, Any], container: str, known: Any, asked: Mapping[str, Any]
    ) -> Answer:
        """One command of one plugin, in the node's network namespace."""
        wanted = {key: value for key, value in asked.items() if plugin.get("capabilities", {}).get(key)}
        configuration = {"cniVersion": self.version, "name": "chain"} | dict(plugin)
        configuration |= {"prevResult": known} if known else {}
        configuration |= {"runtimeConfig": wanted} if wanted else {}
        name = plugin["type"]
        path = self._ours if name == "kinety-cni" else CNI_PLUGINS / name
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.node.name}", str(path)],
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": container,
                "CNI_NETNS": f"/run/netns/{self.node.name}-{container}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": f"{self._ours.parent}:{CNI_PLUGINS}",
                "PATH": f"{self.directory}:/usr/sbin:/usr/bin:/sbin:/bin",
            },
            input=json.dumps(configuration).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None)
