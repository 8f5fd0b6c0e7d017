"""Training: from labelled pictures to a model bundle."""
