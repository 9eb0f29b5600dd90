"""Messages through a stock relay, beside a bare one and the disk: `python -m tests.bench.relay`."""
