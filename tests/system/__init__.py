"""Whole teams on real parts: a relay as a process, an establishment, people with vaults of their own."""
