"""Envoy as the proxy for rules about HTTP and TLS: what it is told, by which words, and its process.

=======================  ==========================================================================
module                   about
=======================  ==========================================================================
``envoy``                the door: listeners put, removed, restored; the process supervised
``listener``             a set of rules as Envoy's listener (pure, as all translation is)
``http_connection``      how HTTP is read and written between client and server
``routes``               rules about HTTP as routes
``server_names``         which connections of a listener go on: by where they go, and by TLS server name
``tellers``              which requests and connections Envoy tells of
``bootstrap``            what it is started with
``resource``             a message under its name and version
``channel``              the agent's socket, that both servers below are on
``discovery``            the server that tells it (xDS: incremental, aggregated, on a unix socket)
``delivery``             one change at a time, until Envoy has it or refuses
``observation``          the server that is told of refused requests
``admin``                asks for statistics
``process``              starts, finds again and ends the process
=======================  ==========================================================================
"""
