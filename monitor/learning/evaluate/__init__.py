"""Measures how well a model classifies, localises and explains."""
