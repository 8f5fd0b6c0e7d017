"""Trains the last layer alone, on features of start weights that stay as they are."""
