"""The Redis side of writers and readers: connection, keys, leases, subscribers."""
