"""Proxies that see what flows carry: each a process of its own, told by the agent what to let through."""
