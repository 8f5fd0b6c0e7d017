"""Looks at each thing a run needs, says how it stands and how to mend it."""
