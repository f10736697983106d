"""A command as an endpoint: in a network namespace of its own, under its policy before it begins."""
