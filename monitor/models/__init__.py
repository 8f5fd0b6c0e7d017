"""Trained models: bundles, their cards, and those that ship with the package."""
