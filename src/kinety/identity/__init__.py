"""Who is who: numbers for label sets, who a selector means, and classes nobody can tell apart.

Pure: no I/O, no clock, no await.

===================  ==========================================================
``allocation``       label sets and prefixes get numbers
``label_index``      label -> identities, as bitmaps
``selection``        selector -> identities, kept up to date both ways
``refinement``       many selectors over many identities at once
``classes``          identities that no live selector tells apart
===================  ==========================================================
"""
