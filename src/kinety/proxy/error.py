"""What a proxy cannot do."""


class ProxyError(Exception):
    """A proxy does not serve what it was asked to; the message says why. It serves what it did before."""
