"""As much of the Container Runtime Interface as a kubelet needs to run a pod's sandbox, and an image for it.

Source: kubernetes, ``staging/src/k8s.io/cri-api/pkg/apis/runtime/v1``; OCI image layout 1.0.
"""

import asyncio
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import betterproto2
from betterproto2.grpclib import ServiceStub
from grpclib.client import Channel

_T = TypeVar("_T", bound=betterproto2.Message)
_STRINGS = betterproto2.map_meta(betterproto2.TYPE_STRING, betterproto2.TYPE_STRING)
_TYPE = "application/vnd.oci.image"
_SECONDS = 30.0


@dataclass(eq=False, repr=False)
class PodSandboxMetadata(betterproto2.Message):
    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    uid: str = betterproto2.field(2, betterproto2.TYPE_STRING)
    namespace: str = betterproto2.field(3, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class PodSandboxConfig(betterproto2.Message):
    metadata: "PodSandboxMetadata | None" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)
    labels: "dict[str, str]" = betterproto2.field(6, betterproto2.TYPE_MAP, map_meta=_STRINGS)
    annotations: "dict[str, str]" = betterproto2.field(7, betterproto2.TYPE_MAP, map_meta=_STRINGS)


@dataclass(eq=False, repr=False)
class RunPodSandboxRequest(betterproto2.Message):
    config: "PodSandboxConfig | None" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False)
class Sandbox(betterproto2.Message):
    """The answer to a run, and the request of a stop and of a removal."""

    id: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class Nothing(betterproto2.Message):
    pass


class _Service(ServiceStub):
    async def ask(self, what: str, request: betterproto2.Message, answer: type[_T]) -> _T:
        return await self._unary_unary(f"/runtime.v1.RuntimeService/{what}", request, answer)


class Kubelet:
    """Runs pods' sandboxes, and removes them with itself."""

    def __init__(self, address: Path) -> None:
        self._address = str(address)
        self._running: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            self.remove(self._running[-1])

    def run(self, namespace: str, name: str, labels: dict[str, str], **annotations: str) -> str:
        """Run a sandbox as a kubelet does, and return its id. Raises GRPCError."""
        own = {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace}
        uid = hashlib.sha256(name.encode()).hexdigest()[:8]
        config = PodSandboxConfig(
            metadata=PodSandboxMetadata(name=name, uid=uid, namespace=namespace),
            labels=labels | own | {"io.kubernetes.pod.uid": uid},
            annotations=annotations,
        )
        made = self._ask("RunPodSandbox", RunPodSandboxRequest(config=config), Sandbox).id
        self._running.append(made)
        return made

    def remove(self, sandbox: str) -> None:
        """Stop a sandbox and remove it."""
        for what in ("StopPodSandbox", "RemovePodSandbox"):
            self._ask(what, Sandbox(id=sandbox), Nothing)
        self._running.remove(sandbox)

    def _ask(self, what: str, request: betterproto2.Message, answer: type[_T]) -> _T:
        async def ask() -> _T:
            channel = Channel(path=self._address)
            try:
                return await _Service(channel, timeout=_SECONDS).ask(what, request, answer)
            finally:
                channel.close()

        return asyncio.run(ask())


def pack_image(root: Path, name: str, command: list[str], archive: Path) -> None:
    """Make an image of a root file system, as ``ctr images import`` reads it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as packed:
        packed.add(root, arcname=".")
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": command},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    with tarfile.open(archive, "w") as image:
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": _blob(image, f"{_TYPE}.config.v1+json", json.dumps(config).encode()),
            "layers": [_blob(image, f"{_TYPE}.layer.v1.tar", layer.getvalue())],
        }
        named = _blob(image, f"{_TYPE}.manifest.v1+json", json.dumps(manifest).encode())
        named["annotations"] = {"io.containerd.image.name": name}
        _add(image, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
        _add(image, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def _blob(image: tarfile.TarFile, kind: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    _add(image, f"blobs/sha256/{digest}", data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def _add(image: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    image.addfile(entry, io.BytesIO(data))
