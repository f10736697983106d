"""The command line: a client of the agent's API, and verbs that need no agent.

Start-up time is a feature: ``main`` knows the verbs' names and one-line helps, and imports a verb's
module when it is called. A module imports at its top what all of its verbs use.
"""
