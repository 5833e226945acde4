"""Random valid modules whose every result is determined by the specification.

Theory of operation. Each function is grown as statements and typed expressions from a seeded generator. Three rules
keep runs comparable between engines:
- every loop head and function entry takes one from a budget in global 0 and leaves when it is used up, so that all
  runs end, after the same steps everywhere;
- the bits of a NaN that arithmetic makes are replaced by the canonical ones at once, so that they cannot leak through
  memory or reinterpretation;
- nothing exhausts the stack, grows a memory past its maximum with a result that a host may choose, or looks at time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs

from .encoding import MAGIC, function_type, leb, section, signed_leb, text, vector
from .families import Exceptions, Family, References
from .memories import Memories
from .operators import (
    BY_RESULT,
    F32,
    F64,
    I32,
    I64,
    LANE_ACCESSES,
    LOADS,
    STORES,
    V128,
    VECTOR_BY_RESULT,
    VECTOR_LOADS,
    Operator,
)
from .shapes import Shapes
from .transfers import Transfers

__all__ = ["BUDGET", "Generated", "generate"]

FUNCREF, VOID = 0x70, 0x40
BUDGET = 400
PAGES, MOST_PAGES = 1, 3
TABLE_SIZE = 8

_CANONICAL = {F32: b"\x43" + (0x7FC0_0000).to_bytes(4, "little"), F64: b"\x44" + (0x7FF8 << 48).to_bytes(8, "little")}
_CANONICAL_LANES = {
    b"\xfd\x41": (0x7FC0_0000).to_bytes(4, "little") * 4,
    b"\xfd\x47": (0x7FF8 << 48).to_bytes(8, "little") * 2,
}
_EQUAL = {F32: b"\x5b", F64: b"\x61"}
_I32_EDGES = (0, 1, -1, 2, 7, 31, 32, 255, 256, 65535, 65536, 0x7FFF_FFFF, -0x8000_0000, 0x5555_5555)
_I64_EDGES = (*_I32_EDGES, 63, 64, 1 << 32, (1 << 63) - 1, -(1 << 63), 0x0123_4567_89AB_CDEF)
_F32_EDGES = (0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7FA0_0000, 1,
              0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x4F80_0000, 0x5F00_0000, 0x3F00_0000,
              0x4B00_0001, 0x4EFF_FFFF)  # fmt: skip
_F64_EDGES = (0, 1 << 63, 0x3FF0 << 48, 0xBFF0 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0x7FF4 << 48, 1,
              (1 << 52) - 1, 1 << 52, 0x7FEF_FFFF_FFFF_FFFF, 0x41E0 << 48, 0xC1E0 << 48, 0x43E0 << 48, 0xC3E0 << 48,
              0x41DF_FFFF_FFC0_0000, 0x3FE0 << 48, 0x47EF_FFFF_E000_0000)  # fmt: skip


@attrs.frozen
class Signature:
    params: tuple[int, ...]
    results: tuple[int, ...]


@attrs.frozen
class Generated:
    """A module, and calls to make on it in order: export, its signature, raw arguments."""

    wasm: bytes
    calls: tuple[tuple[str, Signature, tuple[int, ...]], ...]


def edge(rng: random.Random, kind: int) -> int:
    """A raw (unsigned) value, mostly one at which something changes."""
    match kind:
        case 0x7F:
            return (rng.choice(_I32_EDGES) if rng.random() < 0.7 else rng.getrandbits(32)) & 0xFFFF_FFFF
        case 0x7E:
            return (rng.choice(_I64_EDGES) if rng.random() < 0.7 else rng.getrandbits(64)) & (1 << 64) - 1
        case 0x7D:
            return rng.choice(_F32_EDGES) if rng.random() < 0.7 else rng.getrandbits(32)
        case 0x7C:
            return rng.choice(_F64_EDGES) if rng.random() < 0.7 else rng.getrandbits(64)
    return sum(edge(rng, I32) << 32 * lane for lane in range(4))


def constant(rng: random.Random, kind: int) -> bytes:
    raw = edge(rng, kind)
    match kind:
        case 0x7F:
            return b"\x41" + signed_leb(raw - (raw >> 31 << 32))
        case 0x7E:
            return b"\x42" + signed_leb(raw - (raw >> 63 << 64))
        case 0x7D:
            return b"\x43" + raw.to_bytes(4, "little")
        case 0x7C:
            return b"\x44" + raw.to_bytes(8, "little")
    return b"\xfd\x0c" + raw.to_bytes(16, "little")


@attrs.define
class _Module:
    """What functions may refer to."""

    rng: random.Random
    kinds: tuple[int, ...]
    types: list[Signature]
    functions: list[Signature]
    globals: list[int]
    families: list[Family]
    plain: bool = False
    """Only instructions that the interpreter knows: no references, no tail calls."""

    def type_index(self, signature: Signature) -> int:
        if signature not in self.types:
            self.types.append(signature)
        return sum(len(family.types) for family in self.families) + self.types.index(signature)

    def block_type(self, params: tuple[int, ...], results: tuple[int, ...]) -> bytes:
        if not params and len(results) <= 1:
            return bytes([results[0] if results else VOID])
        return signed_leb(self.type_index(Signature(params, results)))


class FunctionSource:
    """One body. `labels`: types that a branch to each enclosing label takes, innermost last; None for a loop's."""

    def __init__(self, module: _Module, index: int) -> None:
        self.module, self.rng, self.index = module, module.rng, index
        self.signature = module.functions[index]
        self.locals: list[int | bytes] = [*self.signature.params]
        self.references: dict[str, bytes] = {}
        """Where the locals of families lie."""
        self.labels: list[tuple[int, ...] | None] = [self.signature.results]
        self.size = 0
        self.scratch = {kind: self.new_local(kind) for kind in (F32, F64)}
        for _ in range(self.rng.randrange(1, 6)):
            self.new_local(self.rng.choice(module.kinds))

    def new_local(self, kind: int | bytes) -> int:
        """`kind`: the code of a number type, or a whole encoded type that plain code never touches."""
        self.locals.append(kind)
        return len(self.locals) - 1

    def local_of(self, kind: int) -> int | None:
        fits = [i for i, other in enumerate(self.locals) if other == kind and i not in self.scratch.values()]
        return self.rng.choice(fits) if fits else None

    # ---- expressions

    def expression(self, kind: int, depth: int) -> bytes:
        self.size += 1
        if depth <= 0 or self.size > 400:
            return self.leaf(kind)
        makers = (*[self.operator] * 4, self.leaf, self.load, self.tee, self.select, self.block, self.conditional,
                  self.loop, self.call, self.wide_block, self.memory_or_table)  # fmt: skip
        families = [make for family in self.module.families for make in family.expressions()]
        if families and self.rng.random() < 0.3:
            code = self.rng.choice(families)(self, kind, depth - 1)
        else:
            code = self.rng.choice(makers)(kind, depth - 1)
        return self.leaf(kind) if code is None else code

    def leaf(self, kind: int, depth: int = 0) -> bytes:
        pick = self.rng.random()
        local = self.local_of(kind)
        if pick < 0.5 and local is not None:
            return b"\x20" + leb(local)
        fits = [i for i, other in enumerate(self.module.globals) if other == kind and i > 0]
        if pick < 0.6 and fits:
            return b"\x23" + leb(self.rng.choice(fits))
        return constant(self.rng, kind)

    def operator(self, kind: int, depth: int) -> bytes:
        table = BY_RESULT
        if V128 in self.module.kinds and (kind == V128 or self.rng.random() < 0.2) and kind in VECTOR_BY_RESULT:
            table = VECTOR_BY_RESULT
        operator = self.rng.choice(table[kind])
        code = b"".join(self.expression(param, depth) for param in operator.params)
        if operator.traps and self.rng.random() < 0.9:
            code += self.tame(operator)
        code += operator.code
        if operator.equal:
            scratch = leb(self.new_local(bytes([V128])))  # which plain code never reads
            canonical = b"\xfd\x0c" + _CANONICAL_LANES[operator.equal]
            code += b"\x22" + scratch + canonical + (b"\x20" + scratch) * 2 + operator.equal + b"\xfd\x52"
        elif operator.makes_nan:
            scratch = leb(self.scratch[kind])
            code += b"\x22" + scratch + _CANONICAL[kind] + (b"\x20" + scratch) * 2 + _EQUAL[kind] + b"\x1b"
        return code

    def tame(self, operator: Operator) -> bytes:
        """Brings the last operand where the operator seldom traps, so that runs come further."""
        kind = operator.params[-1]
        if operator.traps == "divide":  # odd and positive: neither 0 nor -1
            one, mask = (
                (b"\x41\x01\x72", b"\x41\xff\xff\x00\x71")
                if kind == I32
                else (b"\x42\x01\x84", b"\x42\xff\xff\x00\x83")
            )
            return mask + one
        scratch = leb(self.scratch[kind])  # the operand if its magnitude is below 2^30, else 1
        absolute, below = (b"\x8b", b"\x5d") if kind == F32 else (b"\x99", b"\x63")
        bound = (
            b"\x43" + (0x4E80_0000).to_bytes(4, "little")
            if kind == F32
            else b"\x44" + (0x41D0 << 48).to_bytes(8, "little")
        )
        one = (
            b"\x43" + (0x3F80_0000).to_bytes(4, "little")
            if kind == F32
            else b"\x44" + (0x3FF0 << 48).to_bytes(8, "little")
        )
        positive = absolute + b"\x22" + scratch + one + b"\x20" + scratch + bound + below + b"\x1b"
        return positive

    def address(self, depth: int) -> bytes:
        code = self.expression(I32, depth)
        if self.rng.random() < 0.97:
            code += b"\x41" + signed_leb(0x7FFF) + b"\x71"  # within the first page
        return code

    def memory_argument(self, natural: int) -> bytes:
        offset = self.rng.choice((0, 0, 0, 1, 8, 100, 0x7000)) if self.rng.random() < 0.98 else 0xFFFF_FFFF
        return leb(self.rng.randrange(natural + 1)) + leb(offset)

    def load(self, kind: int, depth: int) -> bytes:
        if kind == V128:
            if self.rng.random() < 0.2:
                code, _, natural, lanes = self.rng.choice(LANE_ACCESSES)
                access = self.address(depth) + self.expression(V128, depth) + b"\xfd" + leb(code)
                return access + self.memory_argument(natural) + bytes([self.rng.randrange(lanes)])
            code, natural = self.rng.choice(VECTOR_LOADS)
            return self.address(depth) + b"\xfd" + leb(code) + self.memory_argument(natural)
        code, natural = self.rng.choice(LOADS[kind])
        return self.address(depth) + bytes([code]) + self.memory_argument(natural)

    def tee(self, kind: int, depth: int) -> bytes | None:
        local = self.local_of(kind)
        return None if local is None else self.expression(kind, depth) + b"\x22" + leb(local)

    def select(self, kind: int, depth: int) -> bytes:
        code = self.expression(kind, depth) + self.expression(kind, depth) + self.expression(I32, depth)
        return code + (b"\x1b" if self.rng.random() < 0.5 else b"\x1c\x01" + bytes([kind]))

    def body(self, results: tuple[int, ...], label: tuple[int, ...] | None, depth: int) -> bytes:
        """Statements, then the results, inside one more label."""
        self.labels.append(label)
        code = b"".join(self.statement(depth - 1) for _ in range(self.rng.randrange(3)))
        code += b"".join(self.expression(kind, depth - 1) for kind in results)
        self.labels.pop()
        return code

    def block(self, kind: int, depth: int) -> bytes:
        return b"\x02" + self.module.block_type((), (kind,)) + self.body((kind,), (kind,), depth) + b"\x0b"

    def conditional(self, kind: int, depth: int) -> bytes:
        code = self.expression(I32, depth) + b"\x04" + self.module.block_type((), (kind,))
        return code + self.body((kind,), (kind,), depth) + b"\x05" + self.body((kind,), (kind,), depth) + b"\x0b"

    def loop(self, kind: int, depth: int) -> bytes:
        """`block (loop (leave if the budget is used up) statements, maybe again) result`."""
        self.labels.append((kind,))
        head = b"\x02" + self.module.block_type((), (kind,)) + b"\x03" + self.module.block_type((), (kind,))
        self.labels.append(None)
        fallback = self.leaf(kind)
        code = spend() + b"\x04" + bytes([VOID]) + fallback + b"\x0c\x02\x0b"
        code += b"".join(self.statement(depth - 1) for _ in range(self.rng.randrange(1, 3)))
        code += self.expression(I32, depth - 1) + b"\x0d\x00" + self.expression(kind, depth - 1)
        self.labels.pop()
        self.labels.pop()
        return head + code + b"\x0b\x0b"

    def wide_block(self, kind: int, depth: int) -> bytes:
        """A block with parameters and several results, which are reduced to one."""
        params = tuple(self.rng.choices(self.module.kinds, k=self.rng.randrange(3)))
        extra = tuple(self.rng.choices(self.module.kinds, k=self.rng.randrange(3)))
        results = (kind, *extra)
        code = b"".join(self.expression(param, depth) for param in params)
        opener = b"\x02" if self.rng.random() < 0.7 else b"\x03"
        code += opener + self.module.block_type(params, results)
        for param in reversed(params):
            local = self.local_of(param)
            code += b"\x1a" if local is None else b"\x21" + leb(local)
        code += self.body(results, results if opener == b"\x02" else None, depth) + b"\x0b"
        return code + b"\x1a" * len(extra)

    def call(self, kind: int, depth: int) -> bytes | None:
        fits = [i for i, other in enumerate(self.module.functions) if other.results[:1] == (kind,)]
        if not fits:
            return None
        target = self.rng.choice(fits)
        signature = self.module.functions[target]
        code = b"".join(self.expression(param, depth) for param in signature.params)
        if self.rng.random() < 0.7:
            code += b"\x10" + leb(target)
        else:
            wild = self.rng.random() < 0.03
            index = self.expression(I32, depth) if wild else b"\x41" + signed_leb(target % TABLE_SIZE)
            code += index + b"\x11" + leb(self.module.type_index(signature)) + b"\x00"
        return code + b"\x1a" * (len(signature.results) - 1)

    def memory_or_table(self, kind: int, depth: int) -> bytes | None:
        if kind != I32:
            return None
        match self.rng.randrange(2 if self.module.plain else 5):
            case 0:
                return b"\x3f\x00"
            case 1:  # past the maximum it always fails, below it both engines have the room
                return b"\x41" + signed_leb(self.rng.randrange(3)) + b"\x40\x00"
            case 2:
                return b"\xfc\x10\x00"  # table.size
            case 3:
                return b"\x41" + signed_leb(self.rng.randrange(TABLE_SIZE)) + b"\x25\x00\xd1"  # is it null?
        return b"\xd2" + leb(self.rng.randrange(len(self.module.functions))) + b"\xd1"

    # ---- statements

    def statement(self, depth: int) -> bytes:
        self.size += 1
        if self.size > 400:
            return b"\x01"
        makers = (*[self.assign, self.store, self.branch] * 2, self.assign_global, self.drop, self.switch, self.if_else,
                  self.bulk, self.set_table, self.rare)  # fmt: skip
        families = [make for family in self.module.families for make in family.statements()]
        if families and self.rng.random() < 0.4:
            return self.rng.choice(families)(self, max(depth, 0))
        return self.rng.choice(makers)(max(depth, 0))

    def assign(self, depth: int) -> bytes:
        kind = self.rng.choice(self.module.kinds)
        local = self.local_of(kind)
        return self.expression(kind, depth) + (b"\x1a" if local is None else b"\x21" + leb(local))

    def assign_global(self, depth: int) -> bytes:
        index = self.rng.randrange(1, len(self.module.globals))
        return self.expression(self.module.globals[index], depth) + b"\x24" + leb(index)

    def store(self, depth: int) -> bytes:
        kind = self.rng.choice(self.module.kinds)
        code = self.address(depth) + self.expression(kind, depth)
        if kind == V128:
            if self.rng.random() < 0.3:
                _, opcode, natural, lanes = self.rng.choice(LANE_ACCESSES)
                argument = self.memory_argument(natural)
                return code + b"\xfd" + leb(opcode) + argument + bytes([self.rng.randrange(lanes)])
            return code + b"\xfd\x0b" + self.memory_argument(4)
        opcode, natural = self.rng.choice(STORES[kind])
        return code + bytes([opcode]) + self.memory_argument(natural)

    def drop(self, depth: int) -> bytes:
        return self.expression(self.rng.choice(self.module.kinds), depth) + b"\x1a"

    def targets(self, wanted: tuple[int, ...] | None = None) -> list[tuple[int, tuple[int, ...]]]:
        """(depth, types) of labels to branch to; loops only take part through their own back edge."""
        found = [(i, label) for i, label in enumerate(reversed(self.labels)) if label is not None]
        return found if wanted is None else [item for item in found if item[1] == wanted]

    def branch(self, depth: int) -> bytes:
        target, types = self.rng.choice(self.targets())
        if self.rng.random() < 0.8:
            values = b"".join(self.expression(kind, depth - 1) for kind in types)
            return values + self.expression(I32, depth - 1) + b"\x0d" + leb(target) + b"\x1a" * len(types)
        # unconditional, within a branch of an `if`, where one more label lies in between
        code = self.expression(I32, depth - 1) + b"\x04" + bytes([VOID])
        self.labels.append(())
        code += b"".join(self.expression(kind, depth - 1) for kind in types)
        self.labels.pop()
        return code + b"\x0c" + leb(target + 1) + b"\x0b"

    def switch(self, depth: int) -> bytes:
        _, types = self.rng.choice(self.targets())
        fits = [target + 1 for target, _ in self.targets(types)]
        labels = [leb(self.rng.choice(fits)) for _ in range(self.rng.randrange(5))]
        code = self.expression(I32, depth - 1) + b"\x04" + bytes([VOID])
        self.labels.append(())
        code += b"".join(self.expression(kind, depth - 1) for kind in (*types, I32))
        self.labels.pop()
        return code + b"\x0e" + vector(labels) + leb(self.rng.choice(fits)) + b"\x0b"

    def if_else(self, depth: int) -> bytes:
        code = self.expression(I32, depth) + b"\x04" + bytes([VOID]) + self.body((), (), depth)
        if self.rng.random() < 0.5:
            code += b"\x05" + self.body((), (), depth)
        return code + b"\x0b"

    def bulk(self, depth: int) -> bytes:
        small = b"\x41" + signed_leb(self.rng.randrange(64))
        match self.rng.randrange(3 if self.module.plain else 4):
            case 0:
                return self.address(depth) + self.expression(I32, depth) + small + b"\xfc\x0b\x00"  # fill
            case 1:
                return self.address(depth) + self.address(depth) + small + b"\xfc\x0a\x00\x00"  # copy
            case 2:
                size = b"\x41" + signed_leb(self.rng.randrange(16))
                return self.address(depth) + b"\x41\x00" + size + b"\xfc\x08\x01\x00"  # init from the passive segment
        size = b"\x41" + signed_leb(self.rng.randrange(4))
        return b"\x41\x01\x41\x02" + size + b"\xfc\x0e\x00\x00"  # table.copy

    def set_table(self, depth: int) -> bytes:
        if self.module.plain:
            return self.assign(depth)
        # slot i always holds a function of slot i's signature, so that most indirect calls agree with it
        slot = self.rng.randrange(min(TABLE_SIZE, len(self.module.functions)))
        return b"\x41" + signed_leb(slot) + b"\xd2" + leb(slot) + b"\x26\x00"

    def rare(self, depth: int) -> bytes:
        if self.rng.random() < 0.95:
            return b"\x01"
        ending = self.rng.choice((b"\x00", b"\xfc\x09\x01"))  # unreachable, data.drop
        return self.expression(I32, depth) + b"\x04" + bytes([VOID]) + ending + b"\x0b"

    def code(self) -> bytes:
        results = self.signature.results
        fallback = b"".join(constant(self.rng, kind) for kind in results)
        code = spend() + b"\x04" + bytes([VOID]) + fallback + b"\x0f\x0b"
        code += b"".join(family.begin(self) for family in self.module.families)
        code += b"".join(self.statement(4) for _ in range(self.rng.randrange(1, 6)))
        tail = self.tail_call()
        code += tail if tail is not None else b"".join(self.expression(kind, 4) for kind in results)
        extra = self.locals[len(self.signature.params) :]
        body = (
            vector([leb(1) + (kind if isinstance(kind, bytes) else bytes([kind])) for kind in extra]) + code + b"\x0b"
        )
        return leb(len(body)) + body

    def tail_call(self) -> bytes | None:
        fits = [i for i, other in enumerate(self.module.functions) if other.results == self.signature.results]
        if self.rng.random() > 0.1 or self.module.plain:
            return None
        target = self.rng.choice(fits)
        arguments = b"".join(self.expression(kind, 2) for kind in self.module.functions[target].params)
        return arguments + b"\x12" + leb(target)


def spend() -> bytes:
    """Takes one from the budget; leaves whether it is used up."""
    return b"\x23\x00\x41\x01\x6b\x24\x00\x23\x00\x41\x00\x4c"


def _edges(rng: random.Random, signature: Signature) -> list[int]:
    return [edge(rng, kind) for kind in signature.params]


def _quiet(kind: int, raw: int) -> int:
    """The other engine takes Python floats, which do not hold every NaN."""
    if kind == F32 and raw & 0x7FFF_FFFF > 0x7F80_0000:
        return 0x7FC0_0000
    if kind == F64 and raw & (1 << 63) - 1 > 0x7FF0 << 48:
        return 0x7FF8 << 48
    return raw


def _calls(rng: random.Random, functions: Sequence[Signature]) -> tuple[tuple[str, Signature, tuple[int, ...]], ...]:
    calls = []
    for _ in range(3):
        for index, signature in enumerate(functions):
            if V128 not in (*signature.params, *signature.results):
                calls.append((f"f{index}", signature, tuple(map(_quiet, signature.params, _edges(rng, signature)))))
    return tuple(calls)


def generate(
    seed: object,
    *,
    vectors: bool = False,
    references: bool = False,
    exceptions: bool = False,
    memories: bool = False,
    transfers: bool = False,
    shapes: bool = False,
) -> Generated:
    """The module of a seed. Exports: functions `f0`..., memory `m`, globals `g0`...; `reset` renews the budget.

    The flags say what else occurs in it; with `shapes` alone, nothing that is not interpreted. Functions whose types hold vectors are there, but are not called from outside.
    """
    rng = random.Random(f"module/{seed}")
    kinds = (I32, I64, F32, F64, V128) if vectors else (I32, I64, F32, F64)
    functions = [
        Signature(
            tuple(rng.choices(kinds, k=rng.randrange(4))), tuple(rng.choices(kinds, k=rng.choice((0, 1, 1, 1, 2, 4))))
        )
        for _ in range(rng.randrange(1, 7))
    ]
    numbers = [I32, *rng.choices(kinds, k=rng.randrange(1, 5))]
    families: list[Family] = []
    if references:
        families.append(References(rng, len(numbers)))
    if exceptions:
        families.append(Exceptions(rng))
    if memories:
        families.append(Memories(rng))
    if transfers:
        families.append(Transfers(rng))
    plain = shapes and not (families or vectors)
    if shapes:
        families.append(Shapes(rng))
    module = _Module(rng, kinds, [], functions, numbers, families, plain)
    bodies = [FunctionSource(module, index).code() for index in range(len(functions))]
    indices = [module.type_index(signature) for signature in functions]
    reset = module.type_index(Signature((), ()))
    budget = b"\x41" + signed_leb(BUDGET) + b"\x24\x00\x0b"
    bodies.append(leb(len(budget) + 1) + b"\x00" + budget)
    exports = [text(f"f{i}") + b"\x00" + leb(i) for i in range(len(functions))]
    exports += [text("reset") + b"\x00" + leb(len(functions)), text("m") + b"\x02\x00"]
    exports += [text(f"g{i}") + b"\x03" + leb(i) for i in range(len(module.globals))]
    own_memories = [encoded for family in families for encoded in family.memories]
    exports += [text(f"m{i}") + b"\x02" + leb(i) for i in range(1, len(own_memories) + 1)]
    own_tables = [encoded for family in families for encoded in family.tables]
    own_elements = [encoded for family in families for encoded in family.elements(len(functions))]
    tags = [b"\0" + leb(module.type_index(Signature(params, ()))) for family in families for params in family.tags]
    slots = [leb(i) for i in range(min(TABLE_SIZE, len(functions)))]
    passive = rng.randbytes(16)
    own_types = [encoded for family in families for encoded in family.types]
    own_globals = [encoded for family in families for encoded in family.globals]
    wasm = b"".join(
        [
            MAGIC,
            section(1, [*own_types, *(function_type(one.params, one.results) for one in module.types)]),
            section(3, [leb(index) for index in [*indices, reset]]),
            section(4, [bytes([FUNCREF, 1]) + leb(TABLE_SIZE) + leb(TABLE_SIZE), *own_tables]),
            section(5, [b"\x01" + leb(PAGES) + leb(MOST_PAGES), *own_memories]),
            section(13, tags) if tags else b"",
            section(6, [*(bytes([kind, 1]) + constant(rng, kind) + b"\x0b" for kind in numbers), *own_globals]),
            section(7, exports),
            section(
                9,
                [
                    b"\x00\x41\x00\x0b" + vector(slots),
                    b"\x03\x00" + vector([leb(i) for i in range(len(functions))]),
                    *own_elements,
                ],
            ),
            b"\x0c\x01\x02",
            section(10, bodies),
            section(11, [b"\x00\x41\x10\x0b\x08" + rng.randbytes(8), b"\x01" + leb(len(passive)) + passive]),
        ]
    )
    return Generated(wasm, _calls(rng, functions))
