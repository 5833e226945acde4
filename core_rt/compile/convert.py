"""Conversions between number types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.handlers import Emit, emits, register
from core_rt.compile.numeric import float32, float64, hide, unary
from core_rt.errors import TrapCode

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

_LLTYPE: Final = {"f32": "float", "f64": "double"}

# Exclusive bounds of what truncates into range, as bits. Where `least - 1` is no float the bound is inclusive (`oge`).
_BOUNDS: Final[dict[tuple[str, str, str], tuple[str, str, str]]] = {
    ("i32", "s", "f32"): ("oge", float32(0xCF00_0000), float32(0x4F00_0000)),  # -2^31, 2^31
    ("i32", "u", "f32"): ("ogt", float32(0xBF80_0000), float32(0x4F80_0000)),  # -1, 2^32
    ("i32", "s", "f64"): ("ogt", float64(0xC1E0_0000_0020_0000), float64(0x41E0_0000_0000_0000)),  # -2^31 - 1, 2^31
    ("i32", "u", "f64"): ("ogt", float64(0xBFF0_0000_0000_0000), float64(0x41F0_0000_0000_0000)),  # -1, 2^32
    ("i64", "s", "f32"): ("oge", float32(0xDF00_0000), float32(0x5F00_0000)),  # -2^63, 2^63
    ("i64", "u", "f32"): ("ogt", float32(0xBF80_0000), float32(0x5F80_0000)),  # -1, 2^64
    ("i64", "s", "f64"): ("oge", float64(0xC3E0_0000_0000_0000), float64(0x43E0_0000_0000_0000)),  # -2^63, 2^63
    ("i64", "u", "f64"): ("ogt", float64(0xBFF0_0000_0000_0000), float64(0x43F0_0000_0000_0000)),  # -1, 2^64
}


def _trunc(t: str, sign: str, source: str) -> Emit:
    order, low, high = _BOUNDS[t, sign, source]
    lltype = _LLTYPE[source]

    def emit(f: Emitter, imm: Any) -> None:
        a = f.stack.pop()
        above = f.let(f"fcmp {order} {lltype} {a}, {low}")
        below = f.let(f"fcmp olt {lltype} {a}, {high}")
        fits = f.let(f"and i1 {above}, {below}")
        bad = f.new_block("t")
        then = f.new_block()
        nan, overflow = TrapCode.BAD_CONVERSION_TO_INTEGER << 32, TrapCode.INTEGER_OVERFLOW << 32
        f.cold += [
            f"{bad}:",
            f"%{bad}.n = fcmp uno {lltype} {a}, {a}",
            f"%{bad}.c = select i1 %{bad}.n, i64 {nan | f.offset}, i64 {overflow | f.offset}",
            "br label %trap",
        ]
        f.traps.append((bad, f"%{bad}.c"))
        f.out(f"br i1 {fits}, label %{then}, label %{bad}")
        f.place(then)
        f.push(f"fpto{sign}i {lltype} {a} to {t}")

    return emit


def _register() -> None:
    for t in ("i32", "i64"):
        for source, lltype in _LLTYPE.items():
            for sign in "su":
                register(f"{t}.trunc_{source}_{sign}", _trunc(t, sign, source))
                saturate = f"call {t} @llvm.fpto{sign}i.sat.{t}.{source}({lltype}"
                register(f"{t}.trunc_sat_{source}_{sign}", unary(saturate, ")"))
                register(f"{source}.convert_{t}_{sign}", unary(f"{sign}itofp {t}", f" to {lltype}"))
    register("i32.wrap_i64", unary("trunc i64", " to i32"))
    register("i64.extend_i32_s", unary("sext i32", " to i64"))
    register("i64.extend_i32_u", unary("zext i32", " to i64"))
    register("f32.demote_f64", unary("fptrunc double", " to float"))
    register("i32.reinterpret_f32", unary("bitcast float", " to i32"))
    register("i64.reinterpret_f64", unary("bitcast double", " to i64"))
    register("f32.reinterpret_i32", unary("bitcast i32", " to float"))
    register("f64.reinterpret_i64", unary("bitcast i64", " to double"))


_register()


@emits("f64.promote_f32")
def _promote(f: Emitter, imm: Any) -> None:
    value = f.let(f"fpext float {f.stack.pop()} to double")
    # LLVM takes demote(promote(x)) for x, which leaves a signalling NaN signalling; quick code generation does not.
    f.stack.append(hide(f, "double", value) if f.unit.optimised else value)
