"""Simulated surfaces with weak defects at known places, for tests, training and the demo."""
