"""What a proxy that does not do what it is told raises."""


class ProxyError(Exception):
    """A proxy refused what it was told, is not there, or took too long. What was in force before still is."""
