"""Canonical definitions: options and core signatures (CanonicalABI.md, "Canonical Definitions").

`canon lift` and `canon lower` have functions of their own; every other one is a row of `_BUILTINS`: a function from the
decoded definition to the record, most of them made by `_plain` or `_ended`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from component_rt import model
from component_rt.abi.flat import MAX_FLAT_PARAMS, Flattened, flatten_functype, flatten_types
from component_rt.binary.syntax import Canon
from component_rt.model import CanonOptions, Sort
from component_rt.types import FuncType, FutureType, StreamType, ValType
from component_rt.validate.scope import Scope
from component_rt.validate.types import func_at, resource_at, valtype
from core_rt import types as core
from core_rt.errors import ValidationError

__all__ = ["canon"]

I32, I64 = core.I32, core.I64
_CORE = {"i32": core.I32, "i64": core.I64, "f32": core.F32, "f64": core.F64}
_ENCODINGS = ("utf8", "utf16", "latin1-utf16")


def canon(scope: Scope, item: Canon) -> model.CanonLift | model.CanonLower | model.CanonBuiltin:
    """Check a canonical definition. Raises `ValidationError`."""
    if item.name == "lift":
        return _lift(scope, item)
    if item.name == "lower":
        return _lower(scope, item)
    return _BUILTINS[item.name](scope, item)


# ---- options ----


def _options(scope: Scope, item: Canon, allowed: Iterable[str]) -> CanonOptions:
    """The options in general: each at most once, of the right type, and among `allowed`."""
    found: dict[str, int | None] = {}
    encoding: str | None = None
    for name, index, offset in item.opts.items:
        if name in _ENCODINGS:
            if encoding is not None:
                raise ValidationError(f"canonical encoding option `{encoding}` conflicts with option `{name}`", offset)
            encoding = name
            continue
        if name in found:
            raise ValidationError(f"canonical option `{name}` is specified more than once", offset)
        if name not in allowed:
            raise ValidationError(_not_allowed(name, item.name), offset)
        found[name] = index
    at = item.offset
    memory64 = False
    memory = found.get("memory")
    if memory is not None:
        memory64 = _memory64(scope, memory, at)
    address = I64 if memory64 else I32
    if "realloc" in found:
        if memory is None:
            raise ValidationError("canonical option `realloc` requires `memory` to also be specified", at)
        _signature(scope, "realloc", found["realloc"], core.FuncType([address] * 4, [address]), at)
    if "callback" in found:
        if "async" not in found:
            raise ValidationError("canonical option `callback` cannot be specified without `async`", at)
        _signature(scope, "callback", found["callback"], core.FuncType([I32] * 3, [I32]), at)
    if "post-return" in found and "async" in found:
        raise ValidationError("canonical option `post-return` cannot be specified with `async`", at)
    return CanonOptions(
        string_encoding="latin1+utf16" if encoding == "latin1-utf16" else encoding or "utf8",
        memory=memory,
        memory64=memory64,
        realloc=found.get("realloc"),
        post_return=found.get("post-return"),
        callback=found.get("callback"),
        is_async="async" in found,
    )


def _not_allowed(option: str, name: str) -> str:
    if name == "lower" and option in ("post-return", "callback"):
        return f"canonical option `{option}` cannot be specified for lowerings"
    return f"canonical option `{option}` cannot be specified for `{name}`"


def _memory64(scope: Scope, index: int, offset: int) -> bool:
    memory: core.MemoryType = scope.at(Sort.CORE_MEMORY, index, offset)
    if memory.is64 and not scope.features.memory64:
        raise ValidationError("canonical ABI memory of 64 bits needs the component feature `memory64`", offset)
    if not core.matches_extern(memory, core.MemoryType(0, None, memory.is64)):
        raise ValidationError(f"canonical ABI memory must match `(memory 0)`, not `{memory}`", offset)
    return memory.is64


def _core_func(scope: Scope, index: int | None, offset: int) -> core.FuncType:
    assert index is not None
    found: core.DefType = scope.at(Sort.CORE_FUNC, index, offset)
    return found.func


def _signature(scope: Scope, option: str, index: int | None, wanted: core.FuncType, offset: int) -> None:
    if _core_func(scope, index, offset) != wanted:
        raise ValidationError(
            f"canonical option `{option}` uses a core function with an incorrect signature: wanted {wanted}", offset
        )


def _require(options: CanonOptions, option: str, offset: int) -> None:
    if getattr(options, option) is None:
        raise ValidationError(f"canonical option `{option}` is required", offset)


def _require_for(options: CanonOptions, incoming: bool, offset: int) -> None:
    """What values with pointers need: memory, and `realloc` where they come into the component."""
    _require(options, "memory", offset)
    if incoming:
        _require(options, "realloc", offset)


_POINTERS = ("string", "map")
_HANDLES = ("own", "borrow", "stream", "future")


@functools.lru_cache(maxsize=8192)
def _has_pointers(t: Any) -> bool:
    """Whether a value of type `t` refers to memory beside itself: it contains a list or string."""
    if t.kind in _POINTERS or (t.kind == "list" and t.length is None):
        return True
    return t.kind not in _HANDLES and _any_pointers(t.children())


def _any_pointers(types: Iterable[ValType]) -> bool:
    for t in types:
        if _has_pointers(t):
            return True
    return False


def _async_option(item: Canon, options: CanonOptions, ft: FuncType) -> None:
    if options.is_async and not ft.is_async:
        raise ValidationError("the `async` canonical option requires an async function type", item.offset)


def _core_types(flat: Flattened) -> core.FuncType:
    return core.FuncType([_CORE[t] for t in flat.params], [_CORE[t] for t in flat.results])


# ---- lift and lower ----


def _lift(scope: Scope, item: Canon) -> model.CanonLift:
    at = item.offset
    ft = func_at(scope, item.type, at)
    actual = _core_func(scope, item.func, at)
    options = _options(scope, item, ("memory", "realloc", "post-return", "async", "callback"))
    _async_option(item, options, ft)
    if options.is_async and options.callback is None and not scope.features.stackful:
        raise ValidationError("canonical option `async` without `callback` needs the component feature `stackful`", at)
    pointer = 8 if options.memory64 else 4
    flat = flatten_functype(ft, "lift", pointer, options.is_async, options.callback is not None)
    if flat.spilled_params or _any_pointers([t for _, t in ft.params]):
        _require_for(options, True, at)
    if ft.result is not None:
        spilled = flat.spilled_result
        if options.is_async:
            # `task.return` takes up to as many values as parameters may be.
            spilled = flatten_types([ft.result], pointer, MAX_FLAT_PARAMS) is None
        if spilled or _any_pointers([ft.result]):
            _require_for(options, False, at)
    wanted = _core_types(flat)
    for what, have, want in (("parameter", actual.params, wanted.params), ("result", actual.results, wanted.results)):
        if have != want:
            raise ValidationError(
                f"lowered {what} types `{_spell(want)}` do not match {what} types `{_spell(have)}` of core function "
                f"{item.func}",
                at,
            )
    if options.post_return is not None:
        _signature(scope, "post-return", options.post_return, core.FuncType(wanted.results, []), at)
    return model.CanonLift(offset=at, core_func=item.func, type=ft, options=options, core_type=wanted)


def _spell(types: Iterable[core.ValType]) -> str:
    return f"[{', '.join([str(t).upper() for t in types])}]"


def _lower(scope: Scope, item: Canon) -> model.CanonLower:
    at = item.offset
    ft: FuncType = scope.at(Sort.FUNC, item.func, at)
    options = _options(scope, item, ("memory", "realloc", "async"))
    _async_option(item, options, ft)
    flat = flatten_functype(ft, "lower", 8 if options.memory64 else 4, options.is_async)
    if flat.spilled_params or flat.spilled_result or _any_pointers([t for _, t in ft.params]):
        _require_for(options, False, at)
    if ft.result is not None and _any_pointers([ft.result]):
        _require_for(options, True, at)
    return model.CanonLower(offset=at, func=item.func, type=ft, options=options, core_type=_core_types(flat))


# ---- built-ins ----

_Builtin = Callable[[Scope, Canon], model.CanonBuiltin]


def _made(item: Canon, params: list[core.ValType], results: list[core.ValType], **fields: Any) -> model.CanonBuiltin:
    return model.CanonBuiltin(
        offset=item.offset,
        name=item.name,
        core_type=core.FuncType(params, results),
        is_async=item.is_async,
        cancellable=item.cancellable,
        shared=item.shared,
        **fields,
    )


def _plain(params: list[core.ValType], results: list[core.ValType]) -> _Builtin:
    """A built-in that has one signature."""
    return lambda scope, item: _made(item, params, results)


def _cancel(params: list[core.ValType], kind: type | None) -> _Builtin:
    """`subtask.cancel`, or a cancel of the stream or future type `kind`: `async` is a feature of its own."""

    def check(scope: Scope, item: Canon) -> model.CanonBuiltin:
        if item.is_async and not scope.features.more_async_builtins:
            raise ValidationError(
                f"`async` on `{item.name}` needs the component feature `more_async_builtins`", item.offset
            )
        return _made(item, params, [I32], type=None if kind is None else _endpoint(scope, item, kind))

    return check


def _endpoint(scope: Scope, item: Canon, kind: type) -> Any:
    found = scope.at(Sort.TYPE, item.type, item.offset)
    if not isinstance(found, kind):
        name = "stream" if kind is StreamType else "future"
        raise ValidationError(f"`{item.name}` requires a {name} type: type index {item.type} is none", item.offset)
    return found


def _ended(kind: type, params: list[core.ValType], results: list[core.ValType]) -> _Builtin:
    """A built-in over a stream or future type with one signature."""
    return lambda scope, item: _made(item, params, results, type=_endpoint(scope, item, kind))


def _copy(kind: type, incoming: bool) -> _Builtin:
    """`stream.read` and its like; `incoming` if values come into the component."""

    def check(scope: Scope, item: Canon) -> model.CanonBuiltin:
        t = _endpoint(scope, item, kind)
        options = _options(scope, item, ("memory", "realloc", "async"))
        if not options.is_async and not scope.features.more_async_builtins:
            raise ValidationError(
                f"`{item.name}` without `async` needs the component feature `more_async_builtins`", item.offset
            )
        if t.t is not None:
            _require(options, "memory", item.offset)
            if _any_pointers([t.t]):
                _require_for(options, incoming, item.offset)
        address = I64 if options.memory64 else I32
        if kind is StreamType:
            return _made(item, [I32, address, address], [address], type=t, options=options)
        return _made(item, [I32, address], [I32], type=t, options=options)

    return check


def _resource(scope: Scope, item: Canon) -> model.CanonBuiltin:
    t = resource_at(scope, item.type, item.offset)
    if item.name == "resource.drop":
        return _made(item, [I32], [], type=t)
    if t.id not in scope.local:
        raise ValidationError(f"type index {item.type} is not a local resource: `{item.name}` needs one", item.offset)
    assert t.id.rep is not None
    if item.name == "resource.new":
        return _made(item, [t.id.rep], [I32], type=t)
    return _made(item, [I32], [t.id.rep], type=t)


def _task_return(scope: Scope, item: Canon) -> model.CanonBuiltin:
    at = item.offset
    t = None if item.result is None else valtype(scope, item.result, at)
    options = _options(scope, item, ("memory",))
    params = [] if t is None else [("result", t)]
    if t is not None and t.has_borrow:
        raise ValidationError("function result cannot contain a `borrow` type", at)
    flat = flatten_functype(FuncType(params), "lower", 8 if options.memory64 else 4, False)
    if t is not None and (flat.spilled_params or _any_pointers([t])):
        _require_for(options, False, at)
    core_type = _core_types(flat)
    return _made(item, list(core_type.params), list(core_type.results), type=t, options=options)


def _context(scope: Scope, item: Canon) -> model.CanonBuiltin:
    at = item.offset
    t = item.core_val
    assert t is not None
    if t != I32 and not (t == I64 and scope.features.memory64):
        raise ValidationError(f"`{item.name}` only supports `i32` (`i64` with the feature `memory64`), not `{t}`", at)
    if item.slot >= 2:
        raise ValidationError(f"`{item.name}` immediate must be zero or one: {item.slot}", at)
    if scope.context_type not in (None, t):
        raise ValidationError("all `context.get` and `context.set` of a component must have the same type", at)
    scope.context_type = t
    one: list[core.ValType] = [t]
    params, results = ([], one) if item.name == "context.get" else (one, [])
    return _made(item, params, results, slot=item.slot, value_type=t)


def _wait(scope: Scope, item: Canon) -> model.CanonBuiltin:
    is64 = _memory64(scope, item.memory, item.offset)
    options = CanonOptions(memory=item.memory, memory64=is64)
    return _made(item, [I32, I64 if is64 else I32], [I32], options=options)


def _error_context(scope: Scope, item: Canon) -> model.CanonBuiltin:
    options = _options(scope, item, ("memory", "realloc"))
    _require(options, "memory", item.offset)
    address = I64 if options.memory64 else I32
    if item.name == "error-context.new":
        return _made(item, [address, address], [I32], options=options)
    _require(options, "realloc", item.offset)
    return _made(item, [I32, address], [], options=options)


def _start_type(scope: Scope, item: Canon) -> tuple[core.DefType, core.ValType]:
    """The type of a new thread's function, and of its one parameter."""
    found = scope.at(Sort.CORE_TYPE, item.type, item.offset)
    allowed = (I32, I64) if scope.features.memory64 else (I32,)
    if isinstance(found, core.DefType) and isinstance(found.composite, core.FuncType):
        func = found.composite
        if len(func.params) == 1 and not func.results and func.params[0] in allowed:
            return found, func.params[0]
    raise ValidationError(f"start function of `{item.name}` must have the type `(func (param i32))`", item.offset)


def _start_table(scope: Scope, item: Canon) -> core.ValType:
    """The type of indices into the table of a new thread's function."""
    table: core.TableType = scope.at(Sort.CORE_TABLE, item.table, item.offset)
    if not core.matches_ref(table.element, core.FUNCREF):
        raise ValidationError(f"table of `{item.name}` must have elements of type `funcref`", item.offset)
    if table.is64 and not scope.features.memory64:
        raise ValidationError(f"a 64-bit table for `{item.name}` needs the component feature `memory64`", item.offset)
    return I64 if table.is64 else I32


def _new_indirect(scope: Scope, item: Canon) -> model.CanonBuiltin:
    start, parameter = _start_type(scope, item)
    index = _start_table(scope, item)
    return _made(item, [index, parameter], [I32], start_type=start, table=item.table)


def _spawn_ref(scope: Scope, item: Canon) -> model.CanonBuiltin:
    start, parameter = _start_type(scope, item)
    return _made(item, [start.ref_null, parameter], [I32], start_type=start)


_BUILTINS: dict[str, _Builtin] = {
    "resource.new": _resource,
    "resource.drop": _resource,
    "resource.rep": _resource,
    "backpressure.inc": _plain([], []),
    "backpressure.dec": _plain([], []),
    "task.return": _task_return,
    "task.cancel": _plain([], []),
    "context.get": _context,
    "context.set": _context,
    "subtask.cancel": _cancel([I32], None),
    "subtask.drop": _plain([I32], []),
    "stream.new": _ended(StreamType, [], [I64]),
    "stream.read": _copy(StreamType, True),
    "stream.write": _copy(StreamType, False),
    "stream.cancel-read": _cancel([I32], StreamType),
    "stream.cancel-write": _cancel([I32], StreamType),
    "stream.drop-readable": _ended(StreamType, [I32], []),
    "stream.drop-writable": _ended(StreamType, [I32], []),
    "future.new": _ended(FutureType, [], [I64]),
    "future.read": _copy(FutureType, True),
    "future.write": _copy(FutureType, False),
    "future.cancel-read": _cancel([I32], FutureType),
    "future.cancel-write": _cancel([I32], FutureType),
    "future.drop-readable": _ended(FutureType, [I32], []),
    "future.drop-writable": _ended(FutureType, [I32], []),
    "error-context.new": _error_context,
    "error-context.debug-message": _error_context,
    "error-context.drop": _plain([I32], []),
    "waitable-set.new": _plain([], [I32]),
    "waitable-set.wait": _wait,
    "waitable-set.poll": _wait,
    "waitable-set.drop": _plain([I32], []),
    "waitable.join": _plain([I32, I32], []),
    "thread.index": _plain([], [I32]),
    "thread.new-indirect": _new_indirect,
    "thread.resume-later": _plain([I32], []),
    "thread.suspend": _plain([], [I32]),
    "thread.yield": _plain([], [I32]),
    "thread.suspend-then-resume": _plain([I32], [I32]),
    "thread.yield-then-resume": _plain([I32], [I32]),
    "thread.suspend-then-promote": _plain([I32], [I32]),
    "thread.yield-then-promote": _plain([I32], [I32]),
    "thread.spawn-ref": _spawn_ref,
    "thread.spawn-indirect": _new_indirect,
    "thread.available-parallelism": _plain([], [I32]),
}
