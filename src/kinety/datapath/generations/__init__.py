"""Four ways to give an endpoint its programs, from one C source: how the agent's way came about.

The programs of all four read and write the same maps and give the same verdicts. They differ in where
an endpoint's own values are (bpf/lib/self.h), and so in what a new endpoint costs:

============ =========================================== ============================================
module       an endpoint's values are                    a new endpoint costs
============ =========================================== ============================================
``compile``  definitions, one compilation per endpoint   clang, the verifier
``symbols``  symbols' values, written into instructions  a copy of the instructions, the verifier
``rodata``   a frozen ``.rodata`` map                    a map, the verifier
``resident`` a row                                       nothing; loaded with the first
============ =========================================== ============================================

A `Generation` turns values into a spec; it asks the kernel for nothing. A `Deployment` has specs loaded,
puts programs at interfaces, and moves an endpoint from one generation to another between two packets.
What changes during an endpoint's life (readiness, epoch, rule sets, identities) is in its row in every
generation. The agent uses ``resident`` and needs nothing of this package. See
docs/concepts/fast-datapaths.md.
"""
