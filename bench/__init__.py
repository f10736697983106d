"""Kinety's benchmarks: one module per question, each with ``run(quick) -> list[Figure]``.

Started by ``make bench`` (all questions) or ``python -m bench.run QUESTION…``; never by the tests,
because a timed test fails for reasons that are not in the change.
"""
