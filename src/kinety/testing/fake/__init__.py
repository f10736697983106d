"""A kernel in this process: bpf(2) answered in memory, for tests without privileges.

What is faked is the system call, not `kinety.kernel`: whatever is written for the real kernel, batches,
pins, shared memory and adoption after a restart included, runs on this one unchanged. It is a verified
fake: tests/unit/kernel/test_map.py and test_link_place.py are contracts that both kernels keep.

==========  =================================================================================
module      has
==========  =================================================================================
``kernel``  `FakeKernel`: the system call, and what a test may do behind it
``held``    objects with their descriptors, numbers and pins, and when they end
``maps``    the commands about maps
``rows``    what each kind of map does with its rows
``links``   the commands about programs and about links to interfaces
==========  =================================================================================

Programs are taken as they are and never run: a verifier cannot be faked, and a packet needs the real
one. Interfaces are numbers that a test says there are; namespaces and netlink are the real ones, which
are cheap.
"""
