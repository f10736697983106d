"""An endpoint whose interface is gone gets another, if its network namespace is still there."""

import logging
from dataclasses import replace

from kinety.agent.store import EndpointRecord
from kinety.datapath.datapath import Datapath
from kinety.kernel.namespace import Namespace
from kinety.plan.change import Change
from kinety.plan.engine import Engine

log = logging.getLogger(__name__)


def recover(record: EndpointRecord, datapath: Datapath, engine: Engine) -> bool:
    """Whether it has an interface again, under its policy; not, when its network namespace is gone."""
    endpoint = record.endpoint
    try:
        with Namespace.open(record.netns) as namespace:
            if namespace.is_known_as(record.netns_number):
                made = datapath.interface(endpoint.id)
                datapath.detach(endpoint.id)
                shape = record.wishes.shape if made is None else replace(record.wishes.shape, mtu=made.mtu)
                again = datapath.attach(endpoint, namespace, record.interface, shape)
                plan = engine.endpoint_plan(endpoint.id)
                datapath.apply(Change(endpoints={endpoint.id: plan}))
                datapath.host_ports.publish(endpoint, record.wishes.host_ports, again.name)
                log.warning("endpoint %s had lost its interface and has a new one", endpoint)
                return True
    except (OSError, ValueError) as error:
        log.info("endpoint %s: %s", endpoint, error)
    log.warning("endpoint %s is gone with its network namespace", endpoint)
    return False
