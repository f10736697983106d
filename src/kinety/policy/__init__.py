"""Policy documents: text becomes rules, each with its place in the file, and rules become findable.

Pure: no I/O, no clock, no await. Imports nothing but the model.
"""
