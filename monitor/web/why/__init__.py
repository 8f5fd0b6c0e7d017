"""Why a frame was flagged: explanations by any method, on demand, in a process of their own."""
