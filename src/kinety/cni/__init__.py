"""``kinety-cni``: the plugin that container runtimes run, a thin client of the agent's socket.

https://www.cni.dev/docs/spec/ (1.1.0), and every version before it.

A container waits for it, so start-up time decides its style: it imports little even of the standard
library (no ``dataclasses``, ``typing``, ``pathlib``, ``http``), and speaks with the agent in JSON values
instead of the classes of ``kinety.api.types``; `docs/reference/openapi.json` says what is in them.
``TYPE_CHECKING = False`` is what type checkers take for true.
"""
