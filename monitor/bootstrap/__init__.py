"""The composition root: builds every part from the settings and hands it to those that need it."""
