"""Builds the parts of the daemon from settings; the only package that knows both."""
