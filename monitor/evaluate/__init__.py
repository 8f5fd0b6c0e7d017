"""How far a model is to be trusted: figures with intervals, and pictures."""
