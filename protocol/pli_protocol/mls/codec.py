"""Presentation language (RFC 9420 §2.1): numbers, variable-size vectors, optional values."""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Protocol, Self, TypeVar

from .errors import CodecError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Writable(Protocol):
    """A struct that can be encoded."""

    def write(self, w: "Writer", /) -> None: ...


class Readable(Protocol[T_co]):
    """The class of a struct that can be decoded."""

    def read(self, r: "Reader", /) -> T_co: ...


class Writer:
    """Collects the encoding of a struct."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> None:
        self._parts.append(value.to_bytes(1, "big"))

    def u16(self, value: int) -> None:
        self._parts.append(value.to_bytes(2, "big"))

    def u32(self, value: int) -> None:
        self._parts.append(value.to_bytes(4, "big"))

    def u64(self, value: int) -> None:
        self._parts.append(value.to_bytes(8, "big"))

    def raw(self, data: bytes) -> None:
        """Bytes as they are: a fixed-size field, or a struct that is encoded already."""
        self._parts.append(data)

    def opaque(self, data: bytes) -> None:
        """opaque data<V>: length, then the bytes."""
        self._parts += (varint(len(data)), data)

    def u16s(self, values: Sequence[int]) -> None:
        """uint16 values<V>."""
        self.opaque(struct.pack(f">{len(values)}H", *values))

    def u32s(self, values: Sequence[int]) -> None:
        """uint32 values<V>."""
        self.opaque(struct.pack(f">{len(values)}I", *values))

    def vector(self, items: Iterable[T], write: Callable[["Writer", T], None]) -> None:
        """T items<V>: length in bytes, then the items."""
        inner = Writer()
        for item in items:
            write(inner, item)
        self._nested(inner)

    def structs(self, items: Iterable[Writable]) -> None:
        """T items<V> where T is a struct of ours."""
        inner = Writer()
        for item in items:
            item.write(inner)
        self._nested(inner)

    def _nested(self, inner: "Writer") -> None:
        # Not joined by itself: a tree within a GroupInfo within a Welcome is large.
        self._parts.append(varint(sum(map(len, inner._parts))))
        self._parts += inner._parts

    def optional(self, item: T | None, write: Callable[["Writer", T], None]) -> None:
        """optional<T> (§2.1.1)."""
        if item is None:
            self.u8(0)
        else:
            self.u8(1)
            write(self, item)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


_NOT_SHORTEST = "a vector's length is not in its shortest form"

# Reader has a method `bytes`, which hides the type within the class.
_Bytes = bytes


class Reader:
    """Reads a struct from bytes; every fault is a CodecError, no length reaches beyond the end."""

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self._data = data
        self._end = len(data) if end is None else end
        self.position = position

    def bytes(self, n: int) -> bytes:
        """The next n bytes."""
        start = self.position
        stop = start + n
        if stop > self._end:
            raise CodecError("the data ends within a field", "bytes-missing", "§2.1")
        self.position = stop
        return self._data[start:stop]

    def since(self, start: int) -> _Bytes:
        """The bytes read since the reader stood at `start`."""
        return self._data[start : self.position]

    def u8(self) -> int:
        if self.position >= self._end:
            raise CodecError("the data ends within a field", "bytes-missing", "§2.1")
        value = self._data[self.position]
        self.position += 1
        return value

    def u16(self) -> int:
        return int.from_bytes(self.bytes(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.bytes(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.bytes(8), "big")

    def length(self) -> int:
        """A variable-size vector's length (§2.1.2): 1, 2 or 4 bytes, the shortest that fits."""
        first = self.u8()
        prefix = first >> 6
        if prefix == 0:
            return first
        if prefix == 1:
            value = (first & 0x3F) << 8 | self.u8()
            if value < 1 << 6:
                raise CodecError(_NOT_SHORTEST, "vector-length", "§2.1.2")
            return value
        if prefix == 2:
            value = (first & 0x3F) << 24 | int.from_bytes(self.bytes(3), "big")
            if value < 1 << 14:
                raise CodecError(_NOT_SHORTEST, "vector-length", "§2.1.2")
            return value
        raise CodecError("a vector's length has an invalid prefix", "vector-prefix", "§2.1.2")

    def opaque(self) -> _Bytes:
        """opaque data<V>."""
        data, start = self._data, self.position
        # Most are short: a length in one byte is read without further calls.
        if start < self._end and data[start] < 64:
            stop = start + 1 + data[start]
            if stop <= self._end:
                self.position = stop
                return data[start + 1 : stop]
        return self.bytes(self.length())

    def u16s(self) -> tuple[int, ...]:
        """uint16 values<V>."""
        return self._numbers(2, "H")

    def u32s(self) -> tuple[int, ...]:
        """uint32 values<V>."""
        return self._numbers(4, "I")

    def _numbers(self, size: int, code: str) -> tuple[int, ...]:
        data = self.opaque()
        count, rest = divmod(len(data), size)
        if rest:
            raise CodecError("the data ends within a field", "bytes-missing", "§2.1")
        return struct.unpack(f">{count}{code}", data)

    def vector(self, read: Callable[[Self], T]) -> tuple[T, ...]:
        """T items<V>: read one item after the other until the vector's end."""
        length = self.length()
        if length == 0:
            return ()
        stop = self.position + length
        if stop > self._end:
            raise CodecError("a vector reaches beyond the data", "bytes-missing", "§2.1")
        outer, self._end = self._end, stop
        items: list[T] = []
        try:
            while self.position < stop:
                before = self.position
                items.append(read(self))
                if self.position == before:
                    raise CodecError("an item of a vector takes no space")
        finally:
            self._end = outer
        return tuple(items)

    def optional(self, read: Callable[[Self], T]) -> T | None:
        """optional<T> (§2.1.1): the presence byte is 0 or 1."""
        present = self.u8()
        if present == 0:
            return None
        if present == 1:
            return read(self)
        raise CodecError("a presence byte is neither 0 nor 1", "presence-octet", "§2.1.1")

    def finish(self) -> None:
        """Nothing may be left."""
        if self.position != self._end:
            raise CodecError("bytes are left after the struct", "bytes-left", "§2.1")


_SHORT = tuple(bytes((length,)) for length in range(1 << 6))


def varint(length: int) -> bytes:
    """The length of a variable-size vector (§2.1.2), in its shortest form."""
    if length < 1 << 6:
        return _SHORT[length]
    if length < 1 << 14:
        return (length | 1 << 14).to_bytes(2, "big")
    if length < 1 << 30:
        return (length | 1 << 31).to_bytes(4, "big")
    raise CodecError("a vector is longer than 2^30 - 1 bytes", "vector-too-long", "§2.1.2")


@lru_cache(maxsize=64)
def group_and_epoch(group_id: bytes, epoch: int) -> bytes:
    """opaque group_id<V>; uint64 epoch: how every message and what it is bound to begin (§6)."""
    return b"".join((varint(len(group_id)), group_id, epoch.to_bytes(8, "big")))


def size_of_opaque(data: bytes) -> int:
    """Bytes of the encoding of opaque data<V>."""
    return len(varint(len(data))) + len(data)


def encode(value: Writable) -> bytes:
    """The encoding of a struct."""
    w = Writer()
    value.write(w)
    return w.getvalue()


def decode(cls: Readable[T], data: bytes) -> T:
    """Decode exactly one struct; raises CodecError where the bytes are not that."""
    r = Reader(data)
    value = cls.read(r)
    r.finish()
    return value
