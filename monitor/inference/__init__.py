"""A model version made ready on a device: classification and explanation of network inputs."""
