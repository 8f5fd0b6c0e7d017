"""The capture process of one camera: `python -m monitor.capture.worker NAME DESCRIPTOR`."""
