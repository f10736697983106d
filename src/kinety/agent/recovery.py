"""An endpoint whose interface is gone: it gets another, or is forgotten with its network namespace."""

import logging
from typing import TYPE_CHECKING

from kinety.agent.store import EndpointRecord
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Change

if TYPE_CHECKING:
    from kinety.agent.control import Control

log = logging.getLogger(__name__)


def recover(control: "Control", endpoint_id: EndpointId) -> EndpointRecord | None:
    """Returns the endpoint that was forgotten; None when it has its interface again."""
    record = next(item for item in control.endpoints.values() if item.endpoint.id == endpoint_id)
    endpoint = record.endpoint
    try:
        with Namespace.open(record.netns) as namespace:
            if namespace.inode == record.netns_inode:
                control.datapath.detach(endpoint.id)
                control.datapath.attach(endpoint, namespace, record.interface)
                plan = control.engine.endpoint_plan(endpoint.id)
                control.datapath.apply(Change(endpoints={endpoint.id: plan}))
                log.warning("endpoint %s had lost its interface and has a new one", endpoint)
                return None
    except (OSError, ValueError) as error:
        log.info("endpoint %s: %s", endpoint, error)
    log.warning("endpoint %s is gone with its network namespace", endpoint)
    return control.detach(endpoint.namespace, endpoint.name)
