"""One archive with all that somebody needs to help from afar, and no secret in it."""
