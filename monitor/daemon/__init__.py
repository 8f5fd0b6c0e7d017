"""A running daemon: cameras, coverage, events, health and their life from start to stop."""
