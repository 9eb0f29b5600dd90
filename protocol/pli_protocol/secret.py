"""Bytes that must never be shown: keys, seeds, tokens."""

from typing import Self


class Secret(bytes):
    """Secret bytes. Equal to the same plain bytes, but `repr` and `str` show the length only.

    Python cannot wipe `bytes`: a secret leaves memory when nothing refers to it any more.
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Mark bytes as secret."""
        return cls(data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<{len(self)} bytes>)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)
