"""The composition root: build every part from the settings and pass it to the parts that need it."""
