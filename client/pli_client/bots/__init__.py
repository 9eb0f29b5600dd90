"""Bots: accounts that a program runs. The first is the DUI's (`pli bot dui`)."""
