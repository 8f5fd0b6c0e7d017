"""The daemon on simulated cameras, scored against the known defects."""
