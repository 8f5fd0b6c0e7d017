"""The picture that goes out with an event."""
