"""What may enter a group's log, and what it changes: decided inside the write transaction."""
