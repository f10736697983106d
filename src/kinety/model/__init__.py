"""The words of Kinety as frozen values: facts that come in and verdicts that go out.

Nothing here performs I/O or imports another package of the project.
"""
