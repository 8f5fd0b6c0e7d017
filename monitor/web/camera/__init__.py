"""The Camera view: larger live picture, verdicts of the last minutes, and visual tuning."""
