"""Several nodes: one database, a bus, a bucket."""
