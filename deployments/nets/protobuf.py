"""Protocol Buffers' wire format, as much as reading takes: no schema compiler and no package.

Source: https://protobuf.dev/programming-guides/encoding/. Nothing is copied but what a caller asks for, and nothing is
allocated that the bytes do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. 3 and 4, groups, have been out of use since 2010."""

MAX_PACKED = 4096
"""Numbers in a list: as objects they take thirty times the room that they take in a file."""

Value = int | memoryview
"""Of a varint its number, of all else its bytes."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned 64-bit number that begins at ``at``, and where it ends; raise ValueError if it does not."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number has more than ten bytes")


def signed(number: int) -> int:
    """Return a varint as the two's complement that int32 and int64 fields hold."""
    return number - (1 << 64) if number >> 63 else number


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the (number, value) of every field of a message, in order; raise ValueError where it is no message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = varint(data, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is not in use")
        if length > len(data) - at:
            raise ValueError(f"field {number} is cut off")
        yield number, data[at : at + length]
        at += length


def message(value: Value) -> memoryview:
    """Return a field's bytes; raise ValueError if it holds a number."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def text(value: Value) -> str:
    """Return a field as UTF-8 text; raise ValueError (UnicodeDecodeError is one) if it is none."""
    return bytes(message(value)).decode()


def whole(value: Value) -> int:
    """Return a field as an int32 or int64; raise ValueError if it holds bytes."""
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number belongs")
    return signed(value)


def packed(value: Value) -> list[int]:
    """Return a repeated int field: one number, or many packed into bytes; raise ValueError for more than 4096."""
    if isinstance(value, int):
        return [signed(value)]
    numbers: list[int] = []
    at = 0
    while at < len(value):
        if len(numbers) == MAX_PACKED:
            raise ValueError(f"a list has more than {MAX_PACKED} numbers")
        number, at = varint(value, at)
        numbers.append(signed(number))
    return numbers
