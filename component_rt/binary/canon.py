"""Canonical definitions as bytes: one table from opcode to name, immediates and feature (Binary.md, "Canonical
Definitions"). Typing is in `component_rt.validate.canon`, which reads the names of this table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from component_rt.binary.core import read_core_valtype
from component_rt.binary.reader import Reader
from component_rt.binary.syntax import Canon, Opts
from component_rt.binary.types import read_result_list, require
from component_rt.features import Features

__all__ = ["CANONS", "read_canon"]

MAX_OPTIONS = 10

# Immediates, in order of the encoding.
CANONS: dict[int, tuple[str, tuple[str, ...], str | None]] = {
    0x00: ("lift", ("func sort", "func", "opts", "type"), None),
    0x01: ("lower", ("func sort", "func", "opts"), None),
    0x02: ("resource.new", ("type",), None),
    0x03: ("resource.drop", ("type",), None),
    0x04: ("resource.rep", ("type",), None),
    0x05: ("task.cancel", (), "async_"),
    0x06: ("subtask.cancel", ("async",), "async_"),
    0x09: ("task.return", ("result", "opts"), "async_"),
    0x0A: ("context.get", ("core valtype", "slot"), "async_"),
    0x0B: ("context.set", ("core valtype", "slot"), "async_"),
    0x0C: ("thread.yield", ("cancel",), "async_"),
    0x0D: ("subtask.drop", (), "async_"),
    0x0E: ("stream.new", ("type",), "async_"),
    0x0F: ("stream.read", ("type", "opts"), "async_"),
    0x10: ("stream.write", ("type", "opts"), "async_"),
    0x11: ("stream.cancel-read", ("type", "async"), "async_"),
    0x12: ("stream.cancel-write", ("type", "async"), "async_"),
    0x13: ("stream.drop-readable", ("type",), "async_"),
    0x14: ("stream.drop-writable", ("type",), "async_"),
    0x15: ("future.new", ("type",), "async_"),
    0x16: ("future.read", ("type", "opts"), "async_"),
    0x17: ("future.write", ("type", "opts"), "async_"),
    0x18: ("future.cancel-read", ("type", "async"), "async_"),
    0x19: ("future.cancel-write", ("type", "async"), "async_"),
    0x1A: ("future.drop-readable", ("type",), "async_"),
    0x1B: ("future.drop-writable", ("type",), "async_"),
    0x1C: ("error-context.new", ("opts",), "error_context"),
    0x1D: ("error-context.debug-message", ("opts",), "error_context"),
    0x1E: ("error-context.drop", (), "error_context"),
    0x1F: ("waitable-set.new", (), "async_"),
    0x20: ("waitable-set.wait", ("cancel", "memory"), "async_"),
    0x21: ("waitable-set.poll", ("cancel", "memory"), "async_"),
    0x22: ("waitable-set.drop", (), "async_"),
    0x23: ("waitable.join", (), "async_"),
    0x24: ("backpressure.inc", (), "async_"),
    0x25: ("backpressure.dec", (), "async_"),
    0x26: ("thread.index", (), "threads"),
    0x27: ("thread.new-indirect", ("type", "table"), "threads"),
    0x28: ("thread.resume-later", (), "threads"),
    0x29: ("thread.suspend", ("cancel",), "threads"),
    0x2A: ("thread.suspend-then-resume", ("cancel",), "threads"),
    0x2B: ("thread.yield-then-resume", ("cancel",), "threads"),
    0x2C: ("thread.suspend-then-promote", ("cancel",), "threads"),
    0x2D: ("thread.yield-then-promote", ("cancel",), "threads"),
    0x40: ("thread.spawn-ref", ("shared", "type"), "shared_threads"),
    0x41: ("thread.spawn-indirect", ("shared", "type", "table"), "shared_threads"),
    0x42: ("thread.available-parallelism", ("shared",), "shared_threads"),
}

_OPTIONS = {
    0x00: "utf8",
    0x01: "utf16",
    0x02: "latin1-utf16",
    0x03: "memory",
    0x04: "realloc",
    0x05: "post-return",
    0x06: "async",
    0x07: "callback",
}
_WITH_INDEX = (0x03, 0x04, 0x05, 0x07)


def _option(r: Reader, features: Features) -> tuple[str, int | None, int]:
    start = r.pos
    byte = r.u8()
    name = _OPTIONS.get(byte)
    if name is None:
        r.leading(byte, "canonical option")
    if name in ("async", "callback"):
        require(features, "async_", f"the canonical option `{name}`", start)
    return name, r.u32() if byte in _WITH_INDEX else None, start


def _opts(r: Reader, features: Features) -> Opts:
    return Opts(r.vec(lambda: _option(r, features), MAX_OPTIONS, "canonical options"))


_Immediate = Callable[[Reader, Features], Any]
_IMMEDIATES: dict[str, tuple[str, _Immediate]] = {
    "func": ("func", lambda r, _: r.u32()),
    "type": ("type", lambda r, _: r.u32()),
    "table": ("table", lambda r, _: r.u32()),
    "memory": ("memory", lambda r, _: r.u32()),
    "slot": ("slot", lambda r, _: r.u32()),
    "core valtype": ("core_val", lambda r, _: read_core_valtype(r)),
    "async": ("is_async", lambda r, _: r.flag()),
    "cancel": ("cancellable", lambda r, _: r.flag()),
    "shared": ("shared", lambda r, _: r.flag()),
    "result": ("result", read_result_list),
    "opts": ("opts", _opts),
}


def read_canon(r: Reader, features: Features) -> Canon:
    """A `canon`."""
    start = r.pos
    byte = r.u8()
    row = CANONS.get(byte)
    if row is None:
        r.leading(byte, "canonical function")
    name, immediates, feature = row
    if feature is not None:
        require(features, feature, f"`{name}`", start)
    fields: dict[str, Any] = {}
    for immediate in immediates:
        if immediate == "func sort":
            sort = r.u8()
            if sort:
                r.leading(sort, f"canonical function {name}")
            continue
        field, read = _IMMEDIATES[immediate]
        fields[field] = read(r, features)
    return Canon(offset=start, name=name, **fields)
