"""The agent: the only place where sources, plan, datapath and API meet.

=================  ==================================================================================
module             what it owns
=================  ==================================================================================
``options``        the agent's command line
``store``          what must survive a restart: SQLite under the state directory
``pool``           addresses that are free to give to endpoints
``directory``      names for numbers: endpoints, identities, rules; read by the event stream
``control``        the one sequence of changes: facts, plan, store, kernel, and back on failure
``worker``         the thread that ``control`` and the datapath run on
``stream``         events of the programs to those who watch
``proxies``        listeners of proxies, and the proxies that serve them
``names``          what DNS said
``node``           the API's operations, as the server needs them
``supervisor``     builds the others, runs them in one task group, stops them
=================  ==================================================================================
"""
