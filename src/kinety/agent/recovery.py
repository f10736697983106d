"""An endpoint whose interface is gone: it gets another, or is forgotten with its network namespace."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from kinety.agent.store import EndpointRecord
from kinety.kernel.namespace import Namespace
from kinety.plan.change import Change

if TYPE_CHECKING:
    from kinety.agent.control import Control

log = logging.getLogger(__name__)


def recover(control: "Control", record: EndpointRecord) -> EndpointRecord | None:
    """Returns the endpoint that was forgotten; None when it has its interface again."""
    endpoint = record.endpoint
    try:
        with Namespace.open(record.netns) as namespace:
            if namespace.is_known_as(record.netns_number):
                made = control.datapath.interface(endpoint.id)
                control.datapath.detach(endpoint.id)
                shape = record.wishes.shape if made is None else replace(record.wishes.shape, mtu=made.mtu)
                again = control.datapath.attach(endpoint, namespace, record.interface, shape)
                plan = control.engine.endpoint_plan(endpoint.id)
                control.datapath.apply(Change(endpoints={endpoint.id: plan}))
                control.datapath.host_ports.publish(endpoint, record.wishes.host_ports, again.name)
                log.warning("endpoint %s had lost its interface and has a new one", endpoint)
                return None
    except (OSError, ValueError) as error:
        log.info("endpoint %s: %s", endpoint, error)
    log.warning("endpoint %s is gone with its network namespace", endpoint)
    return control.detach(endpoint.namespace, endpoint.name)
