"""The archive of `defect-monitor support-bundle`."""
