"""Container networking and security policy for Linux, enforced by eBPF and steered from Python."""

__version__ = "0.1.0"
