"""The API's operations: done on the worker thread, refusals translated into the API's."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from kinety.agent import answers, hooks, view
from kinety.agent import request as attach_request
from kinety.agent.attachment import Attachments, default_routes, state_of
from kinety.agent.container_labels import container_labels
from kinety.agent.control import Control
from kinety.agent.declaration import Declaration, ParsedFile, parsed, parsed_to_apply
from kinety.agent.host_port import HostPortClaims
from kinety.agent.names import view as name_view
from kinety.agent.names.cache import DEFAULT_LEAST, DEFAULT_MOST, NameCache
from kinety.agent.names.names import Names
from kinety.agent.policy_change import PolicyChange
from kinety.agent.promotion import promote
from kinety.agent.proxies import view as proxy_view
from kinety.agent.refusal import refusals
from kinety.agent.reload import reload
from kinety.agent.runtimes import Runtimes
from kinety.agent.shadow import report
from kinety.agent.store import EndpointRecord, Store
from kinety.agent.stream import EventStream, Watch
from kinety.agent.unjudged import NODE
from kinety.agent.wishes import Wishes
from kinety.agent.worker import Worker
from kinety.api import address, hook, insight, naming, overview, proxy, shadow, types
from kinety.api import reload as reloading
from kinety.api.errors import refuse
from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress, pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import Labels
from kinety.model.rule import Mode, PolicyKey
from kinety.source.runtime import Container, News, Removed

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Changes = tuple[insight.VerdictChange, ...]


class AgentNode:
    """``kinety.api.server.Node``, answered by the agent's parts."""

    def __init__(
        self,
        control: Control,
        worker: Worker,
        stream: EventStream,
        state_dir: Path,
        started: float,
        runtimes: Runtimes | None = None,
        dns: types.Dns | None = None,
        names: Names | None = None,
    ) -> None:
        """``dns`` is what those who attach are told, for their resolvers."""
        self._control = control
        self._worker = worker
        self._stream = stream
        self._state_dir = state_dir
        self._started = started
        self._runtimes = runtimes or Runtimes()
        self._dns = dns
        self._names = names or Names(control, worker, NameCache(DEFAULT_LEAST, DEFAULT_MOST))
        self._attachments = Attachments(control.endpoints, state_dir)
        self._host_ports = HostPortClaims(control.endpoints)
        self._last_id = control.store.last_endpoint_id()

    async def status(self) -> overview.Status:
        """``GET /v1/status``."""
        watchers = self._stream.watchers
        status = await self._run(lambda: view.status(self._control, self._state_dir, self._started, watchers))
        proxies = await proxy_view.at_a_glance(self._control.proxies.kinds)
        names = name_view.counts(self._names)
        return replace(status, runtimes=self._runtimes.statuses(), proxies=proxies, names=names)

    async def endpoints(self) -> tuple[types.Endpoint, ...]:
        """``GET /v1/endpoints``."""
        return await self._run(lambda: view.endpoints(self._control))

    async def endpoint(self, namespace: str, name: str) -> types.Endpoint:
        """``GET /v1/endpoints/{namespace}/{name}``."""
        return await self._run(lambda: view.endpoint(self._control, self._record(namespace, name)))

    async def attach(self, request: types.EndpointRequest) -> types.Endpoint:
        """``POST /v1/endpoints``."""
        started = time.perf_counter()
        attach_request.check_names(request)
        labels = attach_request.labels_of(request)
        listens = attach_request.listens_of(request)
        wishes = Wishes.of(request)
        namespace, path = attach_request.open_namespace(request)
        container = "" if request.attachment is None else request.attachment.container
        with namespace, self._runtimes.attaching(container) as told:
            told_first = await self._runtimes.find(container) if container else None
            given = container_labels(labels, told_first) if told_first else frozenset()
            made = await self._run(
                lambda: self._attach(request, labels, given, listens, wishes, namespace, path, started)
            )
        if told:
            await self._runtimes.pass_on(*told[-1], self.heed)
        return made

    async def heed(self, news: News) -> None:
        """A runtime tells what labels a container has, or that it is gone. Raises ApiError."""
        if isinstance(news, Removed):
            await self._run(lambda: self._forget(news))
        else:
            await self._run(lambda: self._relabel(news))

    async def detach(self, namespace: str, name: str) -> None:
        """``DELETE /v1/endpoints/{namespace}/{name}``."""
        await self._run(lambda: self._control.detach(namespace, name))

    async def attachments(self, network: str | None) -> tuple[types.Endpoint, ...]:
        """``GET /v1/attachments``."""
        return await self._run(
            lambda: tuple(view.endpoint(self._control, each) for each in self._attachments.of(network))
        )

    async def attachment(self, container: str, interface: str) -> types.AttachmentState:
        """``GET /v1/attachments/{container}/{interface}``."""
        return await self._run(lambda: state_of(self._control, self._attachments.find(container, interface)))

    async def detach_attachment(self, container: str, interface: str) -> None:
        """``DELETE /v1/attachments/{container}/{interface}``."""
        await self._run(lambda: self._detach_attachment(container, interface))

    async def end_departed(self) -> None:
        """End the attachments that runtimes gave up while there was no agent."""
        await self._run(lambda: self._attachments.end_departed(self._detach_attachment))

    async def policies(self) -> tuple[types.Policy, ...]:
        """``GET /v1/policies``."""
        return await self._run(lambda: view.policies(self._control))

    async def policy(self, kind: str, namespace: str, name: str) -> types.PolicyText:
        """``GET /v1/policies/{kind}/{namespace}/{name}``."""
        return await self._run(lambda: view.policy_text(self._control, PolicyKey(kind, namespace, name)))

    async def apply(self, documents: types.PolicyDocuments, dry_run: bool) -> types.PolicyResult:
        """``POST /v1/policies``."""
        started = time.perf_counter()
        realise = self._control.rehearse if dry_run else self._control.apply

        def parsed_and_realised() -> tuple[tuple[ParsedFile, ...], PolicyChange, Changes]:
            files = parse_files(documents.documents)
            change = realise(files)
            return files, change, answers.changes(self._control.engine, files) if dry_run else ()

        files, change, changes = await self._run(parsed_and_realised)
        declared = {key: each for file in files for key, each in file.declarations.items()}
        return replace(_result(change, declared, dry_run, time.perf_counter() - started), changes=changes)

    async def delete_policy(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        """``DELETE /v1/policies/{kind}/{namespace}/{name}``."""
        started = time.perf_counter()
        key = PolicyKey(kind, namespace, name)
        change = await self._run(lambda: self._control.delete_policy(key))
        return _result(change, {}, False, time.perf_counter() - started)

    async def promote(self, kind: str, namespace: str, name: str) -> types.PolicyResult:
        """``POST /v1/policies/{kind}/{namespace}/{name}/promotion``."""
        started = time.perf_counter()
        key = PolicyKey(kind, namespace, name)
        change = await self._run(lambda: promote(self._control, key))
        declared = {key: self._control.declarations[key]}
        return _result(change, declared, False, time.perf_counter() - started)

    async def shadow_report(self) -> shadow.ShadowReport:
        """``GET /v1/shadow``."""
        return await self._run(lambda: report(self._control))

    async def audit_endpoint(self, namespace: str, name: str, on: bool) -> shadow.AuditResult:
        """``PUT /v1/endpoints/{namespace}/{name}/audit``."""
        changed = await self._run(lambda: self._control.audit(namespace, name, on))
        return shadow.AuditResult(namespace, name, on, changed)

    async def audit_namespace(self, namespace: str, on: bool) -> shadow.AuditResult:
        """``PUT /v1/namespaces/{namespace}/audit``."""
        attach_request.check_name("namespace", namespace)
        changed = await self._run(lambda: self._control.audit(namespace, "", on))
        return shadow.AuditResult(namespace, None, on, changed)

    async def audit_node(self, on: bool) -> shadow.NodeAuditResult:
        """``PUT /v1/node/audit``."""
        changed = await self._run(lambda: self._control.audit(*NODE, on))
        return shadow.NodeAuditResult(on, bool(changed))

    async def hooks(self) -> tuple[hook.Hook, ...]:
        """``GET /v1/hooks``."""
        return await self._run(lambda: hooks.listing(self._control))

    async def load_hook(self, name: str, request: hook.HookObject) -> hook.Hook:
        """``PUT /v1/hooks/{name}``."""
        return await self._run(lambda: hooks.load(self._control, name, request))

    async def unload_hook(self, name: str) -> None:
        """``DELETE /v1/hooks/{name}``."""
        await self._run(lambda: hooks.unload(self._control, name))

    async def proxies(self) -> proxy.Proxies:
        """``GET /v1/proxies``."""
        states = await asyncio.gather(*(each.state() for each in self._control.proxies.kinds))
        return await self._run(lambda: proxy_view.proxies(self._control, states))

    async def reload(self, request: reloading.ReloadRequest) -> reloading.ReloadResult:
        """``POST /v1/datapath/reload``."""
        return await self._run(lambda: reload(self._control, request))

    async def explanation(
        self,
        source: str,
        destination: str,
        protocol: str,
        port: int | None,
        request: tuple[str | None, str | None],
    ) -> insight.Explanation:
        """``GET /v1/explanation``."""

        def explain() -> insight.Explanation:
            sender, receiver = (
                name_view.end_of(self._control, self._names, each) for each in (source, destination)
            )
            return answers.explanation(self._control.engine, sender, receiver, protocol, port, request)

        return await self._run(explain)

    async def findings(self) -> tuple[insight.PolicyFinding, ...]:
        """``GET /v1/findings``."""
        return await self._run(lambda: answers.findings(self._control.engine))

    async def verdicts(self) -> tuple[insight.VerdictRow, ...]:
        """``GET /v1/verdicts``."""
        return await self._run(lambda: answers.verdicts(self._control.engine))

    async def addresses(self) -> tuple[address.Address, ...]:
        """``GET /v1/addresses``."""
        return await self._run(lambda: view.addresses(self._control))

    async def names(self, match: str | None) -> naming.Names:
        """``GET /v1/names``."""
        return await self._run(lambda: name_view.mappings(self._control, self._names, match))

    async def learn_name(self, name: str, told: naming.NameAnswer) -> naming.Names:
        """``PUT /v1/names/{name}``."""
        if not await self._names.learn(name_view.answer(name, told)):
            raise refuse(503, f"the addresses of {name} were not learnt; the agent's log says why")
        return await self.names(name)

    async def forget_name(self, name: str) -> naming.NamesForgotten:
        """``DELETE /v1/names/{name}``."""
        with refusals():
            return await name_view.forgotten(self._names, name)

    async def forget_names(self) -> naming.NamesForgotten:
        """``DELETE /v1/names``."""
        with refusals():
            return naming.NamesForgotten(await self._names.clean(None))

    async def identities(self) -> tuple[types.Identity, ...]:
        """``GET /v1/identities``."""
        return await self._run(lambda: view.identities(self._control))

    async def rules(self) -> tuple[types.Rule, ...]:
        """``GET /v1/rules``."""
        return await self._run(lambda: view.rules(self._control))

    async def maps(self) -> tuple[types.MapSummary, ...]:
        """``GET /v1/maps``."""
        return await self._run(lambda: view.maps(self._control))

    async def map_rows(self, name: str, limit: int | None) -> types.MapRows:
        """``GET /v1/maps/{name}``."""
        return await self._run(lambda: view.map_rows(self._control, name, limit))

    def subscribe(self, filters: Mapping[str, str]) -> Watch:
        """``GET /v1/events``."""
        return self._stream.subscribe(filters)

    async def _run(self, function: Callable[[], _T]) -> _T:
        def translated() -> _T:
            with refusals():
                return function()

        return await self._worker.run(translated)

    def _record(self, namespace: str, name: str) -> EndpointRecord:
        record = self._control.endpoints.get((namespace, name))
        if record is None:
            raise refuse(404, f"there is no endpoint {namespace}/{name}")
        return record

    def _detach_attachment(self, container: str, interface: str) -> None:
        own = self._attachments.find(container, interface).endpoint
        self._control.detach(own.namespace, own.name)

    def _attach(
        self,
        request: types.EndpointRequest,
        labels: Labels,
        given: Labels,
        listens: frozenset[Listen],
        wishes: Wishes,
        namespace: Namespace,
        path: str,
        started: float,
    ) -> types.Endpoint:
        if (request.namespace, request.name) in self._control.endpoints:
            raise refuse(409, f"there is an endpoint {request.namespace}/{request.name} already", path="name")
        self._attachments.require_free(request)
        addresses = attach_request.addresses_of(request, self._control.addresses, self._is_own)
        attach_request.check_mtu(request.mtu or self._control.datapath.settings.mtu, addresses)
        self._host_ports.require_free(wishes, addresses)
        try:
            endpoint = Endpoint(
                EndpointId(self._last_id + 1),
                request.namespace,
                request.name,
                labels | given,
                _packed(addresses.get(4)),
                _packed(addresses.get(6)),
                listens,
            )
            where = path, namespace.number, request.interface
            record = EndpointRecord(endpoint, *where, request.attachment, given, wishes)
            self._control.attach(record, namespace)
        except FileExistsError as error:
            if attach_request.has_interface(namespace, request.interface):
                message = f"{path} has an interface {request.interface} already; give the endpoint another"
                raise refuse(409, message, path="interface") from error
            raise
        self._last_id = endpoint.id
        self._attachments.add(record)
        self._host_ports.add(record)
        made = self._record(endpoint.namespace, endpoint.name)
        answer = replace(view.endpoint(self._control, made, time.perf_counter() - started), dns=self._dns)
        if request.attachment is None:
            return answer
        return replace(answer, default_routes=default_routes(namespace, request.interface))

    def _relabel(self, container: Container) -> None:
        former = self._attachments.of_container(container.id)
        renewed = [
            record.relabelled(container_labels(record.endpoint.labels - record.runtime_labels, container))
            for record in former
        ]
        if changed := [record for record, was in zip(renewed, former, strict=True) if record != was]:
            self._control.relabel(changed)
            for record in changed:
                log.info("endpoint %s, container %s, has other labels", record.endpoint, container.name)

    def _forget(self, container: Removed) -> None:
        for record in self._attachments.of_container(container.id):
            self._control.detach(record.endpoint.namespace, record.endpoint.name)
            log.warning("endpoint %s is gone: its container was removed without a call", record.endpoint)

    def _is_own(self, address: IPAddress) -> bool:
        return pack_address(address) in self._control.host_addresses


def parse_files(documents: Iterable[types.Document]) -> tuple[ParsedFile, ...]:
    """What files declare. Raises PolicyError."""
    return tuple(parsed_to_apply(item.file, item.text) for item in documents)


def stored_files(store: Store) -> Iterator[ParsedFile]:
    """The store's documents, each with what is in force by it. Raises PolicyError."""
    for record in store.documents():
        yield parsed(record.file, record.text).only(record.policies)


def _packed(address: IPAddress | None) -> bytes | None:
    return None if address is None else pack_address(address)


def _result(
    change: PolicyChange, declared: Mapping[PolicyKey, Declaration], dry_run: bool, seconds: float
) -> types.PolicyResult:
    """``declared`` is what there is now: nothing, of what was deleted."""
    return types.PolicyResult(
        tuple(_outcome(key, outcome, declared.get(key)) for key, outcome in change.outcomes.items()),
        dry_run,
        change.endpoints,
        seconds,
        warnings=change.warnings,
    )


def _outcome(key: PolicyKey, outcome: str, declared: Declaration | None) -> types.PolicyOutcome:
    rules, mode = (0, Mode.ENFORCED) if declared is None else (declared.rules, declared.mode)
    return types.PolicyOutcome(key.kind, key.namespace, key.name, outcome, rules, mode.value)
