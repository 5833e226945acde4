"""Constants, comparisons, arithmetic.

Floats: LLVM assumes the default floating-point environment and may drop an operation that it takes for an identity, which
also drops the quieting of a NaN that wasm demands (`x * 1.0`, `x - 0.0`; also `-0.0 - x`, which it takes for a
negation). So in optimised code constants with such identities, and NaNs, are hidden behind an empty `asm`. abs, neg and
copysign are bit operations in both worlds. Quick code needs it where such a constant meets arithmetic directly: the code
generator folds those.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.handlers import Emit, emits, register
from core_rt.errors import TrapCode

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

_F32: Final = struct.Struct("<f")
_F64: Final = struct.Struct("<d")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")

_HIDDEN32: Final = frozenset((0x0000_0000, 0x8000_0000, 0x3F80_0000, 0xBF80_0000))
_HIDDEN64: Final = frozenset((0, 1 << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000))


# ------------------------------------------------------------------------------------------------------ constants


@emits("i32.const", "i64.const")
def _integer(f: Emitter, imm: int) -> None:
    f.stack.append(str(imm))


def float32(bits: int) -> str:
    """An f32 constant in LLVM text. LLVM writes a float as the double of the same value; a NaN goes by its bits."""
    if bits & 0x7F80_0000 == 0x7F80_0000 and bits & 0x7F_FFFF:
        return f"bitcast (i32 {bits} to float)"
    (value,) = _F32.unpack(_U32.pack(bits))
    return f"0x{_U64.unpack(_F64.pack(value))[0]:016X}"


def float64(bits: int) -> str:
    """An f64 constant in LLVM text."""
    return f"0x{bits:016X}"


def hide(f: Emitter, lltype: str, value: str) -> str:
    """The value, such that LLVM does not know where it comes from."""
    return f.let(f'call {lltype} asm "", "={f.unit.float_register},0"({lltype} {value})')


@emits("f32.const")
def _f32_const(f: Emitter, bits: int) -> None:
    text = float32(bits)
    if f.unit.optimised and (bits in _HIDDEN32 or text[0] == "b"):
        text = hide(f, "float", text)
    f.stack.append(text)


@emits("f64.const")
def _f64_const(f: Emitter, bits: int) -> None:
    text = float64(bits)
    if f.unit.optimised and (bits in _HIDDEN64 or bits & ~(1 << 63) > 0x7FF0_0000_0000_0000):
        text = hide(f, "double", text)
    f.stack.append(text)


# ------------------------------------------------------------------------------------------------------ generic shapes


def binary(text: str) -> Emit:
    """`text a, b`"""

    def emit(f: Emitter, imm: Any) -> None:
        stack = f.stack
        b = stack.pop()
        f.n = n = f.n + 1
        f.out(f"%{n} = {text} {stack[-1]}, {b}")
        stack[-1] = f"%{n}"

    return emit


def unary(before: str, after: str = "") -> Emit:
    """`before a after`"""

    def emit(f: Emitter, imm: Any) -> None:
        stack = f.stack
        f.n = n = f.n + 1
        f.out(f"%{n} = {before} {stack[-1]}{after}")
        stack[-1] = f"%{n}"

    return emit


def compare(text: str) -> Emit:
    """A comparison: an i1, seen as i32."""

    def emit(f: Emitter, imm: Any) -> None:
        stack = f.stack
        b = stack.pop()
        f.n = n = f.n + 2
        f.bool_bit = bit = f"%{n - 1}"
        f.out(f"{bit} = {text} {stack[-1]}, {b}")
        f.bool_value = stack[-1] = value = f"%{n}"
        f.out(f"{value} = zext i1 {bit} to i32")
        f.bool_line = len(f.lines)

    return emit


# ------------------------------------------------------------------------------------------------------ integers


def _division(width: int, kind: str) -> Emit:
    t = f"i{width}"
    least = -1 << (width - 1)

    def emit(f: Emitter, imm: Any) -> None:
        b = f.stack.pop()
        a = f.stack.pop()
        constant = b[0] != "%" and b not in ("0", "-1")
        if not constant:
            f.trap_if(f.let(f"icmp eq {t} {b}, 0"), TrapCode.INTEGER_DIVISION_BY_ZERO)
            if kind == "sdiv":
                overflow = f.let(f"icmp eq {t} {a}, {least}")
                minus_one = f.let(f"icmp eq {t} {b}, -1")
                f.trap_if(f.let(f"and i1 {overflow}, {minus_one}"), TrapCode.INTEGER_OVERFLOW)
            elif (
                kind == "srem"
            ):  # the remainder of a division by -1 is 0, but the machine would fault for the least number
                minus_one = f.let(f"icmp eq {t} {b}, -1")
                b = f.let(f"select i1 {minus_one}, {t} 1, {t} {b}")
        f.push(f"{kind} {t} {a}, {b}")

    return emit


def _shift(width: int, kind: str) -> Emit:
    t = f"i{width}"

    def emit(f: Emitter, imm: Any) -> None:
        b = f.stack.pop()
        # LLVM's shifts by the width or more are undefined; wasm takes the count modulo the width.
        b = f.let(f"and {t} {b}, {width - 1}") if b[0] == "%" else str(int(b) & (width - 1))
        f.push(f"{kind} {t} {f.stack.pop()}, {b}")

    return emit


def _rotate(width: int, direction: str) -> Emit:
    t = f"i{width}"

    def emit(f: Emitter, imm: Any) -> None:
        b = f.stack.pop()
        a = f.stack.pop()
        f.push(f"call {t} @llvm.fsh{direction}.{t}({t} {a}, {t} {a}, {t} {b})")

    return emit


def _sign_extend(width: int, low: int) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        f.push(f"sext i{low} {f.let(f'trunc i{width} {f.stack.pop()} to i{low}')} to i{width}")

    return emit


def _eqz(width: int) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        a = f.stack.pop()
        if width == 32 and a == f.bool_value:
            f.push_bool(f.let(f"xor i1 {f.condition(a)}, true"))
        else:
            f.push_bool(f.let(f"icmp eq i{width} {a}, 0"))

    return emit


def _register_integers() -> None:
    orders = {"eq": "eq", "ne": "ne"}
    orders |= {f"{o}_{s}": f"{s}{o}" for o in ("lt", "gt", "le", "ge") for s in "su"}
    for width in (32, 64):
        t = f"i{width}"
        register(f"{t}.eqz", _eqz(width))
        for name, order in orders.items():
            register(f"{t}.{name}", compare(f"icmp {order} {t}"))
        for name in ("add", "sub", "mul", "and", "or", "xor"):
            register(f"{t}.{name}", binary(f"{name} {t}"))
        for name, kind in (("div_s", "sdiv"), ("div_u", "udiv"), ("rem_s", "srem"), ("rem_u", "urem")):
            register(f"{t}.{name}", _division(width, kind))
        for name, kind in (("shl", "shl"), ("shr_s", "ashr"), ("shr_u", "lshr")):
            register(f"{t}.{name}", _shift(width, kind))
        register(f"{t}.rotl", _rotate(width, "l"))
        register(f"{t}.rotr", _rotate(width, "r"))
        register(f"{t}.clz", unary(f"call {t} @llvm.ctlz.{t}({t}", ", i1 false)"))
        register(f"{t}.ctz", unary(f"call {t} @llvm.cttz.{t}({t}", ", i1 false)"))
        register(f"{t}.popcnt", unary(f"call {t} @llvm.ctpop.{t}({t}", ")"))
        for low in (8, 16, 32):
            if low < width:
                register(f"{t}.extend{low}_s", _sign_extend(width, low))


_register_integers()


# ------------------------------------------------------------------------------------------------------ floats


_IDENTITIES: Final = {
    "float": frozenset({"0.0", *map(float32, _HIDDEN32)}),
    "double": frozenset({"0.0", *map(float64, _HIDDEN64)}),
}


def _arithmetic(text: str, lltype: str) -> Emit:
    identities = _IDENTITIES[lltype]

    def emit(f: Emitter, imm: Any) -> None:
        stack = f.stack
        b = stack.pop()
        if b in identities:
            b = hide(f, lltype, b)
        a = stack[-1]
        if a in identities:
            a = hide(f, lltype, a)
        f.n = n = f.n + 1
        f.out(f"%{n} = {text} {lltype} {a}, {b}")
        stack[-1] = f"%{n}"

    return emit


def _extreme(lltype: str, suffix: str, which: str) -> Emit:
    """min and max. `llvm.minimum` orders zeros as wasm does, but does not promise a quiet NaN: a sum does."""

    def emit(f: Emitter, imm: Any) -> None:
        b = f.stack.pop()
        a = f.stack.pop()
        unordered = f.let(f"fcmp uno {lltype} {a}, {b}")
        nan = f.let(f"fadd {lltype} {a}, {b}")
        number = f.let(f"call nnan {lltype} @llvm.{which}imum.{suffix}({lltype} {a}, {lltype} {b})")
        f.push(f"select i1 {unordered}, {lltype} {nan}, {lltype} {number}")

    return emit


def _abs(lltype: str, suffix: str, width: int) -> Emit:
    """Quick code generation has no `fabs` of its own: leaving it to the other selector takes ten times as long as three instructions."""
    quick = f"and i{width} {{}}, {(1 << (width - 1)) - 1}"

    def emit(f: Emitter, imm: Any) -> None:
        value = f.stack.pop()
        if f.unit.optimised:
            f.push(f"call {lltype} @llvm.fabs.{suffix}({lltype} {value})")
        else:
            bits = f.let(quick.format(f.let(f"bitcast {lltype} {value} to i{width}")))
            f.push(f"bitcast i{width} {bits} to {lltype}")

    return emit


def _copysign(lltype: str, suffix: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        b = f.stack.pop()
        f.push(f"call {lltype} @llvm.copysign.{suffix}({lltype} {f.stack.pop()}, {lltype} {b})")

    return emit


def _register_floats() -> None:
    for t, lltype, width in (("f32", "float", 32), ("f64", "double", 64)):
        for name, order in (("eq", "oeq"), ("ne", "une"), ("lt", "olt"), ("gt", "ogt"), ("le", "ole"), ("ge", "oge")):
            register(f"{t}.{name}", compare(f"fcmp {order} {lltype}"))
        for name in ("add", "sub", "mul", "div"):
            register(f"{t}.{name}", _arithmetic(f"f{name}", lltype))
        register(f"{t}.neg", unary(f"fneg {lltype}"))
        register(f"{t}.abs", _abs(lltype, t, width))
        calls = {
            "ceil": "ceil",
            "floor": "floor",
            "trunc": "trunc",
            "nearest": "roundeven",
            "sqrt": "sqrt",
        }
        for name, intrinsic in calls.items():
            register(f"{t}.{name}", unary(f"call {lltype} @llvm.{intrinsic}.{t}({lltype}", ")"))
        register(f"{t}.min", _extreme(lltype, t, "min"))
        register(f"{t}.max", _extreme(lltype, t, "max"))
        register(f"{t}.copysign", _copysign(lltype, t))


_register_floats()


# ------------------------------------------------------------------------------------------------------ wide arithmetic


def _join(f: Emitter) -> str:
    """Pop the high and the low half of an i128."""
    high = f.let(f"zext i64 {f.stack.pop()} to i128")
    low = f.let(f"zext i64 {f.stack.pop()} to i128")
    return f.let(f"or i128 {low}, {f.let(f'shl i128 {high}, 64')}")


def _split(f: Emitter, value: str) -> None:
    f.push(f"trunc i128 {value} to i64")
    f.push(f"trunc i128 {f.let(f'lshr i128 {value}, 64')} to i64")


@emits("i64.add128")
def _add128(f: Emitter, imm: Any) -> None:
    b = _join(f)
    _split(f, f.let(f"add i128 {_join(f)}, {b}"))


@emits("i64.sub128")
def _sub128(f: Emitter, imm: Any) -> None:
    b = _join(f)
    _split(f, f.let(f"sub i128 {_join(f)}, {b}"))


def _mul_wide(extend: str) -> Emit:
    def emit(f: Emitter, imm: Any) -> None:
        b = f.let(f"{extend} i64 {f.stack.pop()} to i128")
        a = f.let(f"{extend} i64 {f.stack.pop()} to i128")
        _split(f, f.let(f"mul i128 {a}, {b}"))

    return emit


register("i64.mul_wide_s", _mul_wide("sext"))
register("i64.mul_wide_u", _mul_wide("zext"))
