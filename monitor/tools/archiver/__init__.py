"""The archiver: a service that keeps events and their images longer than Redis does, within a disk budget."""
