"""The DNS proxy: which names clients may ask for, and no answer before the kernel has its addresses.

A process of its own. It outlives the agent, and serves on while there is none.
"""
