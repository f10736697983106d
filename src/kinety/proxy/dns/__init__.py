"""The DNS proxy: which names clients may ask for, and no answer before the kernel has its addresses.

A process of its own. It outlives the agent, and serves on while there is none.
"""

from kinety.model.name import Answer
from kinety.proxy.dns.counters import ListenerStatistics
from kinety.proxy.dns.proxy import DnsProxy, DnsSettings, DnsStatus
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.service import Denied
from kinety.proxy.dns.state import Listener

__all__ = [
    "Answer",
    "Denied",
    "DnsProxy",
    "DnsSettings",
    "DnsStatus",
    "Listener",
    "ListenerStatistics",
    "Protection",
]
