"""The MLS working group's test vectors, run over any folder that has some of them.

    python -m pytest -m vectors --mls-vectors=DIR tests/protocol

`kinds.py` has the table of kinds; a kind is told by the fields of an entry, not by a file's name. To add
one, write a function that takes an entry (a dict) and raises (AssertionError or MLSError) unless it
verifies, in a module beside the others, and give it a row in `kinds.KINDS`. Entries of suites that
this library lacks never reach the function.
"""
