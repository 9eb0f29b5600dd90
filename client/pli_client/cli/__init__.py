"""The command line `pli`: click in front, the SDK behind, one gate for everything that is printed.

Modules here import nothing heavy at their top: `pli --help` answers within 250 ms.
"""
