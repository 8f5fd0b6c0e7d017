"""Programs beside the daemon."""
