"""The two halves of the way of a frame: to its verdict, and from a flagged one to its event."""
