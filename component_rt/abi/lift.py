"""Emit code that lifts: from core values and linear memory to Python values (CanonicalABI.md, "Loading", "Flat Lifting").

Everything lifts to an *expression*. Scalars of a value in memory are read first, all with one `struct` call (`MemoryRun`); the
expression is built over the variables. What cannot be read up front (the payloads of a variant, big types) is a helper
function `f(mem, address)`. Flat values come from slots: core values in the store's buffer, or parameters of a helper.

Lifting runs no guest code, so the view of memory stays valid throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from component_rt import types as t
from component_rt.abi.flat import flatten
from component_rt.abi.layout import (
    MAX_BYTE_LENGTH,
    discriminant_size,
    field_offsets,
    flags_size,
    layout,
    payload_offset,
)
from component_rt.abi.unit import MemoryRun, Unit
from component_rt.values import class_of
from core_rt.errors import Trap, TrapCode

__all__ = ["ArgumentSlot", "Slot", "VariableSlot", "lift_flat", "lift_memory", "loader"]

_CODES = {
    "u8": "B",
    "s8": "b",
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "s32": "i",
    "u64": "Q",
    "s64": "q",
    "f32": "f",
    "f64": "d",
}
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}

# Where a core value of a kind stands in the store's buffer: typed view, index factor.
POINTERS = {
    "u32": ("u32", 4),
    "s32": ("i32", 4),
    "u64": ("u64", 2),
    "s64": ("i64", 2),
    "f32": ("f32", 4),
    "f64": ("f64", 2),
}
_CORE_KIND = {"i32": "u32", "i64": "u64", "f32": "f32", "f64": "f64"}
M32 = 0xFFFFFFFF


class Slot:
    """A flat core value that is read as a `kind`: u32, s32, u64, s64, f32 or f64."""

    __slots__ = ()

    def read(self, kind: str) -> str:
        """A name or expression for the value."""
        raise NotImplementedError


class ArgumentSlot(Slot):
    """Value `index` of the store's buffer."""

    __slots__ = ("index", "unit")

    def __init__(self, unit: Unit, index: int) -> None:
        self.unit = unit
        self.index = index

    def read(self, kind: str) -> str:
        pointer, factor = POINTERS[kind]
        name = self.unit.source.fresh("s")
        self.unit.source.line(f"{name} = {self.unit.bind(pointer)}[{factor * self.index}]")
        return name


class VariableSlot(Slot):
    """A variable that holds a core value of type `have`: an unsigned integer or a float."""

    __slots__ = ("have", "name")

    def __init__(self, name: str, have: str) -> None:
        self.name = name
        self.have = have

    def read(self, kind: str) -> str:
        name = self.name
        if _CORE_KIND[self.have] == kind:
            return name
        if kind in ("u32", "f32", "s32") and self.have == "i64":
            name = f"({name} & {M32})"
        match kind:
            case "s32":
                return f"(({name} ^ 0x80000000) - 0x80000000)"
            case "s64":
                return f"(({name} ^ 0x8000000000000000) - 0x8000000000000000)"
            case "f32" if self.have != "f32":
                return f"f32_of({name})"
            case "f64" if self.have != "f64":
                return f"f64_of({name})"
        return name


def _enum(unit: Unit, of: t.EnumType, value: str) -> str:
    members = unit.source.constant(_members(class_of(of)), "members")
    return f"({members}[{value}] if {value} < {len(of.labels)} else bad_discriminant())"


def _members(cls: type) -> tuple[object, ...]:
    found = cls.__dict__.get("__by_index__")
    if found is None:
        found = tuple(cls)  # type: ignore[arg-type]
        type.__setattr__(cls, "__by_index__", found)
    return found


class _FlagTable(dict[int, object]):
    """Flags members by bits: `cls(bits)` is slow. Bounded, since the guest chooses what gets into it."""

    __slots__ = ("_cls",)

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __missing__(self, bits: int) -> object:
        member = self._cls(bits)
        if len(self) < 1024:
            self[bits] = member
        return member


def _flags(unit: Unit, of: t.FlagsType, value: str) -> str:
    cls = class_of(of)
    table = cls.__dict__.get("__by_bits__")
    if table is None:
        table = _FlagTable(cls)
        type.__setattr__(cls, "__by_bits__", table)
    mask = (1 << len(of.labels)) - 1
    return f"{unit.source.constant(table, 'flags')}[{value} & {mask}]"


# ---------------------------------------------------------------------------------------------------- from memory


def lift_memory(unit: Unit, of: t.ValType, run: MemoryRun, offset: int, base: str) -> str:
    """An expression for the value at `base + offset`, over variables that `run` will have read and `mem`."""
    kind = of.kind
    if kind in _CODES:
        return run.leaf(offset, _CODES[kind])
    if not unit.is_inline(of) and kind not in _BY_ADDRESS:
        run.uses_base = True
        return f"{loader(unit, of)}(mem, {_plus(base, offset)})"
    return _MEMORY[kind](unit, of, run, offset, base)


def _plus(base: str, offset: int) -> str:
    return f"{base} + {offset}" if offset else base


def loader(unit: Unit, of: t.ValType) -> str:
    """A helper `load(mem, address)` for `of`."""

    def make(name: str) -> None:
        with unit.source.helper(f"def {name}(mem, q):"):
            run = MemoryRun(unit)
            if of.kind in _CODES:
                expression = run.leaf(0, _CODES[of.kind])
            else:
                expression = _MEMORY[of.kind](unit, of, run, 0, "q")
            run.emit_load("mem", "q")
            unit.source.line(f"return {expression}")

    return unit.memoised("load", of, make)


def _pair(unit: Unit, run: MemoryRun, offset: int) -> tuple[str, str]:
    code = _UNSIGNED[unit.pointer]
    return run.leaf(offset, code), run.leaf(offset + unit.pointer, code)


def _m_string(unit: Unit, of: t.ValType, run: MemoryRun, offset: int, base: str) -> str:
    address, units = _pair(unit, run, offset)
    return f"{unit.load_string()}(mem, {address}, {units})"


def _m_list(unit: Unit, of: t.ListType, run: MemoryRun, offset: int, base: str) -> str:
    if of.length is None:
        address, count = _pair(unit, run, offset)
        return f"{list_loader(unit, of)}(mem, {address}, {count})"
    run.uses_base = True
    return f"{list_loader(unit, of)}(mem, {_plus(base, offset)}, {of.length})"


def _m_map(unit: Unit, of: t.MapType, run: MemoryRun, offset: int, base: str) -> str:
    return f"{unit.bind('make_map')}({_m_list(unit, map_list(of), run, offset, base)})"


def map_list(of: t.MapType) -> t.ListType:
    """The list of pairs that a map is in memory."""
    return t.ListType(t.TupleType((of.k, of.v)))


def _fields(unit: Unit, types: Sequence[t.ValType], run: MemoryRun, offset: int, base: str) -> list[str]:
    starts = field_offsets(types, unit.pointer)
    return [lift_memory(unit, of, run, offset + start, base) for of, start in zip(types, starts)]


def _m_record(unit: Unit, of: t.RecordType, run: MemoryRun, offset: int, base: str) -> str:
    parts = _fields(unit, [f.t for f in of.fields], run, offset, base)
    return f"{unit.source.constant(class_of(of), 'Record')}({', '.join(parts)})"


def _m_tuple(unit: Unit, of: t.TupleType, run: MemoryRun, offset: int, base: str) -> str:
    return f"({', '.join(_fields(unit, of.ts, run, offset, base))},)"


def _m_flags(unit: Unit, of: t.FlagsType, run: MemoryRun, offset: int, base: str) -> str:
    return _flags(unit, of, run.leaf(offset, _UNSIGNED[flags_size(len(of.labels))]))


def _m_enum(unit: Unit, of: t.EnumType, run: MemoryRun, offset: int, base: str) -> str:
    return _enum(unit, of, run.leaf(offset, _UNSIGNED[discriminant_size(len(of.labels))]))


def _some(of: t.OptionType, payload: str) -> str:
    return f"Some({payload})" if of.t.kind == "option" else payload


def _m_option(unit: Unit, of: t.OptionType, run: MemoryRun, offset: int, base: str) -> str:
    disc = run.leaf(offset, "B")
    payload = lift_memory(unit, of.t, run, offset + payload_offset(of, unit.pointer), base)
    return f"(None if not {disc} else {_some(of, payload)} if {disc} == 1 else bad_discriminant())"


def _m_result(unit: Unit, of: t.ResultType, run: MemoryRun, offset: int, base: str) -> str:
    disc = run.leaf(offset, "B")
    at = _plus(base, offset + payload_offset(of, unit.pointer))
    parts = []
    for payload in (of.ok, of.error):
        if payload is None:
            parts.append("None")
        else:
            run.uses_base = True
            parts.append(f"{loader(unit, payload)}(mem, {at})")
    return f"(Ok({parts[0]}) if not {disc} else Err({parts[1]}) if {disc} == 1 else bad_discriminant())"


def _m_variant(unit: Unit, of: t.VariantType, run: MemoryRun, offset: int, base: str) -> str:
    disc = run.leaf(offset, _UNSIGNED[discriminant_size(len(of.cases))])
    run.uses_base = True
    table = unit.memoised("cases", of, lambda name: _memory_cases(unit, of, name))
    at = _plus(base, offset + payload_offset(of, unit.pointer))
    return f"({table}[{disc}](mem, {at}) if {disc} < {len(of.cases)} else bad_discriminant())"


def _constant_case(unit: Unit, case: type) -> str:
    single = case()
    return unit.source.constant(lambda *_: single, "empty")


def _memory_cases(unit: Unit, of: t.VariantType, name: str) -> None:
    parts = []
    for declared, case in zip(of.cases, class_of(of).__cases__):
        if declared.t is None:
            parts.append(_constant_case(unit, case))
        else:
            cls = unit.source.constant(case, "Case")
            parts.append(f"lambda mem, q: {cls}({loader(unit, declared.t)}(mem, q))")
    unit.source.helpers.append(f"    {name} = ({', '.join(parts)},)")


def _m_handle(unit: Unit, of: t.OwnType | t.BorrowType, run: MemoryRun, offset: int, base: str) -> str:
    return f"{unit.resource(f'lift_{of.kind}', of)}({run.leaf(offset, 'I')}, {unit.bind_scope()})"


def _m_async(unit: Unit, of: t.ValType, run: MemoryRun, offset: int, base: str) -> str:
    return f"{unit.asynchronous('lift_async', of)}({run.leaf(offset, 'I')})"


_MEMORY: dict[str, Callable[..., str]] = {
    "bool": lambda unit, of, run, offset, base: f"({run.leaf(offset, 'B')} != 0)",
    "char": lambda unit, of, run, offset, base: f"char({run.leaf(offset, 'I')})",
    "string": _m_string,
    "list": _m_list,
    "map": _m_map,
    "record": _m_record,
    "tuple": _m_tuple,
    "flags": _m_flags,
    "enum": _m_enum,
    "option": _m_option,
    "result": _m_result,
    "variant": _m_variant,
    "own": _m_handle,
    "borrow": _m_handle,
    **dict.fromkeys(["stream", "future", "error-context"], _m_async),
}
_BY_ADDRESS = {"list", "map", "variant", "result", "enum", "flags", "own", "borrow", "stream", "future"}
"""Types whose inline code is small however big they are: their insides are helpers anyway."""


# ---------------------------------------------------------------------------------------------------- lists


def list_loader(unit: Unit, of: t.ListType) -> str:
    """A helper `load(mem, address, count)` for the elements of a list; checks address and length."""
    return unit.memoised("list", of, lambda name: _list_loader(unit, of, name))


def bad_list(mem: object, address: int, size: int, out_of_bounds: str) -> None:
    """Trap for a list that is too long or not in memory."""
    if address + size > len(mem):  # type: ignore[arg-type]
        raise Trap(TrapCode.CANONICAL_ABI, out_of_bounds)
    raise Trap(TrapCode.CANONICAL_ABI, f"list of {size} bytes is too long")


def _list_loader(unit: Unit, of: t.ListType, name: str) -> None:
    source = unit.source
    size, align = layout(of.t, unit.pointer)
    with source.helper(f"def {name}(mem, p, n):"):
        if of.length is None:
            if align > 1:
                with source.block(f"if p & {align - 1}:"):
                    source.line(
                        f"raise Trap({int(TrapCode.CANONICAL_ABI)}, {unit.bind('unaligned', 'cx.words.unaligned')})"
                    )
            source.line(f"size = n * {size}" if size > 1 else "size = n")
            source.line("e = p + size")
            with source.block(f"if e > len(mem) or size > {MAX_BYTE_LENGTH}:"):
                oob = unit.bind("list_oob", "cx.words.list_out_of_bounds")
                source.line(f"{source.constant(bad_list, 'bad_list')}(mem, p, size, {oob})")
            if unit.counting:
                source.line(f"{unit.bind('budget')}[0] -= size")
                with source.block("if budget[0] < 0:"):
                    source.line("over_budget()")
        else:
            source.line(f"e = p + {size * of.length}")
        _list_body(unit, of, size)


def _list_body(unit: Unit, of: t.ListType, size: int) -> None:
    source, kind = unit.source, of.t.kind
    if kind == "u8":
        source.line("return bytes(mem[p:e])")
    elif kind in _CODES:
        source.line(f"return mem[p:e].cast('{_CODES[kind]}').tolist() if n else []")
    elif kind == "bool":
        source.line("return [b != 0 for b in mem[p:e]]")
    elif kind == "char":
        source.line("return chars(mem[p:e])")
    else:
        run = MemoryRun(unit)
        inline = unit.is_inline(of.t)
        expression = lift_memory(unit, of.t, run, 0, "q") if inline else ""
        if inline and not run.uses_base:
            source.line(f"return [{expression} {run.iterator(size, 'mem[p:e]')}]")
        else:
            source.line(f"return [{loader(unit, of.t)}(mem, q) for q in range(p, e, {size})]")


# ---------------------------------------------------------------------------------------------------- flat


def lift_flat(unit: Unit, of: t.ValType, slots: Iterator[Slot]) -> str:
    """An expression for a value that arrives in the next of `slots`."""
    return _FLAT[of.kind](unit, of, slots)


_NARROW = {
    "u8": "({} & 255)",
    "s8": "((({} & 255) ^ 128) - 128)",
    "u16": "({} & 65535)",
    "s16": "((({} & 65535) ^ 32768) - 32768)",
}


def _f_narrow(unit: Unit, of: t.ValType, slots: Iterator[Slot]) -> str:
    return _NARROW[of.kind].format(next(slots).read("u32"))


def _f_scalar(unit: Unit, of: t.ValType, slots: Iterator[Slot]) -> str:
    return next(slots).read(of.kind)


def _f_pair(unit: Unit, slots: Iterator[Slot]) -> tuple[str, str]:
    kind = f"u{8 * unit.pointer}"
    return next(slots).read(kind), next(slots).read(kind)


def _f_string(unit: Unit, of: t.ValType, slots: Iterator[Slot]) -> str:
    address, units = _f_pair(unit, slots)
    return f"{unit.load_string()}(mem, {address}, {units})"


def _f_list(unit: Unit, of: t.ListType, slots: Iterator[Slot]) -> str:
    if of.length is None:
        address, count = _f_pair(unit, slots)
        return f"{list_loader(unit, of)}(mem, {address}, {count})"
    items = ", ".join([lift_flat(unit, of.t, slots) for _ in range(of.length)])
    return f"bytes(({items},))" if of.t.kind == "u8" else f"[{items}]"


def _f_record(unit: Unit, of: t.RecordType, slots: Iterator[Slot]) -> str:
    parts = [lift_flat(unit, f.t, slots) for f in of.fields]
    return f"{unit.source.constant(class_of(of), 'Record')}({', '.join(parts)})"


def _f_option(unit: Unit, of: t.OptionType, slots: Iterator[Slot]) -> str:
    disc = next(slots).read("u32")
    payload = lift_flat(unit, of.t, slots)
    return f"(None if not {disc} else {_some(of, payload)} if {disc} == 1 else bad_discriminant())"


def _read_joined(unit: Unit, of: t.ValType, slots: Iterator[Slot]) -> tuple[str, tuple[str, ...], list[str]]:
    disc = next(slots).read("u32")
    joined = (flatten(of, unit.pointer) or ())[1:]
    return disc, joined, [next(slots).read(_CORE_KIND[have]) for have in joined]


def flat_case(unit: Unit, payload: t.ValType, joined: tuple[str, ...]) -> str:
    """A helper that lifts `payload` from parameters of the joined core types."""

    def make(name: str) -> None:
        names = [unit.source.fresh("s") for _ in joined]
        with unit.source.helper(f"def {name}({', '.join(['mem', *names])}):"):
            slots: Iterator[Slot] = iter([VariableSlot(n, have) for n, have in zip(names, joined)])
            unit.source.line(f"return {lift_flat(unit, payload, slots)}")

    return unit.memoised("flat", payload, make, joined)


def _f_result(unit: Unit, of: t.ResultType, slots: Iterator[Slot]) -> str:
    disc, joined, names = _read_joined(unit, of, slots)
    args = ", ".join(["mem", *names])
    parts = ["None" if p is None else f"{flat_case(unit, p, joined)}({args})" for p in (of.ok, of.error)]
    return f"(Ok({parts[0]}) if not {disc} else Err({parts[1]}) if {disc} == 1 else bad_discriminant())"


def _f_variant(unit: Unit, of: t.VariantType, slots: Iterator[Slot]) -> str:
    disc, joined, names = _read_joined(unit, of, slots)

    def make(name: str) -> None:
        parts = []
        for declared, case in zip(of.cases, class_of(of).__cases__):
            if declared.t is None:
                parts.append(_constant_case(unit, case))
            else:
                cls = unit.source.constant(case, "Case")
                parts.append(f"lambda *s: {cls}({flat_case(unit, declared.t, joined)}(*s))")
        unit.source.helpers.append(f"    {name} = ({', '.join(parts)},)")

    table = unit.memoised("flatcases", of, make, joined)
    call = f"{table}[{disc}]({', '.join(['mem', *names])})"
    return f"({call} if {disc} < {len(of.cases)} else bad_discriminant())"


def _f_handle(unit: Unit, of: t.OwnType | t.BorrowType, slots: Iterator[Slot]) -> str:
    return f"{unit.resource(f'lift_{of.kind}', of)}({next(slots).read('u32')}, {unit.bind_scope()})"


_FLAT: dict[str, Callable[..., str]] = {
    "bool": lambda unit, of, slots: f"({next(slots).read('u32')} != 0)",
    **dict.fromkeys(["u8", "s8", "u16", "s16"], _f_narrow),
    **dict.fromkeys(["u32", "s32", "u64", "s64", "f32", "f64"], _f_scalar),
    "char": lambda unit, of, slots: f"char({next(slots).read('u32')})",
    "string": _f_string,
    "list": _f_list,
    "map": lambda unit, of, slots: f"{unit.bind('make_map')}({_f_list(unit, map_list(of), slots)})",
    "record": _f_record,
    "tuple": lambda unit, of, slots: f"({', '.join([lift_flat(unit, u, slots) for u in of.ts])},)",
    "flags": lambda unit, of, slots: _flags(unit, of, next(slots).read("u32")),
    "enum": lambda unit, of, slots: _enum(unit, of, next(slots).read("u32")),
    "option": _f_option,
    "result": _f_result,
    "variant": _f_variant,
    "own": _f_handle,
    "borrow": _f_handle,
    **dict.fromkeys(
        ["stream", "future", "error-context"],
        lambda unit, of, slots: f"{unit.asynchronous('lift_async', of)}({next(slots).read('u32')})",
    ),
}
