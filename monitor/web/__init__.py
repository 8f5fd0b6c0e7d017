"""The operator's page: what the cameras see, what was flagged and why, and what was not inspected."""
