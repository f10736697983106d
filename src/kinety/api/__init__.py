"""The agent's interface: what travels over its unix socket, the client, and the server.

``types``, ``decode``, ``errors`` and ``client`` need the standard library only, so that the command
line starts fast. ``server`` and ``openapi`` belong to the agent.
"""
