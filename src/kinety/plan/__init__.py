"""Where identity and policy meet: facts become a plan, and a new fact becomes a change of it.

Pure: no I/O, no clock, no await.
"""
