"""Bytes that must never be shown: keys, seeds, tokens."""

from typing import NoReturn, Self, SupportsIndex


class Secret(bytes):
    """Secret bytes. Equal to the same plain bytes, but `repr` and `str` show the length only.

    A part of it (`secret[:16]`) and a sum with it are plain bytes again: whoever keeps one marks it
    anew. Python cannot wipe `bytes`: a secret leaves memory when nothing refers to it any more.
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

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # A pickle would carry it into files, queues and other processes, in the clear.
        raise TypeError("a secret is not pickled")
