"""The documents that the daemon publishes, independent of what carries them."""
