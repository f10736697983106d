"""What a plan means, to people: why a flow is let through or not, what a change changes, what looks wrong.

Everything is worked out from an engine's own tables and checked against them. Answers are exact: about
every identity the engine knows and all of the 2^24 protocols and ports, not about samples.

Pure: no I/O, no clock, no await.

===================  ==========================================================
``traffic``          stretches of protocols and ports, and how to say them
``pattern``          a verdict for every protocol and port
``judge``            patterns of any two identities
``naming``           names of identities
``end``              ends of a flow, as people name them
``supposition``      what would be, taken back afterwards
``flow``             why one flow is let through or not
``condition``        which condition of a rule a flow fails
``content``          what becomes of one request
``proposal``         steps that may let a flow through, in words of ``phrase``
``edit``             the smallest edits that do
``difference``       which verdicts a change changes
``matrix``           every verdict
``lint``             what is odd about policies
``overlap``          whether one rule says all that another says
``vocabulary``       labels that somebody carries
``actor``            everybody who can send or receive
``proof``            invariants, or a flow that breaks one
``answer``           all of this as JSON values
===================  ==========================================================
"""
