"""What hostile clients do to an honest one: `python -m tests.bench.stress`."""
