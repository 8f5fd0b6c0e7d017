"""Where messages go: one module a kind of broker, all behind `base.Sink`."""
