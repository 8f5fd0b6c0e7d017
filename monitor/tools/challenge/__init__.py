"""Show known rejects to a running daemon, and sign what it found."""
