"""Emit code that lowers: from Python values to core values and linear memory (CanonicalABI.md, "Storing", "Flat Lowering").

Lowering is *statements*: each value is checked where it is taken apart (`Mismatch` if it does not fit), strings and lists are
stored as they come by (`realloc` runs guest code and may move the end of memory, so the view is fetched again for each
write), and the scalars of a fixed-size value are written last, with one `struct` call (`MemoryRun`).

Flat values come out as a list of `(expression, kind)`, kind being u32, s32, u64, s64, f32 or f64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from component_rt import types as t
from component_rt.abi import convert
from component_rt.abi.blocks import LONG_TEXT, Block
from component_rt.abi.flat import flatten
from component_rt.abi.layout import discriminant_size, field_offsets, flags_size, layout, payload_offset
from component_rt.abi.lift import map_list
from component_rt.abi.unit import MemoryRun, Unit
from component_rt.values import class_of, field_names

__all__ = ["NUMBERS", "FlatValue", "lower_flat", "lower_memory", "storer"]

FlatValue = tuple[str, str]
"""Expression and kind of a core value."""

_CODES = {
    "u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q", "s64": "q", "f32": "f", "f64": "d",
}  # fmt: skip
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_F32_MAX = 3.4028234663852886e38
_CORE_KIND = {"i32": "u32", "i64": "u64", "f32": "f32", "f64": "f64"}


# ---------------------------------------------------------------------------------------------------- checks


def _simple(unit: Unit, value: str) -> str:
    """`value` in a variable that may be assigned to."""
    if value.isidentifier():
        return value
    name = unit.source.fresh("x")
    unit.source.line(f"{name} = {value}")
    return name


def _integer(unit: Unit, of: t.ValType, value: str) -> str:
    low, high = convert.RANGES[of.kind]
    value = _simple(unit, value)
    with unit.source.block(f"if type({value}) is not int or not {low} <= {value} <= {high}:"):
        unit.source.line(f"{value} = as_int({value}, {low}, {high})")
    return value


def _float(unit: Unit, of: t.ValType, value: str) -> str:
    value = _simple(unit, value)
    if of.kind == "f64":
        with unit.source.block(f"if type({value}) is not float:"):
            unit.source.line(f"{value} = as_float({value})")
    else:
        with unit.source.block(f"if type({value}) is not float or not -{_F32_MAX!r} <= {value} <= {_F32_MAX!r}:"):
            unit.source.line(f"{value} = as_f32({value})")
    return value


def _bool(unit: Unit, of: t.ValType, value: str) -> str:
    value = _simple(unit, value)
    with unit.source.block(f"if {value} is not True and {value} is not False:"):
        unit.source.line("raise Mismatch")
    return value


def _char(unit: Unit, of: t.ValType, value: str) -> str:
    name = unit.source.fresh("c")
    unit.source.line(f"{name} = char_code({value})")
    return name


def _enum(unit: Unit, of: t.EnumType, value: str) -> str:
    return _member(unit, of, value, convert.enum_index)


def _flags(unit: Unit, of: t.FlagsType, value: str) -> str:
    return _member(unit, of, value, convert.flag_bits)


def _member(unit: Unit, of: t.ValType, value: str, slow: Callable[..., int]) -> str:
    source = unit.source
    name = source.fresh("m")
    cls = source.constant(class_of(of), "Class")
    value = _simple(unit, value)
    # `_value_` is a plain attribute, `value` a descriptor.
    convert_ = f"{source.constant(slow, slow.__name__)}({source.constant(of, 'type')}, {value})"
    source.line(f"{name} = {value}._value_ if type({value}) is {cls} else {convert_}")
    return name


def _handle(unit: Unit, of: t.OwnType | t.BorrowType, value: str) -> str:
    name = unit.source.fresh("h")
    unit.source.line(f"{name} = {unit.resource(f'lower_{of.kind}', of)}({value}, {unit.bind_scope()})")
    return name


def _async(unit: Unit, of: t.ValType, value: str) -> str:
    name = unit.source.fresh("h")
    unit.source.line(f"{name} = {unit.asynchronous('lower_async', of)}({value})")
    return name


# One core value, one field: check, memory code, flat kind.
_SCALARS: dict[str, tuple[Callable[..., str], str, str]] = {
    **{kind: (_integer, _CODES[kind], kind) for kind in ("u32", "s32", "u64", "s64")},
    **{kind: (_integer, _CODES[kind], "u32" if kind[0] == "u" else "s32") for kind in ("u8", "s8", "u16", "s16")},
    "f32": (_float, "f", "f32"),
    "f64": (_float, "d", "f64"),
    "bool": (_bool, "?", "u32"),
    "char": (_char, "I", "u32"),
    "own": (_handle, "I", "u32"),
    "borrow": (_handle, "I", "u32"),
    **dict.fromkeys(["stream", "future", "error-context"], (_async, "I", "u32")),
}


def _scalar_code(of: t.ValType) -> tuple[Callable[..., str], str, str] | None:
    if isinstance(of, t.EnumType):
        return _enum, _UNSIGNED[discriminant_size(len(of.labels))], "u32"
    if isinstance(of, t.FlagsType):
        return _flags, _UNSIGNED[flags_size(len(of.labels))], "u32"
    return _SCALARS.get(of.kind)


def _string(unit: Unit, value: str) -> tuple[str, str]:
    if unit.blocks is not None:
        return _text_block(unit, unit.blocks, value)
    address, units = unit.source.fresh("p"), unit.source.fresh("n")
    unit.source.line(f"{address}, {units} = {unit.bind('store_string')}({value})")
    return address, units


def _text_block(unit: Unit, blocks: list[Block], value: str) -> tuple[str, str]:
    source = unit.source
    address, data, units = [source.fresh(stem) for stem in "pdn"]
    if not unit.utf8:
        source.line(f"{data}, {units} = {unit.bind('encode_text')}({value})")
        blocks.append(Block(address, data, f"len({data})", 2))
        return address, units
    value = _simple(unit, value)
    with source.block(f"if type({value}) is str and len({value}) < {LONG_TEXT}:"):
        source.line(f"{data} = {value}.encode()")
        source.line(f"{units} = len({data})")
    with source.block("else:"):
        source.line(f"{data}, {units} = long_text({value}, {unit.one_block})")
    blocks.append(Block(address, data, units, 1))
    return address, units


def _list_block(unit: Unit, blocks: list[Block], of: t.ListType, value: str) -> tuple[str, str]:
    source, kind = unit.source, of.t.kind
    address, count = source.fresh("p"), source.fresh("n")
    size, align = layout(of.t, unit.pointer)
    data = _simple(unit, value)
    _numbers(unit, kind, data, count)
    blocks.append(Block(address, data, f"{count} * {size}" if size > 1 else count, align))
    return address, count


def _numbers(unit: Unit, kind: str, value: str, count: str) -> None:
    """Make `value`, a list of numbers, a buffer of them; `count` how many they are."""
    source = unit.source
    if kind == "u8":
        with source.block(f"if type({value}) is not bytes:"):
            source.line(f"{value} = {source.constant(convert.as_bytes, 'as_bytes')}({value})")
        source.line(f"{count} = len({value})")
    else:
        source.line(f"{value}, {count} = {source.constant(_BUFFERS[kind], 'buffer')}({value})")


def _list(unit: Unit, of: t.ListType | t.MapType, value: str) -> tuple[str, str]:
    if unit.blocks is not None:
        assert isinstance(of, t.ListType)
        return _list_block(unit, unit.blocks, of, value)
    address, count = unit.source.fresh("p"), unit.source.fresh("n")
    unit.source.line(f"{address}, {count} = {list_storer(unit, of)}({value})")
    return address, count


def _record_parts(unit: Unit, of: t.RecordType, value: str) -> list[tuple[str, t.ValType]]:
    """Check a record; its fields as (expression, type)."""
    source = unit.source
    value = _simple(unit, value)
    cls = source.constant(class_of(of), "Record")
    with source.block(f"if type({value}) is not {cls}:"):
        source.line(
            f"{value} = {source.constant(convert.as_record, 'as_record')}({source.constant(of, 'type')}, {value})"
        )
    return [(f"{value}.{name}", field.t) for name, field in zip(field_names(of), of.fields)]


def _tuple_parts(unit: Unit, types: Sequence[t.ValType], value: str) -> list[tuple[str, t.ValType]]:
    source = unit.source
    value = _simple(unit, value)
    count = len(types)
    with source.block(f"if type({value}) is not tuple or len({value}) != {count}:"):
        source.line(f"{value} = as_tuple({value}, {count})")
    names = [source.fresh("x") for _ in types]
    source.line(f"{', '.join(names)}, = {value}")
    return list(zip(names, types))


def _unwrap_some(unit: Unit, of: t.OptionType, value: str) -> str:
    source = unit.source
    value = _simple(unit, value)
    if of.t.kind == "option":
        with source.block(f"if type({value}) is not Some:"):
            source.line("raise Mismatch")
        source.line(f"{value} = {value}.value")
    else:
        with source.block(f"if type({value}) is Some:"):
            source.line(f"{value} = {value}.value")
    return value


# ---------------------------------------------------------------------------------------------------- to memory


def lower_memory(unit: Unit, of: t.ValType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    """Check `value`, store what it refers to, and give its scalars to `run`."""
    scalar = _scalar_code(of)
    if scalar is not None:
        check, code, _ = scalar
        run.leaf(offset, code, check(unit, of, value))
        return
    if not unit.is_inline(of) and of.kind in ("record", "tuple", "option"):
        _store_apart(unit, of, value, run, offset, base)
    else:
        _MEMORY[of.kind](unit, of, value, run, offset, base)


def _store_apart(unit: Unit, of: t.ValType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    run.hole(offset)
    unit.source.line(f"{storer(unit, of)}({value}, {base} + {offset})")


def storer(unit: Unit, of: t.ValType) -> str:
    """A helper `store(value, address)` for `of`."""

    def make(name: str) -> None:
        with unit.source.helper(f"def {name}(v, q):"):
            run = MemoryRun(unit)
            scalar = _scalar_code(of)
            if scalar is not None:
                run.leaf(0, scalar[1], scalar[0](unit, of, "v"))
            else:
                _MEMORY[of.kind](unit, of, "v", run, 0, "q")
            run.emit_store(f"{unit.bind('memory')}.data", "q")

    return unit.memoised("store", of, make)


def _pair(unit: Unit, run: MemoryRun, offset: int, pair: tuple[str, str]) -> None:
    code = _UNSIGNED[unit.pointer]
    run.leaf(offset, code, pair[0])
    run.leaf(offset + unit.pointer, code, pair[1])


def _m_list(unit: Unit, of: t.ListType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    if of.length is None:
        _pair(unit, run, offset, _list(unit, of, value))
    else:
        run.hole(offset)
        unit.source.line(f"{fixed_storer(unit, of)}({value}, {base} + {offset})")


def _m_parts(unit: Unit, parts: list[tuple[str, t.ValType]], run: MemoryRun, offset: int, base: str) -> None:
    starts = field_offsets([of for _, of in parts], unit.pointer)
    for start, (value, of) in zip(starts, parts):
        lower_memory(unit, of, value, run, offset + start, base)


def _m_record(unit: Unit, of: t.RecordType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    _m_parts(unit, _record_parts(unit, of, value), run, offset, base)


def _m_tuple(unit: Unit, of: t.TupleType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    _m_parts(unit, _tuple_parts(unit, of.ts, value), run, offset, base)


def _m_option(unit: Unit, of: t.OptionType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    """Payload scalars join the run: they are zero for none, which nobody reads."""
    source = unit.source
    value = _simple(unit, value)
    disc = run.leaf(offset, "B", source.fresh("d"))
    at = offset + payload_offset(of, unit.pointer)
    inner = MemoryRun(unit)
    # The branches are written in the order: some (which says what scalars there are), then none before it.
    outer, source.lines = source.lines, []
    with source.block(f"if {value} is not None:"):
        source.line(f"{disc} = 1")
        payload = _unwrap_some(unit, of, value)
        lower_memory(unit, of.t, payload, inner, at, base)
        names = []
        for _, _, expression in inner.leaves:
            names.append(source.fresh("l"))
            source.line(f"{names[-1]} = {expression}")
    branch, source.lines = source.lines, outer
    source.line(f"{' = '.join([disc, *names])} = 0")
    source.lines += branch
    for index, (where, code, _) in enumerate(inner.leaves):
        if index in inner.holes:
            run.hole(where)
        run.leaf(where, code, names[index])
    if len(inner.leaves) in inner.holes:
        run.hole(at)


def _m_variant(unit: Unit, of: t.VariantType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    run.hole(offset)
    table = unit.memoised("storecases", of, lambda name: _memory_cases(unit, of, name))
    _dispatch(unit, of, table, value, f", {base} + {offset}")


def _dispatch(unit: Unit, of: t.VariantType, table: str, value: str, args: str, target: str = "") -> None:
    """Call the case function for `value`: by its class, or else by what `variant_case` makes of it."""
    source = unit.source
    value = _simple(unit, value)
    case = source.fresh("f")
    source.line(f"{case} = {table}.get(type({value}))")
    with source.block(f"if {case} is None:"):
        slow = source.constant(_normalised, "normalised")
        source.line(f"{value} = {slow}({source.constant(of, 'type')}, {value})")
        source.line(f"{case} = {table}[type({value})]")
    source.line(f"{target}{case}({value}{args})")


def _normalised(of: t.VariantType, value: object) -> object:
    index, payload = convert.variant_case(of, value)
    cls = class_of(of).__cases__[index]
    return cls() if of.cases[index].t is None else cls(payload)


def _memory_cases(unit: Unit, of: t.VariantType, name: str) -> None:
    source = unit.source
    code = _UNSIGNED[discriminant_size(len(of.cases))]
    at = payload_offset(of, unit.pointer)
    entries = []
    for index, (declared, cls) in enumerate(zip(of.cases, class_of(of).__cases__)):
        function = source.fresh("case")
        with source.helper(f"def {function}(v, q):"):
            _store_case(unit, declared.t, "v.value", code, index, at)
        entries.append(f"{source.constant(cls, 'Case')}: {function}")
    source.helpers.append(f"    {name} = {{{', '.join(entries)}}}")


def _store_case(unit: Unit, payload: t.ValType | None, value: str, code: str, index: int, at: int) -> None:
    run = MemoryRun(unit)
    run.leaf(0, code, str(index))
    if payload is not None:
        lower_memory(unit, payload, value, run, at, "q")
    run.emit_store(f"{unit.bind('memory')}.data", "q")


def result_storer(unit: Unit, of: t.ResultType, which: int) -> str:
    """A helper `store(payload, address)` that stores an `ok` (0) or `error` (1) result."""

    def make(name: str) -> None:
        with unit.source.helper(f"def {name}(v, q):"):
            payload = (of.ok, of.error)[which]
            if payload is None:
                _no_payload(unit, "v")
            _store_case(unit, payload, "v", "B", which, payload_offset(of, unit.pointer))

    return unit.memoised(f"storeresult{which}_", of, make)


def _no_payload(unit: Unit, value: str) -> None:
    with unit.source.block(f"if {value} is not None:"):
        unit.source.line("raise Mismatch")


def _m_result(unit: Unit, of: t.ResultType, value: str, run: MemoryRun, offset: int, base: str) -> None:
    run.hole(offset)
    source = unit.source
    value = _simple(unit, value)
    for which, word in enumerate(("Ok", "Err")):
        with source.block(f"{'el' * which}if type({value}) is {word}:"):
            source.line(f"{result_storer(unit, of, which)}({value}.value, {base} + {offset})")
    with source.block("else:"):
        source.line("raise Mismatch")


_MEMORY: dict[str, Callable[..., None]] = {
    "string": lambda unit, of, value, run, offset, base: _pair(unit, run, offset, _string(unit, value)),
    "map": lambda unit, of, value, run, offset, base: _pair(unit, run, offset, _list(unit, of, value)),
    "list": _m_list,
    "record": _m_record,
    "tuple": _m_tuple,
    "option": _m_option,
    "variant": _m_variant,
    "result": _m_result,
}


# ---------------------------------------------------------------------------------------------------- lists


_BUFFERS = {**{kind: convert.int_list(_CODES[kind]) for kind in convert.RANGES if kind != "u8"}}
_BUFFERS |= {"f32": convert.float_list("f"), "f64": convert.float_list("d")}
NUMBERS = frozenset({"u8", *_BUFFERS})
"""Elements of lists that are copied as a whole."""
MAX_BYTES = (1 << 32) - 1


def list_storer(unit: Unit, of: t.ListType | t.MapType) -> str:
    """A helper `store(value) -> (address, count)` for a list of any length, or a map."""
    return unit.memoised("storelist", of, lambda name: _list_storer(unit, of, name))


def _list_storer(unit: Unit, of: t.ListType | t.MapType, name: str) -> None:
    source = unit.source
    element = map_list(of).t if isinstance(of, t.MapType) else of.t
    size, align = layout(element, unit.pointer)
    with source.helper(f"def {name}(v):"):
        if isinstance(of, t.ListType) and element.kind in NUMBERS:
            _numbers(unit, element.kind, "v", "n")
            source.line(f"size = n * {size}")
            view = "v" if element.kind in ("u8", "f32", "f64") else "memoryview(v).cast('B')"
            if element.kind in ("f32", "f64"):
                view = "v if type(v) is bytes or not n else v.cast('B')"
            store = unit.bind(f"store_block_{align}_", f"cx.block_storer({align})")
            source.line(f"p = {store}({view}, size)")
        else:
            source.line(f"v = {'as_map' if isinstance(of, t.MapType) else 'as_list'}(v)")
            source.line("n = len(v)")
            with source.block(f"if n > {MAX_BYTES // size}:"):
                source.line("raise Mismatch")
            realloc = unit.bind("realloc", "cx.reallocator()")
            source.line(f"p = {realloc}(0, 0, {align}, n * {size})")
            _store_elements(unit, element, size)
        source.line("return p, n")


def _store_elements(unit: Unit, element: t.ValType, size: int) -> None:
    """Store the elements of `v` from address `p` on. No more than were counted: user code may change the list meanwhile."""
    source = unit.source
    source.line("q = p")
    # The memory may grow meanwhile, but neither moves nor shrinks: one view serves for all elements.
    source.line(f"data = {unit.bind('memory')}.data")
    with source.block("for x in v[:n]:"):
        run = MemoryRun(unit)
        if unit.is_inline(element):
            lower_memory(unit, element, "x", run, 0, "q")
            run.emit_store("data", "q")
        else:
            source.line(f"{storer(unit, element)}(x, q)")
        source.line(f"q += {size}")


def list_elements_storer(unit: Unit, element: t.ValType) -> str:
    """A helper `store(values, address, count)` for elements whose place is given: those of streams and futures."""

    def make(name: str) -> None:
        with unit.source.helper(f"def {name}(v, p, n):"):
            _store_elements(unit, element, layout(element, unit.pointer).size)

    return unit.memoised("storeelements", element, make)


def fixed_storer(unit: Unit, of: t.ListType) -> str:
    """A helper `store(value, address)` for a list of fixed length."""

    def make(name: str) -> None:
        source = unit.source
        with source.helper(f"def {name}(v, p):"):
            if of.t.kind == "u8":
                source.line(f"v = {source.constant(convert.as_bytes, 'as_bytes')}(v)")
                with source.block(f"if len(v) != {of.length}:"):
                    source.line("raise Mismatch")
                source.line(f"{unit.bind('memory')}.data[p:p + {of.length}] = v")
            else:
                source.line(f"n = {of.length}")
                source.line("v = as_tuple(v, n)")
                _store_elements(unit, of.t, layout(of.t, unit.pointer).size)

    return unit.memoised("storefixed", of, make)


# ---------------------------------------------------------------------------------------------------- flat


def lower_flat(unit: Unit, of: t.ValType, value: str) -> list[FlatValue]:
    """Check `value` and store what it refers to; the core values that stand for it."""
    scalar = _scalar_code(of)
    if scalar is not None:
        check, _, kind = scalar
        return [(check(unit, of, value), kind)]
    return _FLAT[of.kind](unit, of, value)


def coerced(value: FlatValue, core: str) -> FlatValue:
    """A core value as bits in a slot of the joined core type."""
    text, kind = value
    want = _CORE_KIND[core]
    if kind == want:
        return value
    match kind:
        case "s32":
            text = f"({text} & 0xffffffff)"
        case "s64":
            text = f"({text} & 0xffffffffffffffff)"
        case "f32" | "f64":
            text = f"{kind}_bits({text})"
    return text, want


def _pointers(unit: Unit, pair: tuple[str, str]) -> list[FlatValue]:
    kind = f"u{8 * unit.pointer}"
    return [(pair[0], kind), (pair[1], kind)]


def _f_list(unit: Unit, of: t.ListType, value: str) -> list[FlatValue]:
    if of.length is None:
        return _pointers(unit, _list(unit, of, value))
    if of.t.kind == "u8":
        value = f"list({unit.source.constant(convert.as_bytes, 'as_bytes')}({value}))"
    return _f_parts(unit, _tuple_parts(unit, (of.t,) * of.length, value))


def _f_parts(unit: Unit, parts: list[tuple[str, t.ValType]]) -> list[FlatValue]:
    return [flat for value, of in parts for flat in lower_flat(unit, of, value)]


def _joined(unit: Unit, of: t.ValType) -> tuple[str, ...]:
    return (flatten(of, unit.pointer) or ())[1:]


def _f_option(unit: Unit, of: t.OptionType, value: str) -> list[FlatValue]:
    source = unit.source
    value = _simple(unit, value)
    disc = source.fresh("d")
    joined = _joined(unit, of)
    names = [source.fresh("l") for _ in joined]
    source.line(f"{' = '.join([disc, *names])} = 0")
    with source.block(f"if {value} is not None:"):
        source.line(f"{disc} = 1")
        payload = lower_flat(unit, of.t, _unwrap_some(unit, of, value))
        for name, flat, core in zip(names, payload, joined):
            source.line(f"{name} = {coerced(flat, core)[0]}")
    return [(disc, "u32"), *[(name, _CORE_KIND[core]) for name, core in zip(names, joined)]]


def flat_case(unit: Unit, payload: t.ValType | None, value: str, index: int, joined: tuple[str, ...]) -> None:
    """Return discriminant and payload as a tuple of joined core values."""
    flats = [] if payload is None else lower_flat(unit, payload, value)
    texts = [coerced(flat, core)[0] for flat, core in zip(flats, joined)]
    texts += ["0"] * (len(joined) - len(texts))
    unit.source.line(f"return {', '.join([str(index), *texts])},")


def _f_variant(unit: Unit, of: t.VariantType, value: str) -> list[FlatValue]:
    joined = _joined(unit, of)
    table = unit.memoised("lowercases", of, lambda name: _flat_cases(unit, of, joined, name), joined)
    names = [unit.source.fresh("l") for _ in range(len(joined) + 1)]
    _dispatch(unit, of, table, value, "", f"{', '.join(names)}, = ")
    return [(names[0], "u32"), *[(name, _CORE_KIND[core]) for name, core in zip(names[1:], joined)]]


def _flat_cases(unit: Unit, of: t.VariantType, joined: tuple[str, ...], name: str) -> None:
    source = unit.source
    entries = []
    for index, (declared, cls) in enumerate(zip(of.cases, class_of(of).__cases__)):
        function = source.fresh("case")
        with source.helper(f"def {function}(v):"):
            flat_case(unit, declared.t, "v.value", index, joined)
        entries.append(f"{source.constant(cls, 'Case')}: {function}")
    source.helpers.append(f"    {name} = {{{', '.join(entries)}}}")


def result_flattener(unit: Unit, of: t.ResultType, which: int) -> str:
    """A helper `lower(payload)` for an `ok` (0) or `error` (1) result: discriminant and joined core values."""
    joined = _joined(unit, of)

    def make(name: str) -> None:
        with unit.source.helper(f"def {name}(v):"):
            payload = (of.ok, of.error)[which]
            if payload is None:
                _no_payload(unit, "v")
            flat_case(unit, payload, "v", which, joined)

    return unit.memoised(f"lowerresult{which}_", of, make, joined)


def flat_result_names(unit: Unit, of: t.ResultType) -> tuple[str, list[FlatValue]]:
    """Fresh variables for a flat result: as an assignment target, and as flat values."""
    joined = _joined(unit, of)
    names = [unit.source.fresh("l") for _ in range(len(joined) + 1)]
    flats = [(names[0], "u32"), *[(name, _CORE_KIND[core]) for name, core in zip(names[1:], joined)]]
    return f"{', '.join(names)}, = ", flats


def _f_result(unit: Unit, of: t.ResultType, value: str) -> list[FlatValue]:
    source = unit.source
    value = _simple(unit, value)
    target, flats = flat_result_names(unit, of)
    for which, word in enumerate(("Ok", "Err")):
        with source.block(f"{'el' * which}if type({value}) is {word}:"):
            source.line(f"{target}{result_flattener(unit, of, which)}({value}.value)")
    with source.block("else:"):
        source.line("raise Mismatch")
    return flats


_FLAT: dict[str, Callable[..., list[FlatValue]]] = {
    "string": lambda unit, of, value: _pointers(unit, _string(unit, value)),
    "map": lambda unit, of, value: _pointers(unit, _list(unit, of, value)),
    "list": _f_list,
    "record": lambda unit, of, value: _f_parts(unit, _record_parts(unit, of, value)),
    "tuple": lambda unit, of, value: _f_parts(unit, _tuple_parts(unit, of.ts, value)),
    "option": _f_option,
    "variant": _f_variant,
    "result": _f_result,
}
