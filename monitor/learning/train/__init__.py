"""Trains a network on labelled images and writes a model bundle."""
