"""Backups: one sealed archive of everything that a relay needs to go on, and the way back from it."""
