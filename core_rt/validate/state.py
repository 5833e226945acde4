"""What is known while a function body is validated: the operand stack of types, the frames of structured control
instructions, which locals are set (spec: "Appendix", "Validation Algorithm").

Rules:

- `data` is the body alone and `pos` an index into it; errors are raised with such positions and get the body's place in
  the module added by `validate_body`. Reading past the end raises `IndexError`, also turned into an error there.
- `stack[height:]` belongs to the innermost frame. In unreachable code the stack under it holds any number of values
  of unknown type, `BOTTOM`.
- `height` and `assigned` mirror the innermost frame's, because the hot loop reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from core_rt.binary import limits
from core_rt.binary.model import DecodedModule, Instr
from core_rt.binary.reader import Reader, sleb, uleb
from core_rt.binary.typeread import TypeReader, feature_error
from core_rt.errors import DecodeError, ValidationError
from core_rt.types import (
    I32,
    I64,
    ArrayType,
    DefType,
    FieldType,
    FuncType,
    MemoryType,
    NumType,
    RefType,
    StructType,
    TableType,
    ValType,
    defaultable,
    matches_ref,
    matches_val,
)

__all__ = ["BOTTOM", "BOTTOM_REF", "BodyState", "Frame"]

BOTTOM: Final[ValType] = NumType("bottom", 0, 0)
"""A value of unknown type: it matches every type."""

BOTTOM_REF: Final[ValType] = NumType("(ref bottom)", 0, 0)
"""A reference of unknown type: it matches every reference type."""

SHARED_ASSIGNED_DEPTH: Final = 256
"""From this depth on a frame shares the `assigned` set of the frame around it. Else a body of deeply nested blocks that
assign many locals would cost depth times locals. The set is then merely larger than it need be."""

FUNC: Final = 0x00
BLOCK: Final = 0x02
LOOP: Final = 0x03
IF: Final = 0x04
ELSE: Final = 0x05
TRY_TABLE: Final = 0x1F


class Frame:
    """A structured control instruction that is open; the outermost one is the function."""

    __slots__ = ("assigned", "height", "labels", "op", "params", "results", "set_height", "unreachable")

    def __init__(
        self,
        op: int,
        params: tuple[ValType, ...],
        results: tuple[ValType, ...],
        height: int,
        set_height: int,
        assigned: set[int],
    ) -> None:
        self.op = op
        self.params = params
        self.results = results
        self.labels = params if op == LOOP else results
        self.height = height
        self.set_height = set_height
        self.assigned = assigned
        self.unreachable = False


class BodyState:
    """The state of one validation. `at` is the position of the instruction at hand."""

    __slots__ = (
        "assigned", "at", "code", "data", "features", "frames", "func_type", "height", "locals", "module", "pos",
        "reader", "set_log", "stack", "types", "unset", "waiting",
    )  # fmt: skip

    def __init__(self, module: DecodedModule, func_type: FuncType, data: bytes) -> None:
        self.module = module
        self.features = module.features
        self.func_type = func_type
        self.data = data
        self.pos = 0
        self.at = 0
        self.reader = Reader(data)
        self.types = TypeReader(self.reader, module.types, module.features)
        self.stack: list[ValType] = []
        self.frames: list[Frame] = []
        self.height = 0
        self.assigned: set[int] = set()
        self.code: list[Instr] = []
        self.locals: list[ValType] = list(func_type.params)
        # Locals without a default that are not set yet, and in what order others of them were (to undo it at a
        # block's end).
        self.unset: set[int] = set()
        self.set_log: list[int] = []
        self.waiting = 0
        """Operands below the `try_table`s so far."""

    def invalid(self, message: str) -> ValidationError:
        """The error for breaking a typing rule at the instruction at hand."""
        return ValidationError(message, self.at)

    # ------------------------------------------------------------------------------------------------- reading

    def byte(self) -> int:
        """One byte."""
        byte = self.data[self.pos]
        self.pos += 1
        return byte

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        byte = self.data[self.pos]
        if byte < 0x80:
            self.pos += 1
            return byte
        value, self.pos = uleb(self.data, self.pos, 32)
        return value

    def s33(self) -> int:
        """A signed 33-bit integer."""
        value, self.pos = sleb(self.data, self.pos, 33)
        return value

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        pos = self.pos
        self.pos = pos + size
        if self.pos > len(self.data):
            raise IndexError
        return self.data[pos : self.pos]

    def read_value_type(self) -> ValType:
        """A value type."""
        self.reader.pos = self.pos
        found: ValType = self.types.value()
        self.pos = self.reader.pos
        return found

    def read_heap_ref(self, nullable: bool) -> RefType:
        """A heap type, as a reference type to it."""
        self.reader.pos = self.pos
        heap = self.types.heap()
        self.pos = self.reader.pos
        return RefType(nullable, heap)

    def zero_byte(self) -> int:
        """A reserved byte."""
        if self.byte() != 0:
            raise DecodeError("zero byte expected", self.pos - 1)
        return 0

    def read_locals(self) -> None:
        """The declarations of locals at the body's start."""
        self.reader.pos = 0
        locals_ = self.locals
        for _ in range(self.reader.length()):
            at = self.reader.pos
            count = self.reader.u32()
            if len(locals_) + count > limits.MAX_LOCALS:
                raise DecodeError(f"too many locals: more than {limits.MAX_LOCALS}", at)
            type_ = self.types.value()
            if not defaultable(type_):
                self.unset.update(range(len(locals_), len(locals_) + count))
            locals_.extend([type_] * count)
        self.pos = self.reader.pos

    # ------------------------------------------------------------------------------------------------- the stack

    def pop(self, want: ValType) -> ValType:
        """Take one operand, which must match."""
        stack = self.stack
        if len(stack) == self.height:
            if self.frames[-1].unreachable:
                return BOTTOM
            raise self._mismatch((want,), [])
        found = stack.pop()
        if found is want or found is BOTTOM or matches_val(found, want):
            return found
        if found is BOTTOM_REF and isinstance(want, RefType):
            return found
        raise self._mismatch((want,), [found])

    def _mismatch(self, want: tuple[ValType, ...], have: list[ValType]) -> ValidationError:
        wanted, found = " ".join(map(repr, want)), " ".join(map(repr, have))
        return self.invalid(f"type mismatch: instruction requires [{wanted}] but stack has [{found}]")

    def pop_any(self) -> ValType:
        """Take one operand of any type, possibly `BOTTOM`."""
        stack = self.stack
        if len(stack) == self.height:
            if self.frames[-1].unreachable:
                return BOTTOM
            raise self.invalid("type mismatch: a value expected, but nothing on the stack")
        return stack.pop()

    def pop_ref(self) -> RefType | None:
        """Take one reference; None: one of unknown type."""
        found = self.pop_any()
        if isinstance(found, RefType):
            return found
        if found is BOTTOM or found is BOTTOM_REF:
            return None
        raise self.invalid(f"type mismatch: a reference expected, {found} found")

    def pops(self, want: tuple[ValType, ...]) -> None:
        """Take operands, the last first."""
        count = len(want)
        if count == 0:
            return
        stack = self.stack
        have = stack[max(self.height, len(stack) - count) :]
        if tuple(have) == want:
            del stack[-count:]
            return
        try:
            for type_ in reversed(want):
                self.pop(type_)
        except ValidationError:
            raise self._mismatch(want, have) from None

    def push(self, type_: ValType) -> None:
        """Put one value."""
        self.stack.append(type_)

    def pushes(self, types: Sequence[ValType]) -> None:
        """Put values."""
        self.stack.extend(types)

    def check_top(self, want: tuple[ValType, ...]) -> None:
        """As `pops`, leaving the stack as it is."""
        saved = self.stack[self.height :]
        self.pops(want)
        self.stack[self.height :] = saved

    # ------------------------------------------------------------------------------------------------- frames

    def enter(self, op: int, params: tuple[ValType, ...], results: tuple[ValType, ...]) -> Frame:
        """Open a frame whose `params` have been taken from the stack."""
        depth = len(self.frames)
        if depth > limits.MAX_BLOCK_DEPTH:
            raise DecodeError(f"too many nested blocks: more than {limits.MAX_BLOCK_DEPTH}", self.at)
        if depth < SHARED_ASSIGNED_DEPTH:
            self.assigned = set()
        self.height = len(self.stack)
        frame = Frame(op, params, results, self.height, len(self.set_log), self.assigned)
        self.frames.append(frame)
        self.stack.extend(params)
        return frame

    def leave(self) -> Frame:
        """Close the innermost frame; its results stay off the stack."""
        frame = self.frames[-1]
        self.pops(frame.results)
        if len(self.stack) != frame.height:
            left = len(self.stack) - frame.height
            raise self.invalid(f"type mismatch: {left} values more than the block's results on the stack")
        if len(self.set_log) > frame.set_height:
            self.unset.update(self.set_log[frame.set_height :])
            del self.set_log[frame.set_height :]
        self.frames.pop()
        if self.frames:
            outer = self.frames[-1]
            self.height = outer.height
            if outer.assigned is not frame.assigned:
                outer.assigned |= frame.assigned
                self.assigned = outer.assigned
        return frame

    def set_unreachable(self) -> None:
        """What follows in this block cannot be reached."""
        del self.stack[self.height :]
        self.frames[-1].unreachable = True

    def label(self, index: int) -> tuple[ValType, ...]:
        """The types that a branch to the label takes."""
        frames = self.frames
        if index >= len(frames):
            raise self.invalid(f"unknown label {index}")
        return frames[-1 - index].labels

    def mark_set(self, index: int) -> None:
        """A local has been given a value."""
        self.assigned.add(index)
        if index in self.unset:
            self.unset.discard(index)
            self.set_log.append(index)

    # ------------------------------------------------------------------------------------------------- index spaces

    def defined(self, index: int) -> DefType:
        """A type."""
        types = self.module.types
        if index >= len(types):
            raise self.invalid(f"unknown type {index}")
        return types[index]

    def func_of_type(self, index: int) -> FuncType:
        """A type that is a function type."""
        composite = self.defined(index).composite
        if not isinstance(composite, FuncType):
            raise self.invalid(f"non-function type {index}")
        return composite

    def struct_fields(self, index: int) -> tuple[FieldType, ...]:
        """The fields of a type that is a struct type."""
        composite = self.defined(index).composite
        if not isinstance(composite, StructType):
            raise self.invalid(f"non-structure type {index}")
        return composite.fields

    def array_field(self, index: int) -> FieldType:
        """The element of a type that is an array type."""
        composite = self.defined(index).composite
        if not isinstance(composite, ArrayType):
            raise self.invalid(f"non-array type {index}")
        return composite.field

    def _item(self, space: list[Any], what: str, index: int) -> Any:
        if index >= len(space):
            raise self.invalid(f"unknown {what} {index}")
        return space[index]

    def table(self, index: int) -> TableType:
        """A table's type."""
        found: TableType = self._item(self.module.tables, "table", index)
        return found

    def memory(self, index: int) -> MemoryType:
        """A memory's type."""
        found: MemoryType = self._item(self.module.memories, "memory", index)
        return found

    def table_address(self, index: int) -> ValType:
        """The type of a table's indices."""
        return I64 if self.table(index).is64 else I32

    def memory_address(self, index: int) -> ValType:
        """The type of a memory's addresses."""
        return I64 if self.memory(index).is64 else I32

    def func(self, index: int) -> DefType:
        """A function's type."""
        found: DefType = self._item(self.module.funcs, "function", index)
        return found

    def tag(self, index: int) -> FuncType:
        """A tag's type."""
        if index >= len(self.module.tags):
            raise self.invalid(f"unknown tag {index}")
        return self.module.tags[index].type.func

    def element_type(self, index: int) -> RefType:
        """An element segment's type."""
        if index >= len(self.module.elements):
            raise self.invalid(f"unknown elem segment {index}")
        return self.module.elements[index].type

    def check_data(self, index: int) -> None:
        """A data segment, which takes a data count section."""
        count = self.module.data_count
        if count is None:
            raise DecodeError("data count section required", self.at)
        if index >= count:
            raise self.invalid(f"unknown data segment {index}")

    def check_elements(self, source: RefType, target: RefType) -> None:
        """References of one type going into a place of another."""
        if not matches_ref(source, target):
            raise self.invalid(f"type mismatch: {target} expected, {source} found in the source")

    # ------------------------------------------------------------------------------------------------- immediates

    def memory_index(self) -> int:
        """A memory index; without multiple memories a reserved byte."""
        return self.u32() if self.features.multi_memory else self.zero_byte()

    def table_index(self) -> int:
        """A table index; without reference types a reserved byte."""
        return self.u32() if self.features.reference_types else self.zero_byte()

    def memarg(self, natural: int, exact: bool = False) -> tuple[int, int, int]:
        """`(align_log2, offset, memory)` of an instruction whose natural alignment is `natural` (log2)."""
        at = self.pos
        flags = self.u32()
        if flags >= 0x80:
            raise DecodeError("malformed memop flags", at)
        memory = 0
        if flags & 0x40:
            if not self.features.multi_memory:
                raise feature_error("malformed memop flags", "a memory index", "multi_memory", at)
            memory = self.u32()
        align = flags & 0x3F
        offset, self.pos = uleb(self.data, self.pos, 64 if self.features.memory64 else 32)
        type_ = self.memory(memory)
        if align > natural:
            raise self.invalid("alignment must not be larger than natural")
        if exact and align != natural:
            raise self.invalid("atomic alignment must be natural")
        if not type_.is64 and offset >> 32:
            raise self.invalid("offset out of range")
        return align, offset, memory
