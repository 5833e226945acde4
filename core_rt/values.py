"""Python values to wasm values and back.

`Kind` is how a value type looks in a ValRaw. Fast paths (assigning through a typed pointer, which checks the range) are
generated per signature in `core_rt.func`; the functions here do what those paths cannot: unsigned integers, references,
vectors, and the error messages.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from core_rt.errors import EngineBug, StoreError
from core_rt.types import F32, F64, I32, I64, V128, AbsHeap, RefType, ValType, matches_heap, top_of

if TYPE_CHECKING:
    from core_rt.store import Store

_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1


def integer(value: object, bits: int) -> int:
    """`value` as a signed integer of that many bits; takes signed and unsigned ones. `TypeError`, `OverflowError`."""
    if not isinstance(value, int):
        index = getattr(type(value), "__index__", None)
        if index is None:
            raise TypeError(f"an i{bits} must be an int, not {type(value).__name__}")
        value = int(index(value))
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise OverflowError(f"{value} does not fit in an i{bits}")
    return value - (1 << bits) if value >> (bits - 1) > 0 else value


def number(value: object, bits: int) -> float:
    """`value` as a float. `TypeError`, `OverflowError`."""
    kind = type(value)
    if isinstance(value, str | bytes) or not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        raise TypeError(f"an f{bits} must be a number, not {type(value).__name__}")
    return float(value)  # type: ignore[arg-type]


def _f32(value: float) -> bytes:
    """Rounded as C does: what is too large becomes infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def vector(value: object) -> int:
    """A v128 from 16 bytes, little-endian."""
    data = bytes(value)  # type: ignore[call-overload]
    if isinstance(value, int) or len(data) != 16:
        raise ValueError(f"a v128 is 16 bytes, not {value!r}")
    return int.from_bytes(data, "little")


def reference_to_raw(store: Store, type_: RefType, value: object) -> int:
    """A reference as it stands in a ValRaw; checks nullness, kind and store."""
    from core_rt.func import Func

    if value is None:
        if not type_.nullable:
            raise TypeError(f"None is not allowed for a {type_}")
        return 0
    top = top_of(type_.heap)
    if top is AbsHeap.FUNC:
        if not isinstance(value, Func):
            raise TypeError(f"a {type_} must be a Func or None, not {type(value).__name__}")
        if value.store is not store:
            raise StoreError("a function of another store was passed as a reference")
        if not matches_heap(value.deftype, type_.heap):
            raise TypeError(f"{value!r} is no {type_}")
        return value.address
    return store.refs.to_raw(type_, value)


def reference_from_raw(store: Store, type_: RefType, raw: int) -> Any:
    """The Python object for a reference in a ValRaw."""
    if top_of(type_.heap) is AbsHeap.FUNC:
        return None if raw == 0 else store.func_at(raw)
    return store.refs.from_raw(type_, raw & _M32)


def to_raw(store: Store, type_: ValType, value: object) -> int:
    """A Python value as an unsigned bit pattern."""
    if type_ is I32:
        return integer(value, 32) & _M32
    if type_ is I64:
        return integer(value, 64) & _M64
    if type_ is F32:
        return int(struct.unpack("<I", _f32(number(value, 32)))[0])
    if type_ is F64:
        return int(struct.unpack("<Q", struct.pack("<d", number(value, 64)))[0])
    if type_ is V128:
        return vector(value)
    if isinstance(type_, RefType):
        return reference_to_raw(store, type_, value)
    raise EngineBug(f"no value type: {type_!r}")


def from_raw(store: Store, type_: ValType, raw: int) -> Any:
    """The Python value for an unsigned bit pattern; integers come out signed."""
    if type_ is I32:
        raw &= _M32
        return raw - (1 << 32) if raw >> 31 else raw
    if type_ is I64:
        return raw - (1 << 64) if raw >> 63 else raw
    if type_ is F32:
        return struct.unpack("<f", struct.pack("<I", raw & _M32))[0]
    if type_ is F64:
        return struct.unpack("<d", struct.pack("<Q", raw))[0]
    if type_ is V128:
        return raw.to_bytes(16, "little")
    if isinstance(type_, RefType):
        return reference_from_raw(store, type_, raw)
    raise EngineBug(f"no value type: {type_!r}")


def bits_to_raw(store: Store, type_: ValType, value: Any) -> int:
    """For `call_raw`: numbers and vectors are bit patterns already (signed ones are fine too), references are objects."""
    if isinstance(type_, RefType):
        return reference_to_raw(store, type_, value)
    if not isinstance(value, int):
        raise TypeError(f"a raw {type_} must be an int, not {type(value).__name__}")
    size = 8 * type_.size
    if not -(1 << (size - 1)) <= value < 1 << size:
        raise OverflowError(f"{value} does not fit in {size} bits")
    return value & ((1 << size) - 1)


def raw_to_bits(store: Store, type_: ValType, raw: int) -> Any:
    """The reverse of `bits_to_raw`."""
    if isinstance(type_, RefType):
        return reference_from_raw(store, type_, raw)
    return raw & ((1 << 8 * type_.size) - 1)
