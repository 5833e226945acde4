"""The instruction set as one table. Decoder, validator and emitters read the same rows.

`code` combines prefix and sub-opcode: a one-byte instruction is its byte, a prefixed one is `prefix << 12 | sub`
(`0xFC00A` is `memory.copy`).

A line of the table reads `first-code immediate signature mnemonic...`; the mnemonics take consecutive codes (`_` leaves
one out). A line `[family proposal]` holds for the lines below it; proposal `-` is always there.

Signatures are `parameters:results`, one letter a type: `i` i32, `I` i64, `f` f32, `F` f64, `v` v128, `a` the
address type of the memory that the immediate names. `@` means that the rule depends on immediates, context or stack:
such a mnemonic has a rule of its own in `core_rt.validate` (`control`, `storage` or `reference`).

Immediates (kind → what an instruction record holds):

==============  =====================================================================================================
none            None (`select`: the operands' type)
index kinds     `func table memory global local label tag type data elem`: int
i32 i64         int, signed
f32 f64 v128    int, the unsigned bits
memN            `(align_log2, offset, memory)`; N is the natural alignment (log2 of the bytes accessed)
atomicN         the same; the alignment must be natural
lanememN        `(align_log2, offset, memory, lane)`
laneN           int, a lane below N
shuffle         tuple of 16 lanes
block           `(params, results, assigned)`; more for try_table and some loops, see `core_rt.validate.function`
other           a kind of its own, described in `core_rt.validate.function`
==============  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from core_rt.record import record

__all__ = ["BY_CODE", "BY_NAME", "OPCODES", "PREFIXES", "Opcode"]

PREFIXES: Final = frozenset({0xFB, 0xFC, 0xFD, 0xFE})


@record
class Opcode:
    """One instruction. `params` and `results` are None where the signature is `@`."""

    code: int
    mnemonic: str
    immediate: str
    """The kind without its number."""
    number: int
    """The number in the kind: natural alignment (log2) or count of lanes; else 0."""
    params: str | None
    results: str | None
    family: str
    proposal: str | None
    """The field of `Features` that it needs."""

    @property
    def width(self) -> int:
        """Bytes of memory that a memory instruction accesses."""
        return 1 << self.number


_TABLE: Final = """
[control -]
00 none @ unreachable
01 none : nop
02 block @ block loop if
05 none @ else
0b none @ end
0c label @ br br_if
0e labels @ br_table
0f none @ return
10 func @ call
11 indirect @ call_indirect
[control tail_call]
12 func @ return_call
13 indirect @ return_call_indirect
[control function_references]
14 type @ call_ref
15 type @ return_call_ref
d5 label @ br_on_null br_on_non_null
[exception exceptions]
08 tag @ throw
0a none @ throw_ref
1f try @ try_table
[parametric -]
1a none @ drop select
[parametric reference_types]
1c select @ select
[variable -]
20 local @ local.get local.set local.tee
23 global @ global.get global.set
[table reference_types]
25 table @ table.get table.set
fc00f table @ table.grow table.size table.fill
[table bulk_memory]
fc00c elemtable @ table.init
fc00d elem @ elem.drop
fc00e tables @ table.copy

[memory -]
28 mem2 a:i i32.load
29 mem3 a:I i64.load
2a mem2 a:f f32.load
2b mem3 a:F f64.load
2c mem0 a:i i32.load8_s i32.load8_u
2e mem1 a:i i32.load16_s i32.load16_u
30 mem0 a:I i64.load8_s i64.load8_u
32 mem1 a:I i64.load16_s i64.load16_u
34 mem2 a:I i64.load32_s i64.load32_u
36 mem2 ai: i32.store
37 mem3 aI: i64.store
38 mem2 af: f32.store
39 mem3 aF: f64.store
3a mem0 ai: i32.store8
3b mem1 ai: i32.store16
3c mem0 aI: i64.store8
3d mem1 aI: i64.store16
3e mem2 aI: i64.store32
3f memory @ memory.size memory.grow
[memory bulk_memory]
fc008 datamem @ memory.init
fc009 data @ data.drop
fc00a mems @ memory.copy
fc00b memory @ memory.fill

[const -]
41 i32 :i i32.const
42 i64 :I i64.const
43 f32 :f f32.const
44 f64 :F f64.const

[compare -]
45 none i:i i32.eqz
46 none ii:i i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u
50 none I:i i64.eqz
51 none II:i i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u
5b none ff:i f32.eq f32.ne f32.lt f32.gt f32.le f32.ge
61 none FF:i f64.eq f64.ne f64.lt f64.gt f64.le f64.ge
[numeric -]
67 none i:i i32.clz i32.ctz i32.popcnt
6a none ii:i i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u
71 none ii:i i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr
79 none I:I i64.clz i64.ctz i64.popcnt
7c none II:I i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u
83 none II:I i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr
8b none f:f f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt
92 none ff:f f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign
99 none F:F f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt
a0 none FF:F f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign
[numeric sign_extension]
c0 none i:i i32.extend8_s i32.extend16_s
c2 none I:I i64.extend8_s i64.extend16_s i64.extend32_s
[numeric wide_arithmetic]
fc013 none IIII:II i64.add128 i64.sub128
fc015 none II:II i64.mul_wide_s i64.mul_wide_u
[convert -]
a7 none I:i i32.wrap_i64
a8 none f:i i32.trunc_f32_s i32.trunc_f32_u
aa none F:i i32.trunc_f64_s i32.trunc_f64_u
ac none i:I i64.extend_i32_s i64.extend_i32_u
ae none f:I i64.trunc_f32_s i64.trunc_f32_u
b0 none F:I i64.trunc_f64_s i64.trunc_f64_u
b2 none i:f f32.convert_i32_s f32.convert_i32_u
b4 none I:f f32.convert_i64_s f32.convert_i64_u
b6 none F:f f32.demote_f64
b7 none i:F f64.convert_i32_s f64.convert_i32_u
b9 none I:F f64.convert_i64_s f64.convert_i64_u
bb none f:F f64.promote_f32
bc none f:i i32.reinterpret_f32
bd none F:I i64.reinterpret_f64
be none i:f f32.reinterpret_i32
bf none I:F f64.reinterpret_i64
[convert saturating_float_to_int]
fc000 none f:i i32.trunc_sat_f32_s i32.trunc_sat_f32_u
fc002 none F:i i32.trunc_sat_f64_s i32.trunc_sat_f64_u
fc004 none f:I i64.trunc_sat_f32_s i64.trunc_sat_f32_u
fc006 none F:I i64.trunc_sat_f64_s i64.trunc_sat_f64_u

[reference reference_types]
d0 heap @ ref.null
d1 none @ ref.is_null
d2 func @ ref.func
[reference function_references]
d4 none @ ref.as_non_null
[reference gc]
d3 none @ ref.eq
fb014 heap @ ref.test ref.test_null ref.cast ref.cast_null
fb018 cast @ br_on_cast br_on_cast_fail
[gc gc]
fb000 type @ struct.new struct.new_default
fb002 field @ struct.get struct.get_s struct.get_u struct.set
fb006 type @ array.new array.new_default
fb008 typecount @ array.new_fixed
fb009 typedata @ array.new_data
fb00a typeelem @ array.new_elem
fb00b type @ array.get array.get_s array.get_u array.set
fb00f none @ array.len
fb010 type @ array.fill
fb011 types @ array.copy
fb012 typedata @ array.init_data
fb013 typeelem @ array.init_elem
fb01a none @ any.convert_extern extern.convert_any
fb01c none @ ref.i31 i31.get_s i31.get_u

[simd_memory simd]
fd000 mem4 a:v v128.load
fd001 mem3 a:v v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u v128.load32x2_s v128.load32x2_u
fd007 mem0 a:v v128.load8_splat
fd008 mem1 a:v v128.load16_splat
fd009 mem2 a:v v128.load32_splat
fd00a mem3 a:v v128.load64_splat
fd00b mem4 av: v128.store
fd054 lanemem0 av:v v128.load8_lane
fd055 lanemem1 av:v v128.load16_lane
fd056 lanemem2 av:v v128.load32_lane
fd057 lanemem3 av:v v128.load64_lane
fd058 lanemem0 av: v128.store8_lane
fd059 lanemem1 av: v128.store16_lane
fd05a lanemem2 av: v128.store32_lane
fd05b lanemem3 av: v128.store64_lane
fd05c mem2 a:v v128.load32_zero
fd05d mem3 a:v v128.load64_zero
[simd_const simd]
fd00c v128 :v v128.const
[simd_lane simd]
fd00d shuffle vv:v i8x16.shuffle
fd00e none vv:v i8x16.swizzle
fd00f none i:v i8x16.splat i16x8.splat i32x4.splat
fd012 none I:v i64x2.splat
fd013 none f:v f32x4.splat
fd014 none F:v f64x2.splat
fd015 lane16 v:i i8x16.extract_lane_s i8x16.extract_lane_u
fd017 lane16 vi:v i8x16.replace_lane
fd018 lane8 v:i i16x8.extract_lane_s i16x8.extract_lane_u
fd01a lane8 vi:v i16x8.replace_lane
fd01b lane4 v:i i32x4.extract_lane
fd01c lane4 vi:v i32x4.replace_lane
fd01d lane2 v:I i64x2.extract_lane
fd01e lane2 vI:v i64x2.replace_lane
fd01f lane4 v:f f32x4.extract_lane
fd020 lane4 vf:v f32x4.replace_lane
fd021 lane2 v:F f64x2.extract_lane
fd022 lane2 vF:v f64x2.replace_lane
[simd_compare simd]
fd023 none vv:v i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u
fd029 none vv:v i8x16.le_s i8x16.le_u i8x16.ge_s i8x16.ge_u
fd02d none vv:v i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u
fd033 none vv:v i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u
fd037 none vv:v i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u
fd03d none vv:v i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u
fd041 none vv:v f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge
fd047 none vv:v f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge
fd0d6 none vv:v i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s
[simd_bits simd]
fd04d none v:v v128.not
fd04e none vv:v v128.and v128.andnot v128.or v128.xor
fd052 none vvv:v v128.bitselect
fd053 none v:i v128.any_true
fd063 none v:i i8x16.all_true i8x16.bitmask
fd083 none v:i i16x8.all_true i16x8.bitmask
fd0a3 none v:i i32x4.all_true i32x4.bitmask
fd0c3 none v:i i64x2.all_true i64x2.bitmask
[simd_convert simd]
fd05e none v:v f32x4.demote_f64x2_zero f64x2.promote_low_f32x4
fd065 none vv:v i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u
fd085 none vv:v i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u
fd087 none v:v i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u
fd0a7 none v:v i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u
fd0c7 none v:v i64x2.extend_low_i32x4_s i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u
fd0f8 none v:v i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u
fd0fc none v:v i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero
fd0fe none v:v f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u
[simd_integer simd]
fd060 none v:v i8x16.abs i8x16.neg i8x16.popcnt
fd06b none vi:v i8x16.shl i8x16.shr_s i8x16.shr_u
fd06e none vv:v i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u
fd076 none vv:v i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u _ i8x16.avgr_u
fd07c none v:v i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u
fd07e none v:v i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u
fd080 none v:v i16x8.abs i16x8.neg
fd082 none vv:v i16x8.q15mulr_sat_s
fd08b none vi:v i16x8.shl i16x8.shr_s i16x8.shr_u
fd08e none vv:v i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u _ i16x8.mul
fd096 none vv:v i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u _ i16x8.avgr_u
fd09c none vv:v i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u
fd0a0 none v:v i32x4.abs i32x4.neg
fd0ab none vi:v i32x4.shl i32x4.shr_s i32x4.shr_u
fd0ae none vv:v i32x4.add _ _ i32x4.sub _ _ _ i32x4.mul
fd0b6 none vv:v i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s
fd0bc none vv:v i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u
fd0c0 none v:v i64x2.abs i64x2.neg
fd0cb none vi:v i64x2.shl i64x2.shr_s i64x2.shr_u
fd0ce none vv:v i64x2.add _ _ i64x2.sub _ _ _ i64x2.mul
fd0dc none vv:v i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u
[simd_float simd]
fd067 none v:v f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest
fd074 none v:v f64x2.ceil f64x2.floor
fd07a none v:v f64x2.trunc
fd094 none v:v f64x2.nearest
fd0e0 none v:v f32x4.abs f32x4.neg _ f32x4.sqrt
fd0e4 none vv:v f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax
fd0ec none v:v f64x2.abs f64x2.neg _ f64x2.sqrt
fd0f0 none vv:v f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax
[simd_relaxed relaxed_simd]
fd100 none vv:v i8x16.relaxed_swizzle
fd101 none v:v i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u
fd103 none v:v i32x4.relaxed_trunc_f64x2_s_zero i32x4.relaxed_trunc_f64x2_u_zero
fd105 none vvv:v f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd
fd109 none vvv:v i8x16.relaxed_laneselect i16x8.relaxed_laneselect i32x4.relaxed_laneselect i64x2.relaxed_laneselect
fd10d none vv:v f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min f64x2.relaxed_max
fd111 none vv:v i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s
fd113 none vvv:v i32x4.relaxed_dot_i8x16_i7x16_add_s

[atomic threads]
fe000 atomic2 ai:i memory.atomic.notify
fe001 atomic2 aiI:i memory.atomic.wait32
fe002 atomic3 aII:i memory.atomic.wait64
fe003 fence : atomic.fence
fe010 atomic2 a:i i32.atomic.load
fe011 atomic3 a:I i64.atomic.load
fe012 atomic0 a:i i32.atomic.load8_u
fe013 atomic1 a:i i32.atomic.load16_u
fe014 atomic0 a:I i64.atomic.load8_u
fe015 atomic1 a:I i64.atomic.load16_u
fe016 atomic2 a:I i64.atomic.load32_u
fe017 atomic2 ai: i32.atomic.store
fe018 atomic3 aI: i64.atomic.store
fe019 atomic0 ai: i32.atomic.store8
fe01a atomic1 ai: i32.atomic.store16
fe01b atomic0 aI: i64.atomic.store8
fe01c atomic1 aI: i64.atomic.store16
fe01d atomic2 aI: i64.atomic.store32
"""

# The seven widths of a read-modify-write instruction, in the order of their codes.
_RMW: Final = (
    ("atomic2", "i", "i32.atomic.rmw.{}"),
    ("atomic3", "I", "i64.atomic.rmw.{}"),
    ("atomic0", "i", "i32.atomic.rmw8.{}_u"),
    ("atomic1", "i", "i32.atomic.rmw16.{}_u"),
    ("atomic0", "I", "i64.atomic.rmw8.{}_u"),
    ("atomic1", "I", "i64.atomic.rmw16.{}_u"),
    ("atomic2", "I", "i64.atomic.rmw32.{}_u"),
)


def _atomic_rmw() -> Iterator[str]:
    code = 0xFE01E
    for operation in ("add", "sub", "and", "or", "xor", "xchg", "cmpxchg"):
        for kind, letter, name in _RMW:
            operands = letter * (2 if operation == "cmpxchg" else 1)
            yield f"{code:x} {kind} a{operands}:{letter} {name.format(operation)}"
            code += 1


def _rows() -> Iterator[Opcode]:
    family, proposal = "", "-"
    for line in [*_TABLE.split("\n"), *_atomic_rmw()]:
        if line.startswith("["):
            family, proposal = line[1:-1].split()
        elif line:
            first, kind, signature, *names = line.split()
            # "i32" and the like are whole names; every other digit at the end is the kind's number.
            named = kind if kind in ("i32", "i64", "f32", "f64", "v128") else kind.rstrip("0123456789")
            number = int(kind[len(named) :] or 0)
            params, colon, results = signature.partition(":")
            for code, name in enumerate(names, int(first, 16)):
                if name != "_":
                    yield Opcode(
                        code,
                        name,
                        named,
                        number,
                        params if colon else None,
                        results if colon else None,
                        family,
                        None if proposal == "-" else proposal,
                    )


OPCODES: Final[tuple[Opcode, ...]] = tuple(sorted(_rows(), key=lambda row: row.code))
"""All rows by code."""

BY_CODE: Final[dict[int, Opcode]] = {row.code: row for row in OPCODES}

BY_NAME: Final[dict[str, Opcode]] = {row.mnemonic: row for row in reversed(OPCODES)}
"""By mnemonic. `select` is the untyped one (0x1b), `block`-like names the plain instruction."""
