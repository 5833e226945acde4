"""Functions: of guests, called from Python; of Python, called from guests.

For each signature Python source is generated once: a subclass of `Func` whose `__call__` packs the arguments with one `struct`
call and makes one C call, which answers the result (`native/calls.c`: nothing passes through memory that another thread could
write to); and for host functions a wrapper that does the reverse through typed views. `struct` and the views check type and
range in C; what they refuse (unsigned values, wrong types) goes to `core_rt.values`, which converts or says what is wrong.

To compile that source takes as long as some hundred calls without it, so it is made for what is called more often than
`PLAIN_CALLS` times (a host function: at all); until then a function is a plain `Func`, which converts value by value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from core_rt import native
from core_rt.kinds import kind_of
from core_rt.native import ffi
from core_rt.types import DefType, FuncType
from core_rt.values import (
    bits_to_raw,
    from_raw,
    integer,
    number,
    raw_to_bits,
    reference_from_raw,
    reference_to_raw,
    to_raw,
    vector,
)
from core_rt.vm import structs

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Func", "func_at", "host_func", "python_func"]

PLAIN_CALLS = 8
"""So many calls of a function are done without code of their own for its signature."""


class Func:
    """A function of a store. Call it: integers go in signed or unsigned and come out signed.

    No result gives None, several a tuple. Raises `TypeError` or `OverflowError` for wrong arguments, `Trap` when the
    guest traps, and whatever a host function raises.
    """

    __slots__ = ("_calls", "_head", "_site", "address", "deftype", "keep", "name", "store", "type")

    store: Store
    type: FuncType
    deftype: DefType
    address: int
    """Of the `VMFuncRef`."""
    _calls: int
    """As long as this is a plain `Func`."""
    _site: Any
    _head: Any
    """What packed arguments begin with; None before the first call, which `struct` refuses to pack."""
    keep: object
    """What must live as long as the function can be called."""
    name: str | None

    def __init__(self) -> None:
        raise TypeError("functions come from instances, or from Func.from_python")

    @property
    def site(self) -> Any:
        """The `VMCallSite *`, made when the host first calls: most functions are only handed to guests."""
        site = self._site
        if site is None:
            store, type_ = self.store, self.type
            store.check()  # the funcref is gone when the store is
            ref = ffi.cast("VMFuncRef *", self.address)
            if not ref.array_call:
                ref.array_call = store.engine.trampoline("array", self.deftype)
                ref.signature = store.engine.signature(self.deftype)
            site = ffi.new("VMCallSite *")
            site.store = store.context
            site.array_call = ref.array_call
            site.funcref = ref
            site.params = len(type_.params)
            site.result = _RESULTS[kind_of(type_.results[0])][1] if len(type_.results) == 1 else structs.RESULT_NONE
            self._site, self._head = site, native.address(site).to_bytes(16, "little")
        return site

    @property
    def head(self) -> bytes:
        """What packed arguments for `native.call_int` begin with, in callers that do not go through `__call__`."""
        self.site  # noqa: B018 - makes it
        return self._head  # type: ignore[no-any-return]

    def __call__(self, *args: Any, **named: Any) -> Any:
        store, type_ = self.store, self.type
        self._calls += 1
        # The wrong number of arguments is a matter for a function that has the right one.
        if self._calls > PLAIN_CALLS or named or len(args) != len(type_.params):
            self.__class__ = _class_of(type_)
            return self(*args, **named)
        store.check()
        if store.has_refs:
            store.refs.safepoint()
        values = self._call_into(self._raws(args))
        results = [from_raw(store, t, raw) for t, raw in zip(type_.results, values)]
        return tuple(results) if len(results) > 1 else results[0] if results else None

    def run(self) -> None:
        """Call a function of type `[] -> []`, as start functions are, once and for all: without code made for its type."""
        store = self.store
        store.check()
        if store.has_refs:
            store.refs.safepoint()
        try:
            left = native.call_int(self.head)
            if left <= structs.CALL_LEFT_MOST:
                self.go_on(self.head, left)
        except BaseException as error:
            store.unwind(error)
            raise

    @staticmethod
    def from_python(store: Store, type_: FuncType, function: Callable[..., Any], name: str | None = None) -> Func:
        """A Python function as a guest sees it; arguments and results are converted.

        What it raises passes through the guest to whoever called the guest, unchanged.
        """
        return host_func(store, DefType.of(type_), _host_wrapper(store, type_, function), name)

    @staticmethod
    def from_raw(store: Store, type_: FuncType, handler: Callable[[Any], object], name: str | None = None) -> Func:
        """As `from_python`, but `handler(values)` reads arguments from and writes results to the `uint64_t *` itself.

        Value i stands at `values[2 * i]`. May return `core_rt.PARK`.
        """
        values = store.u64
        return host_func(store, DefType.of(type_), lambda: handler(values), name)

    def call_raw(self, args: Sequence[Any]) -> list[Any]:
        """Call with bit patterns: numbers and v128 as unsigned ints (exact NaNs), references as objects."""
        store = self.store
        params = self.type.params
        if len(args) != len(params):
            raise TypeError(f"{self._label()} takes {len(params)} arguments, got {len(args)}")
        store.check()
        store.refs.safepoint()
        raws = [bits_to_raw(store, t, a) for t, a in zip(params, args)]
        results = self.type.results
        return [raw_to_bits(store, t, raw) for t, raw in zip(results, self._call_into(raws))]

    def _call_into(self, raws: Sequence[int]) -> list[int]:
        """The call, through a buffer of its own: arguments and results as bit patterns."""
        values = ffi.new("uint64_t[]", 2 * max(len(raws), len(self.type.results), 1))
        store, packed = self.store, _pack_raw(raws)
        try:
            status = native.call_into(self.site, packed, values)
            if status == structs.STATUS_NO_FIBER:
                store.add_fiber()
                status = native.call_into(self.site, packed, values)
            if status:
                store.finish(None, status)
        except BaseException as error:
            store.unwind(error)
            raise
        return [values[2 * i] | values[2 * i + 1] << 64 for i in range(len(self.type.results))]

    def go_on(self, packed: bytes, left: float) -> Any:
        """The C call answered `left`, `CALL_LEFT` and a status or NaN: go on with the call, if it is not over; the result."""
        store, kind = self.store, self._site.result
        floats = kind >= structs.RESULT_F32
        status = native.left() if floats else int(left) - structs.CALL_LEFT
        if status == structs.STATUS_TRAP:
            raise store.trapped()
        try:
            if status == structs.STATUS_NO_FIBER:
                store.add_fiber()
                left = native.call_float(packed) if floats else native.call_int(packed)
                over = left == left if floats else left > structs.CALL_LEFT_MOST
                return left if over else self.go_on(packed, left)
            if status:
                store.finish(None, status)
        except BaseException as error:
            store.unwind(error)
            raise
        return native.result_float(kind) if floats else native.result_int(kind)

    def _interrupted(self, error: BaseException) -> None:
        """An exception came when the C call was over."""
        self.store.unwind(error)
        raise error

    def _label(self) -> str:
        return f"function {self.name!r}" if self.name else "function"

    def _convert(self, args: tuple[Any, ...]) -> bytes:
        """The fast path refused an argument: pack them all the slow way, or say which is wrong. Or there was no site yet."""
        raws = self._raws(args)
        self.site  # noqa: B018 - makes it
        return self._head + _pack_raw(raws)  # type: ignore[no-any-return]

    def _raws(self, args: tuple[Any, ...]) -> list[int]:
        """Bit patterns of the arguments. Raises for the first that does not fit."""
        store = self.store
        raws = []
        for position, (type_, value) in enumerate(zip(self.type.params, args)):
            try:
                raws.append(to_raw(store, type_, value))
            except (TypeError, ValueError, OverflowError) as error:
                raise type(error)(f"{self._label()}, argument {position + 1} ({type_}): {error}") from None
        return raws

    def __repr__(self) -> str:
        return f"<Func {self.name or ''} {self.type}>"


# ---------------------------------------------------------------------------------------------------- making functions


def func_at(store: Store, address: int, deftype: DefType, name: str | None, keep: object) -> Func:
    """The one `Func` for a `VMFuncRef` (an address); `keep` is what must live as long."""
    ref = ffi.cast("VMFuncRef *", address)
    handle = ref.handle
    if handle:
        return store.funcs[int(handle) - 1]
    ref.handle = len(store.funcs) + 1
    return _new(store, address, deftype, name, keep)


def _new(store: Store, address: int, deftype: DefType, name: str | None, keep: object) -> Func:
    type_ = deftype.func
    self: Func = object.__new__(_classes.get(type_, Func))
    self.store = store
    self.deftype = deftype
    self.type = type_
    self.address = address
    self.name = name
    self.keep = keep
    self._site = self._head = None
    self._calls = 0
    store.funcs.append(self)
    return self


def host_func(store: Store, deftype: DefType, wrapper: Callable[[], object], name: str | None) -> Func:
    """A function of the host; `wrapper` finds its arguments in the values buffer and leaves its results there."""
    store.check()
    engine = store.engine
    native_call, signature, index = engine.trampoline("host", deftype), engine.signature(deftype), store.host(wrapper)
    place = native.host_func(store.context, index, native_call, signature, deftype.id, len(store.funcs) + 1)
    return _new(store, place, deftype, name, signature)


def python_func(store: Store, deftype: DefType, function: Callable[..., Any], name: str | None) -> Func:
    """As `Func.from_python`, for a type that is known in its canonical form."""
    return host_func(store, deftype, _host_wrapper(store, deftype.func, function), name)


# ---------------------------------------------------------------------------------------------------- generated code

# Where host functions read and write a value of a kind: view of the values buffer, index factor.
_VIEWS = {"i32": ("i", 4), "i64": ("q", 2), "f32": ("f", 4), "f64": ("d", 2), "func": ("Q", 2), "ref": ("I", 4)}
_BITS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}

# How an argument of a kind is packed; which C call has a result of a kind, and what that is to the C side.
_PACKED = {"i32": "i12x", "i64": "q8x", "f32": "f12x", "f64": "d8x", "v128": "16s", "func": "Q8x", "ref": "I12x"}
_RESULTS = {
    "i32": ("call_int", structs.RESULT_I32),
    "i64": ("call_int", structs.RESULT_I64),
    "f32": ("call_float", structs.RESULT_F32),
    "f64": ("call_float", structs.RESULT_F64),
    "func": ("call_int", structs.RESULT_I64),
    "ref": ("call_int", structs.RESULT_U32),
    "v128": ("", structs.RESULT_NONE),
}

_GLOBALS: dict[str, Any] = {
    "BAD": (TypeError, ValueError, OverflowError, struct.error),
    "LEFT": structs.CALL_LEFT_MOST,
    "call_int": native.call_int,
    "call_float": native.call_float,
    "from_raw": from_raw,
    "ffi": ffi,
    "integer": integer,
    "number": number,
    "vector": vector,
    "to_ref": reference_to_raw,
    "from_ref": reference_from_raw,
}


def _load(kind: str, index: int, type_name: str) -> str:
    """Source of an expression for the argument in slot `index`."""
    if kind == "v128":
        return f"ffi.buffer(store.u64 + {2 * index}, 16)[:]"
    view, factor = _VIEWS[kind]
    text = f"view_{view}[{factor * index}]"
    return f"from_ref(store, {type_name}, {text})" if kind in ("func", "ref") else text


def _store_checked(kind: str, index: int, value: str, type_name: str) -> str:
    """Source of a statement that stores any acceptable result, slowly if need be."""
    if kind == "v128":
        return f"ffi.buffer(store.u64 + {2 * index}, 16)[:] = vector({value}).to_bytes(16, 'little')"
    view, factor = _VIEWS[kind]
    place = f"view_{view}[{factor * index}]"
    if kind in ("func", "ref"):
        return f"{place} = to_ref(store, {type_name}, {value})"
    convert = "integer" if kind[0] == "i" else "number"
    return f"{place} = {convert}({value}, {_BITS[kind]})"


def _compile(source: str, names: dict[str, Any], what: str) -> Any:
    scope = {**_GLOBALS, **names}
    exec(compile(source, f"<{what}>", "exec"), scope)
    return scope["generated"]


_classes: dict[FuncType, type[Func]] = {}


def _class_of(type_: FuncType) -> type[Func]:
    """The subclass of `Func` for a signature."""
    cls = _classes.get(type_)
    if cls is None:
        call = _compile(*_call_source(type_), f"call {type_}")
        call.__qualname__ = f"function {type_}"  # what Python calls it when there are too few or too many arguments
        cls = type(
            "Func", (Func,), {"__slots__": (), "__call__": call, "__module__": __name__, "__doc__": Func.__doc__}
        )
        _classes[type_] = cls
    return cls


def _pack_raw(raws: Sequence[int]) -> bytes:
    return b"".join([raw.to_bytes(structs.VALRAW_SIZE, "little") for raw in raws])


def _call_source(type_: FuncType) -> tuple[str, dict[str, Any]]:
    kinds = [kind_of(t) for t in type_.params]
    results = [kind_of(t) for t in type_.results]
    args = [f"a{i}" for i in range(len(kinds))]
    whole = f"({''.join(a + ', ' for a in args)})"
    names: dict[str, Any] = {f"T{i}": t for i, t in enumerate(type_.params)}
    names |= {f"R{i}": t for i, t in enumerate(type_.results)}
    lines = [f"def generated({', '.join(['self', *args, '/'])}):"]
    if any(kind in ("func", "ref") for kind in (*kinds, *results)):
        lines.append(" store = self.store")
    if any(kind in ("func", "ref", "v128") for kind in kinds):
        # No collection between making references and the call.
        lines.append(" self.store.check(); self.store.refs.safepoint()")
    if len(results) > 1 or "v128" in results:
        loads = [f"from_raw(self.store, R{i}, values[{i}])" for i in range(len(results))]
        lines.append(f" values = self._call_into(self._raws({whole}))")
        lines.append(f" return {loads[0] if len(loads) == 1 else '(' + ', '.join(loads) + ')'}")
        return "\n".join(lines), names
    names["pack"] = struct.Struct("16s" + "".join([_PACKED[k] for k in kinds])).pack
    values = ", ".join(["self._head", *[_packable(kind, i) for i, kind in enumerate(kinds)]])
    call = _RESULTS[results[0]][0] if results else "call_int"
    lines += [
        f" try: packed = pack({values})",
        f" except BAD: packed = self._convert({whole})",
        f" try: result = {call}(packed)",
        " except BaseException as error: self._interrupted(error)",
        " if result <= LEFT: result = self.go_on(packed, result)"
        if call == "call_int"
        else " if result != result: result = self.go_on(packed, result)",
    ]
    if results:
        value = "result & 0xffffffffffffffff" if results[0] == "func" else "result"
        lines.append(f" return from_ref(store, R0, {value})" if results[0] in ("func", "ref") else " return result")
    return "\n".join(lines), names


def _packable(kind: str, index: int) -> str:
    """Source of what `struct` packs for argument `index`."""
    if kind == "v128":
        return f"vector(a{index}).to_bytes(16, 'little')"
    return f"to_ref(store, T{index}, a{index})" if kind in ("func", "ref") else f"a{index}"


_wrappers: dict[FuncType, Callable[..., Callable[[], object]]] = {}


def _host_wrapper(store: Store, type_: FuncType, function: Callable[..., Any]) -> Callable[[], object]:
    if not callable(function):
        raise TypeError(f"a host function must be callable, not {type(function).__name__}")

    def bind() -> Callable[[], object]:
        make = _wrappers.get(type_)
        if make is None:
            make = _wrappers[type_] = _compile(*_wrapper_source(type_), f"host {type_}")
        return make(store, function)

    return store.late_host(bind)


def _wrapper_source(type_: FuncType) -> tuple[str, dict[str, Any]]:
    names: dict[str, Any] = {"several": _several}
    params = [kind_of(t) for t in type_.params]
    results = [kind_of(t) for t in type_.results]
    args = []
    for i, t in enumerate(type_.params):
        names[f"T{i}"] = t
        args.append(_load(params[i], i, f"T{i}"))
    used = sorted({_VIEWS[k][0] for k in (*params, *results) if k in _VIEWS})
    lines = ["def generated(store, function):"]
    lines += [f" view_{code} = store.view({code!r})" for code in used]
    lines.append(" def host():")
    has_refs = "func" in params or "ref" in params or "func" in results or "ref" in results
    if has_refs:  # the arguments are held by Python then, and what the function returns is not made yet
        lines.append(f"  arguments = ({''.join(f'{a}, ' for a in args)})")
        lines.append("  store.refs.safepoint()")
    call = "function(*arguments)" if has_refs else f"function({', '.join(args)})"
    for i, t in enumerate(type_.results):
        names[f"R{i}"] = t
    if not results:
        lines.append(f"  {call}")
    elif len(results) == 1:
        lines.append(f"  r0 = {call}")
        lines += _store_result(results[0], 0)
    else:
        lines.append(f"  results = {call}")
        lines.append(
            f"  {', '.join(f'r{i}' for i in range(len(results)))} = several(function, results, {len(results)})"
        )
        # References first: making one may collect garbage.
        lines += [f"  r{i} = to_ref(store, R{i}, r{i})" for i, kind in enumerate(results) if kind in ("ref", "func")]
        for i, kind in enumerate(results):
            if kind in ("ref", "func"):
                view, factor = _VIEWS[kind]
                lines.append(f"  view_{view}[{factor * i}] = r{i}")
            else:
                lines += _store_result(kind, i)
    lines.append(" return host")
    return "\n".join(lines), names


def _store_result(kind: str, i: int) -> list[str]:
    if kind in ("v128", "func", "ref"):
        return [f"  {_store_checked(kind, i, f'r{i}', f'R{i}')}"]
    view, factor = _VIEWS[kind]
    return [
        f"  try: view_{view}[{factor * i}] = r{i}",
        f"  except (TypeError, ValueError, OverflowError): {_store_checked(kind, i, f'r{i}', '')}",
    ]


def _several(function: object, results: Any, wanted: int) -> Sequence[Any]:
    """The results of a host function that must return several."""
    if not isinstance(results, Sequence) or isinstance(results, str | bytes) or len(results) != wanted:
        raise TypeError(f"host function {function!r} must return {wanted} values, not {results!r}")
    return results
