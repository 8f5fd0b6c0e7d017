"""The network: what it is, the bundle it travels in, and how the daemon runs it."""
