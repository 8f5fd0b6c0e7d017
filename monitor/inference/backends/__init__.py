"""The runtimes that execute a network, one module each, all behind `base.Backend`."""
