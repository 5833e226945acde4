"""128-bit vectors, fixed width and relaxed.

A v128 is `<16 x i8>`, whatever its lanes; each instruction casts to the shape that it means. Casts back and forth between two
instructions of one shape are saved by `Emitter.vectors`. Relaxed instructions do what their strict relatives do or, where there
is none, what the deterministic profile of the specification says; only `relaxed_madd` and `relaxed_nmadd` depend on the processor, unless
the config forbids it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.handlers import Emit, emits, register
from core_rt.compile.memory import address
from core_rt.compile.numeric import hide

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

V: Final = "<16 x i8>"
SHAPES: Final = {
    "i8x16": V, "i16x8": "<8 x i16>", "i32x4": "<4 x i32>", "i64x2": "<2 x i64>", "f32x4": "<4 x float>", "f64x2": "<2 x double>",
}  # fmt: skip
_LANE: Final = {"i8x16": "i8", "i16x8": "i16", "i32x4": "i32", "i64x2": "i64", "f32x4": "float", "f64x2": "double"}
_COUNT: Final = {"i8x16": 16, "i16x8": 8, "i32x4": 4, "i64x2": 2, "f32x4": 4, "f64x2": 2}
_INTEGERS: Final = ("i8x16", "i16x8", "i32x4", "i64x2")
_FLOATS: Final = ("f32x4", "f64x2")
_WIDER: Final = {"i8x16": "i16x8", "i16x8": "i32x4", "i32x4": "i64x2"}


def suffix(vt: str) -> str:
    """The name of a vector type in intrinsics: `<4 x i32>` is v4i32."""
    count, lane = vt[1:-1].split(" x ")
    return f"v{count}{ {'float': 'f32', 'double': 'f64'}.get(lane, lane) }"


def pop(f: Emitter, vt: str) -> str:
    """Pop a v128 as a vector type."""
    return cast(f, f.stack.pop(), vt)


def cast(f: Emitter, value: str, vt: str) -> str:
    """A v128 as a vector type."""
    if vt == V:
        return value
    known = f.vectors.get(value)
    if known is not None and known[0] == vt:
        return known[1]
    return f.let(f"bitcast {V} {value} to {vt}")


def push(f: Emitter, vt: str, value: str) -> None:
    """Push a vector as a v128."""
    if vt == V:
        f.stack.append(value)
        return
    f.push(f"bitcast {vt} {value} to {V}")
    f.vectors[f.stack[-1]] = (vt, value)


def indices(lanes: Any) -> str:
    """A constant mask for `shufflevector`."""
    lanes = list(lanes)
    return f"<{len(lanes)} x i32> <{', '.join([f'i32 {i}' for i in lanes])}>"


def splat_constant(vt: str, value: int) -> str:
    """A vector constant with equal lanes."""
    count, lane = vt[1:-1].split(" x ")
    return f"<{', '.join([f'{lane} {value}'] * int(count))}>"


def splat(f: Emitter, shape: str, value: str) -> str:
    """A vector with equal lanes."""
    vt = SHAPES[shape]
    one = f.let(f"insertelement {vt} poison, {_LANE[shape]} {value}, i32 0")
    return f.let(f"shufflevector {vt} {one}, {vt} poison, {indices([0] * _COUNT[shape])}")


def shuffle(f: Emitter, vt: str, a: str, b: str, lanes: Any) -> str:
    """Lanes of two vectors."""
    return f.let(f"shufflevector {vt} {a}, {vt} {b}, {indices(lanes)}")


def vector_type(count: int, lane: str) -> str:
    """`<count x lane>`"""
    return f"<{count} x {lane}>"


# ------------------------------------------------------------------------------------------------------ memory, constants


def _read(f: Emitter, lltype: str, size: int, index: str, imm: tuple[int, ...]) -> str:
    at = address(f, imm[2], index, imm[1], size)
    return f.let(f"load volatile {lltype}, ptr {at}, align 1{f.unit.alias_guest}")


def _write(f: Emitter, lltype: str, size: int, index: str, imm: tuple[int, ...], value: str) -> None:
    at = address(f, imm[2], index, imm[1], size)
    f.out(f"store volatile {lltype} {value}, ptr {at}, align 1{f.unit.alias_guest}")


@emits("v128.load")
def _load(f: Emitter, imm: tuple[int, int, int]) -> None:
    f.stack.append(_read(f, V, 16, f.stack.pop(), imm))


@emits("v128.store")
def _store(f: Emitter, imm: tuple[int, int, int]) -> None:
    value = f.stack.pop()
    _write(f, V, 16, f.stack.pop(), imm, value)


def _load_extend(shape: str, extend: str) -> Emit:
    wide = _WIDER[shape]
    half = vector_type(_COUNT[wide], _LANE[shape])

    def emit(f: Emitter, imm: tuple[int, int, int]) -> None:
        value = _read(f, half, 8, f.stack.pop(), imm)
        push(f, SHAPES[wide], f.let(f"{extend} {half} {value} to {SHAPES[wide]}"))

    return emit


def _load_splat(shape: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int]) -> None:
        value = _read(f, _LANE[shape], 16 // _COUNT[shape], f.stack.pop(), imm)
        push(f, SHAPES[shape], splat(f, shape, value))

    return emit


def _load_zero(shape: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int]) -> None:
        value = _read(f, _LANE[shape], 16 // _COUNT[shape], f.stack.pop(), imm)
        push(f, SHAPES[shape], f.let(f"insertelement {SHAPES[shape]} zeroinitializer, {_LANE[shape]} {value}, i32 0"))

    return emit


def _load_lane(shape: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int, int]) -> None:
        vector = pop(f, SHAPES[shape])
        value = _read(f, _LANE[shape], 16 // _COUNT[shape], f.stack.pop(), imm)
        push(f, SHAPES[shape], f.let(f"insertelement {SHAPES[shape]} {vector}, {_LANE[shape]} {value}, i32 {imm[3]}"))

    return emit


def _store_lane(shape: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int, int]) -> None:
        vector = pop(f, SHAPES[shape])
        value = f.let(f"extractelement {SHAPES[shape]} {vector}, i32 {imm[3]}")
        _write(f, _LANE[shape], 16 // _COUNT[shape], f.stack.pop(), imm, value)

    return emit


@emits("v128.const")
def _const(f: Emitter, bits: int) -> None:
    f.stack.append(f"bitcast (i128 {bits} to {V})")


def _register_memory() -> None:
    for shape in _INTEGERS:
        width = 128 // _COUNT[shape]
        register(f"v128.load{width}_splat", _load_splat(shape))
        register(f"v128.load{width}_lane", _load_lane(shape))
        register(f"v128.store{width}_lane", _store_lane(shape))
        if width >= 32:
            register(f"v128.load{width}_zero", _load_zero(shape))
        if shape in _WIDER:
            register(f"v128.load{width}x{_COUNT[shape] // 2}_s", _load_extend(shape, "sext"))
            register(f"v128.load{width}x{_COUNT[shape] // 2}_u", _load_extend(shape, "zext"))


_register_memory()


# ------------------------------------------------------------------------------------------------------ generic shapes


def binary(shape: str, text: str) -> Emit:
    """`text a, b` lane by lane."""
    vt = SHAPES[shape]

    def emit(f: Emitter, imm: Any) -> None:
        b = pop(f, vt)
        push(f, vt, f.let(f"{text} {vt} {pop(f, vt)}, {b}"))

    return emit


def call2(shape: str, intrinsic: str) -> Emit:
    """A binary intrinsic."""
    vt = SHAPES[shape]
    head = f"call {vt} @llvm.{intrinsic}.{suffix(vt)}"

    def emit(f: Emitter, imm: Any) -> None:
        b = pop(f, vt)
        push(f, vt, f.let(f"{head}({vt} {pop(f, vt)}, {vt} {b})"))

    return emit


def call1(shape: str, intrinsic: str, extra: str = "") -> Emit:
    """A unary intrinsic."""
    vt = SHAPES[shape]
    head = f"call {vt} @llvm.{intrinsic}.{suffix(vt)}"

    def emit(f: Emitter, imm: Any) -> None:
        push(f, vt, f.let(f"{head}({vt} {pop(f, vt)}{extra})"))

    return emit


def _compare(shape: str, text: str) -> Emit:
    vt = SHAPES[shape]
    count = _COUNT[shape]
    to = vector_type(count, f"i{128 // count}")

    def emit(f: Emitter, imm: Any) -> None:
        b = pop(f, vt)
        bits = f.let(f"{text} {vt} {pop(f, vt)}, {b}")
        push(f, to, f.let(f"sext <{count} x i1> {bits} to {to}"))

    return emit


# ------------------------------------------------------------------------------------------------------ lanes and bits


@emits("i8x16.shuffle")
def _shuffle(f: Emitter, lanes: tuple[int, ...]) -> None:
    b = f.stack.pop()
    f.stack.append(shuffle(f, V, f.stack.pop(), b, lanes))


@emits("i8x16.swizzle", "i8x16.relaxed_swizzle")
def _swizzle(f: Emitter, imm: Any) -> None:
    lanes = f.stack.pop()
    a = f.stack.pop()
    if f.unit.float_register == "x":
        # pshufb gives 0 for lanes with the top bit set and looks at the low four bits else: push 16..127 over the top.
        high = f.let(f"call {V} @llvm.uadd.sat.v16i8({V} {lanes}, {V} {splat_constant(V, 0x70)})")
        f.push(f"call {V} @llvm.x86.ssse3.pshuf.b.128({V} {a}, {V} {high})")
    else:
        f.push(f"call {V} @llvm.aarch64.neon.tbl1.v16i8({V} {a}, {V} {lanes})")


def _splat(shape: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        value = f.stack.pop()
        if shape in ("i8x16", "i16x8"):
            value = f.let(f"trunc i32 {value} to {_LANE[shape]}")
        push(f, SHAPES[shape], splat(f, shape, value))

    return emit


def _extract(shape: str, extend: str | None) -> Emit:
    def emit(f: Emitter, lane: int) -> None:
        f.push(f"extractelement {SHAPES[shape]} {pop(f, SHAPES[shape])}, i32 {lane}")
        if extend:
            f.push(f"{extend} {_LANE[shape]} {f.stack.pop()} to i32")

    return emit


def _replace(shape: str) -> Emit:
    def emit(f: Emitter, lane: int) -> None:
        value = f.stack.pop()
        if shape in ("i8x16", "i16x8"):
            value = f.let(f"trunc i32 {value} to {_LANE[shape]}")
        vector = pop(f, SHAPES[shape])
        push(f, SHAPES[shape], f.let(f"insertelement {SHAPES[shape]} {vector}, {_LANE[shape]} {value}, i32 {lane}"))

    return emit


@emits("v128.not")
def _not(f: Emitter, imm: Any) -> None:
    f.push(f"xor {V} {f.stack.pop()}, {splat_constant(V, -1)}")


@emits("v128.andnot")
def _andnot(f: Emitter, imm: Any) -> None:
    b = f.let(f"xor {V} {f.stack.pop()}, {splat_constant(V, -1)}")
    f.push(f"and {V} {f.stack.pop()}, {b}")


@emits("v128.bitselect")
def _bitselect(f: Emitter, imm: Any) -> None:
    mask = f.stack.pop()
    b = f.stack.pop()
    a = f.stack.pop()
    kept = f.let(f"and {V} {a}, {mask}")
    other = f.let(f"xor {V} {mask}, {splat_constant(V, -1)}")
    f.push(f"or {V} {kept}, {f.let(f'and {V} {b}, {other}')}")


@emits("v128.any_true")
def _any_true(f: Emitter, imm: Any) -> None:
    f.push_bool(f.let(f"icmp ne i128 {f.let(f'bitcast {V} {f.stack.pop()} to i128')}, 0"))


def _all_true(shape: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        vt, count = SHAPES[shape], _COUNT[shape]
        lanes = f.let(f"icmp ne {vt} {pop(f, vt)}, zeroinitializer")
        f.push_bool(f.let(f"icmp eq i{count} {f.let(f'bitcast <{count} x i1> {lanes} to i{count}')}, -1"))

    return emit


def _bitmask(shape: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        vt, count = SHAPES[shape], _COUNT[shape]
        lanes = f.let(f"icmp slt {vt} {pop(f, vt)}, zeroinitializer")
        f.push(f"zext i{count} {f.let(f'bitcast <{count} x i1> {lanes} to i{count}')} to i32")

    return emit


def _register_lanes() -> None:
    for shape in SHAPES:
        register(f"{shape}.splat", _splat(shape))
        register(f"{shape}.replace_lane", _replace(shape))
        if shape in ("i8x16", "i16x8"):
            register(f"{shape}.extract_lane_s", _extract(shape, "sext"))
            register(f"{shape}.extract_lane_u", _extract(shape, "zext"))
        else:
            register(f"{shape}.extract_lane", _extract(shape, None))
    for shape in _INTEGERS:
        register(f"{shape}.all_true", _all_true(shape))
        register(f"{shape}.bitmask", _bitmask(shape))
        register(f"{shape}.relaxed_laneselect", _bitselect)
    for name in ("and", "or", "xor"):
        register(f"v128.{name}", binary("i8x16", name))


_register_lanes()


# ------------------------------------------------------------------------------------------------------ integers


def halves(f: Emitter, shape: str, value: str, high: bool, extend: str) -> str:
    """The low or high half of the lanes, extended to the next wider shape."""
    count = _COUNT[shape]
    half = shuffle(f, SHAPES[shape], value, "poison", range(count // 2, count) if high else range(count // 2))
    return f.let(f"{extend} <{count // 2} x {_LANE[shape]}> {half} to {SHAPES[_WIDER[shape]]}")


def pairs(f: Emitter, vt: str, value: str) -> str:
    """The sums of neighbouring lanes."""
    count, lane = vt[1:-1].split(" x ")
    even = shuffle(f, vt, value, "poison", range(0, int(count), 2))
    odd = shuffle(f, vt, value, "poison", range(1, int(count), 2))
    return f.let(f"add <{int(count) // 2} x {lane}> {even}, {odd}")


def _shift(shape: str, kind: str) -> Emit:
    lane = _LANE[shape]
    width = int(lane[1:])

    def emit(f: Emitter, imm: Any) -> None:
        amount = f.stack.pop()
        masked = f.let(f"and i32 {amount}, {width - 1}")
        if width != 32:
            masked = f.let(f"{'zext' if width > 32 else 'trunc'} i32 {masked} to {lane}")
        by = splat(f, shape, masked)
        push(f, SHAPES[shape], f.let(f"{kind} {SHAPES[shape]} {pop(f, SHAPES[shape])}, {by}"))

    return emit


def _neg(shape: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        push(f, SHAPES[shape], f.let(f"sub {SHAPES[shape]} zeroinitializer, {pop(f, SHAPES[shape])}"))

    return emit


def _average(shape: str) -> Emit:
    vt, count = SHAPES[shape], _COUNT[shape]
    wide = vector_type(count, _LANE[_WIDER[shape]])

    def emit(f: Emitter, imm: Any) -> None:
        b = f.let(f"zext {vt} {pop(f, vt)} to {wide}")
        a = f.let(f"zext {vt} {pop(f, vt)} to {wide}")
        total = f.let(f"add {wide} {f.let(f'add {wide} {a}, {b}')}, {splat_constant(wide, 1)}")
        half = f.let(f"lshr {wide} {total}, {splat_constant(wide, 1)}")
        push(f, vt, f.let(f"trunc {wide} {half} to {vt}"))

    return emit


def _extend(shape: str, high: bool, extend: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        push(f, SHAPES[_WIDER[shape]], halves(f, shape, pop(f, SHAPES[shape]), high, extend))

    return emit


def _multiply_extended(shape: str, high: bool, extend: str) -> Emit:
    wide = SHAPES[_WIDER[shape]]

    def emit(f: Emitter, imm: Any) -> None:
        b = halves(f, shape, pop(f, SHAPES[shape]), high, extend)
        a = halves(f, shape, pop(f, SHAPES[shape]), high, extend)
        push(f, wide, f.let(f"mul {wide} {a}, {b}"))

    return emit


def _add_pairs(shape: str, extend: str) -> Emit:
    vt, count = SHAPES[shape], _COUNT[shape]
    lane = _LANE[_WIDER[shape]]

    def emit(f: Emitter, imm: Any) -> None:
        wide = vector_type(count, lane)
        push(f, SHAPES[_WIDER[shape]], pairs(f, wide, f.let(f"{extend} {vt} {pop(f, vt)} to {wide}")))

    return emit


def _narrow(wide: str, sign: str) -> Emit:
    shape = {"i16x8": "i8x16", "i32x4": "i16x8"}[wide]
    vt = SHAPES[wide]
    width = int(_LANE[shape][1:])
    low, high = (-1 << (width - 1), (1 << (width - 1)) - 1) if sign == "s" else (0, (1 << width) - 1)
    half = vector_type(_COUNT[wide], _LANE[shape])

    def clamp(f: Emitter, value: str) -> str:
        above = f.let(f"call {vt} @llvm.smax.{suffix(vt)}({vt} {value}, {vt} {splat_constant(vt, low)})")
        within = f.let(f"call {vt} @llvm.smin.{suffix(vt)}({vt} {above}, {vt} {splat_constant(vt, high)})")
        return f.let(f"trunc {vt} {within} to {half}")

    def emit(f: Emitter, imm: Any) -> None:
        b = clamp(f, pop(f, vt))
        a = clamp(f, pop(f, vt))
        push(f, SHAPES[shape], shuffle(f, half, a, b, range(_COUNT[shape])))

    return emit


@emits("i16x8.q15mulr_sat_s", "i16x8.relaxed_q15mulr_s")
def _q15(f: Emitter, imm: Any) -> None:
    wide = "<8 x i32>"
    b = f.let(f"sext <8 x i16> {pop(f, '<8 x i16>')} to {wide}")
    a = f.let(f"sext <8 x i16> {pop(f, '<8 x i16>')} to {wide}")
    rounded = f.let(f"add {wide} {f.let(f'mul {wide} {a}, {b}')}, {splat_constant(wide, 0x4000)}")
    shifted = f.let(f"ashr {wide} {rounded}, {splat_constant(wide, 15)}")
    within = f.let(f"call {wide} @llvm.smin.v8i32({wide} {shifted}, {wide} {splat_constant(wide, 0x7FFF)})")
    push(f, "<8 x i16>", f.let(f"trunc {wide} {within} to <8 x i16>"))


@emits("i32x4.dot_i16x8_s")
def _dot(f: Emitter, imm: Any) -> None:
    b = f.let(f"sext <8 x i16> {pop(f, '<8 x i16>')} to <8 x i32>")
    a = f.let(f"sext <8 x i16> {pop(f, '<8 x i16>')} to <8 x i32>")
    push(f, "<4 x i32>", pairs(f, "<8 x i32>", f.let(f"mul <8 x i32> {a}, {b}")))


def _relaxed_dot(f: Emitter) -> str:
    b = f.let(f"sext {V} {f.stack.pop()} to <16 x i16>")
    a = f.let(f"sext {V} {f.stack.pop()} to <16 x i16>")
    return pairs(f, "<16 x i16>", f.let(f"mul <16 x i16> {a}, {b}"))


@emits("i16x8.relaxed_dot_i8x16_i7x16_s")
def _dot8(f: Emitter, imm: Any) -> None:
    push(f, "<8 x i16>", _relaxed_dot(f))


@emits("i32x4.relaxed_dot_i8x16_i7x16_add_s")
def _dot8_add(f: Emitter, imm: Any) -> None:
    c = pop(f, "<4 x i32>")
    sums = pairs(f, "<8 x i32>", f.let(f"sext <8 x i16> {_relaxed_dot(f)} to <8 x i32>"))
    push(f, "<4 x i32>", f.let(f"add <4 x i32> {sums}, {c}"))


def _register_integers() -> None:
    for shape in _INTEGERS:
        for name in ("add", "sub", "mul"):
            if (shape, name) != ("i8x16", "mul"):
                register(f"{shape}.{name}", binary(shape, name))
        register(f"{shape}.neg", _neg(shape))
        register(f"{shape}.abs", call1(shape, "abs", ", i1 false"))
        for name, kind in (("shl", "shl"), ("shr_s", "ashr"), ("shr_u", "lshr")):
            register(f"{shape}.{name}", _shift(shape, kind))
        signs = "s" if shape == "i64x2" else "su"
        for name, order in (
            ("eq", "eq"),
            ("ne", "ne"),
            *((f"{o}_{s}", s + o) for o in ("lt", "gt", "le", "ge") for s in signs),
        ):
            register(f"{shape}.{name}", _compare(shape, f"icmp {order}"))
        if shape != "i64x2":
            for sign in "su":
                register(f"{shape}.min_{sign}", call2(shape, f"{sign}min"))
                register(f"{shape}.max_{sign}", call2(shape, f"{sign}max"))
    register("i8x16.popcnt", call1("i8x16", "ctpop"))
    for shape in ("i8x16", "i16x8"):
        register(f"{shape}.avgr_u", _average(shape))
        for sign in "su":
            register(f"{shape}.add_sat_{sign}", call2(shape, f"{sign}add.sat"))
            register(f"{shape}.sub_sat_{sign}", call2(shape, f"{sign}sub.sat"))
            register(
                f"{_WIDER[shape]}.extadd_pairwise_{shape}_{sign}",
                _add_pairs(shape, f"{sign}ext".replace("uext", "zext")),
            )
            register(f"{shape}.narrow_{_WIDER[shape]}_{sign}", _narrow(_WIDER[shape], sign))
    for shape, wide in _WIDER.items():
        for sign, extend in (("s", "sext"), ("u", "zext")):
            for half in ("low", "high"):
                register(f"{wide}.extend_{half}_{shape}_{sign}", _extend(shape, half == "high", extend))
                register(f"{wide}.extmul_{half}_{shape}_{sign}", _multiply_extended(shape, half == "high", extend))


_register_integers()


# ------------------------------------------------------------------------------------------------------ floats


def _pop_float(f: Emitter, vt: str) -> str:
    """Pop an operand of arithmetic; a constant is hidden from LLVM's identities (see numeric.py)."""
    value = f.stack.pop()
    if value[0] != "%":
        value = hide(f, V, value)
    return cast(f, value, vt)


def _arithmetic(shape: str, text: str) -> Emit:
    vt = SHAPES[shape]

    def emit(f: Emitter, imm: Any) -> None:
        b = _pop_float(f, vt)
        push(f, vt, f.let(f"{text} {vt} {_pop_float(f, vt)}, {b}"))

    return emit


def _extreme(shape: str, which: str) -> Emit:
    vt, count = SHAPES[shape], _COUNT[shape]

    def emit(f: Emitter, imm: Any) -> None:
        b = _pop_float(f, vt)
        a = _pop_float(f, vt)
        unordered = f.let(f"fcmp uno {vt} {a}, {b}")
        nan = f.let(f"fadd {vt} {a}, {b}")
        number = f.let(f"call nnan {vt} @llvm.{which}imum.{suffix(vt)}({vt} {a}, {vt} {b})")
        push(f, vt, f.let(f"select <{count} x i1> {unordered}, {vt} {nan}, {vt} {number}"))

    return emit


def _pseudo_extreme(shape: str, swap: bool) -> Emit:
    vt, count = SHAPES[shape], _COUNT[shape]

    def emit(f: Emitter, imm: Any) -> None:
        b = pop(f, vt)
        a = pop(f, vt)
        less = f.let(f"fcmp olt {vt} {b}, {a}" if not swap else f"fcmp olt {vt} {a}, {b}")
        push(f, vt, f.let(f"select <{count} x i1> {less}, {vt} {b}, {vt} {a}"))

    return emit


def _negate(shape: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        push(f, SHAPES[shape], f.let(f"fneg {SHAPES[shape]} {pop(f, SHAPES[shape])}"))

    return emit


def _multiply_add(shape: str, negate: bool) -> Emit:
    vt = SHAPES[shape]
    suffix = {"f32x4": "v4f32", "f64x2": "v2f64"}[shape]

    def emit(f: Emitter, imm: Any) -> None:
        c = _pop_float(f, vt)
        b = _pop_float(f, vt)
        a = _pop_float(f, vt)
        if f.unit.fuses:
            if negate:
                a = f.let(f"fneg {vt} {a}")
            push(f, vt, f.let(f"call {vt} @llvm.fma.{suffix}({vt} {a}, {vt} {b}, {vt} {c})"))
            return
        product = f.let(f"fmul {vt} {a}, {b}")
        if negate:
            product = f.let(f"fneg {vt} {product}")
        push(f, vt, f.let(f"fadd {vt} {product}, {c}"))

    return emit


def _register_floats() -> None:
    orders = (("eq", "oeq"), ("ne", "une"), ("lt", "olt"), ("gt", "ogt"), ("le", "ole"), ("ge", "oge"))
    calls = {"abs": "fabs", "ceil": "ceil", "floor": "floor", "trunc": "trunc", "nearest": "roundeven", "sqrt": "sqrt"}
    for shape in _FLOATS:
        for name, order in orders:
            register(f"{shape}.{name}", _compare(shape, f"fcmp {order}"))
        for name in ("add", "sub", "mul", "div"):
            register(f"{shape}.{name}", _arithmetic(shape, f"f{name}"))
        for name, intrinsic in calls.items():
            register(f"{shape}.{name}", call1(shape, intrinsic))
        register(f"{shape}.neg", _negate(shape))
        for which in ("min", "max"):
            register(f"{shape}.{which}", _extreme(shape, which))
            register(f"{shape}.relaxed_{which}", _extreme(shape, which))
            register(f"{shape}.p{which}", _pseudo_extreme(shape, which == "max"))
        register(f"{shape}.relaxed_madd", _multiply_add(shape, False))
        register(f"{shape}.relaxed_nmadd", _multiply_add(shape, True))


_register_floats()


# ------------------------------------------------------------------------------------------------------ conversions


def _convert(sign: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        push(f, "<4 x float>", f.let(f"{sign}itofp <4 x i32> {pop(f, '<4 x i32>')} to <4 x float>"))

    return emit


def _convert_low(sign: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        low = shuffle(f, "<4 x i32>", pop(f, "<4 x i32>"), "poison", (0, 1))
        push(f, "<2 x double>", f.let(f"{sign}itofp <2 x i32> {low} to <2 x double>"))

    return emit


def _truncate(sign: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        value = pop(f, "<4 x float>")
        push(f, "<4 x i32>", f.let(f"call <4 x i32> @llvm.fpto{sign}i.sat.v4i32.v4f32(<4 x float> {value})"))

    return emit


def _truncate_zero(sign: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        value = pop(f, "<2 x double>")
        low = f.let(f"call <2 x i32> @llvm.fpto{sign}i.sat.v2i32.v2f64(<2 x double> {value})")
        push(f, "<4 x i32>", shuffle(f, "<2 x i32>", low, "zeroinitializer", range(4)))

    return emit


@emits("f32x4.demote_f64x2_zero")
def _demote(f: Emitter, imm: Any) -> None:
    low = f.let(f"fptrunc <2 x double> {pop(f, '<2 x double>')} to <2 x float>")
    push(f, "<4 x float>", shuffle(f, "<2 x float>", low, "zeroinitializer", range(4)))


@emits("f64x2.promote_low_f32x4")
def _promote(f: Emitter, imm: Any) -> None:
    low = shuffle(f, "<4 x float>", pop(f, "<4 x float>"), "poison", (0, 1))
    value = f.let(f"fpext <2 x float> {low} to <2 x double>")
    push(f, "<2 x double>", hide(f, "<2 x double>", value))


def _register_conversions() -> None:
    for sign in "su":
        register(f"f32x4.convert_i32x4_{sign}", _convert(sign))
        register(f"f64x2.convert_low_i32x4_{sign}", _convert_low(sign))
        register(f"i32x4.trunc_sat_f32x4_{sign}", _truncate(sign))
        register(f"i32x4.relaxed_trunc_f32x4_{sign}", _truncate(sign))
        register(f"i32x4.trunc_sat_f64x2_{sign}_zero", _truncate_zero(sign))
        register(f"i32x4.relaxed_trunc_f64x2_{sign}_zero", _truncate_zero(sign))


_register_conversions()
