"""Account passwords, second factors, the limits on guessing them, and erasure."""
