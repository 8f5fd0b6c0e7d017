"""The checks of `defect-monitor doctor`."""
