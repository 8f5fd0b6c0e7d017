"""The measurements of `defect-monitor bench`."""
