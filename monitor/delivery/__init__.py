"""Keeps messages until each sink has acknowledged them, and sends them in order."""
