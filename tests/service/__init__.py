"""The daemon as a service: notification, log, units."""
