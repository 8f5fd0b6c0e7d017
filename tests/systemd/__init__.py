"""The service on a real systemd: a Debian in a container of its own."""
