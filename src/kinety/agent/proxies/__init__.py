"""Proxies as the agent has them: their kinds, listeners and ports, what they report and what they cost."""
