"""Where facts come from that nobody posts: what container runtimes know of containers."""
