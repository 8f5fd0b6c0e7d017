"""`python -m monitor` is `defect-monitor`."""

from monitor.cli import main

main()
