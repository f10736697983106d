"""An interface that went away while its network namespace did not: somebody removed it."""

import logging
from dataclasses import replace

from kinety.agent.store import EndpointRecord
from kinety.datapath.datapath import Datapath
from kinety.kernel.namespace import Namespace
from kinety.plan.change import Change, EndpointPlan

log = logging.getLogger(__name__)


def give_back(datapath: Datapath, record: EndpointRecord, plan: EndpointPlan) -> bool:
    """Give an endpoint a new interface like the former; False when it cannot have one any more."""
    endpoint, shape = record.endpoint, record.wishes.shape
    try:
        with Namespace.open(record.netns) as namespace:
            if not namespace.is_known_as(record.netns_number):
                return False
            former = datapath.interface(endpoint.id)
            if shape.mtu is None and former is not None:
                shape = replace(shape, mtu=former.mtu)
            datapath.detach(endpoint.id)
            made = datapath.attach(endpoint, namespace, record.interface, shape)
            datapath.apply(Change(endpoints={endpoint.id: plan}))
            datapath.host_ports.publish(endpoint, record.wishes.host_ports, made.name)
    except (OSError, ValueError) as error:
        log.info("endpoint %s: %s", endpoint, error)
        return False
    log.warning("endpoint %s had lost its interface and has a new one", endpoint)
    return True
