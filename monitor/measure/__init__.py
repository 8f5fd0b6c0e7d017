"""Metrics of every stage and health, over HTTP."""
