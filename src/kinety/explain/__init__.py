"""What a plan means, to people: why a flow is let through or not, what a change changes, what looks wrong.

Everything is worked out from an engine's own tables and checked against them. Answers are exact: about
every identity the engine knows and all of the 2^24 protocols and ports, not about samples.

Pure: no I/O, no clock, no await.

===================  ==========================================================
``traffic``          stretches of protocols and ports, and how to say them
``pattern``          a verdict for every protocol and port
``judge``            patterns of any two identities
``naming``           names of identities
``flow``             why one flow is let through or not
``edit``             the smallest edits that let a flow through
``difference``       which verdicts a change changes
``matrix``           every verdict
``lint``             what is odd about policies
===================  ==========================================================
"""
