"""What a process reports of itself: metrics, logs, health, heartbeat, thread dumps."""
