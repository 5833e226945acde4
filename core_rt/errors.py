"""Every error that the runtime raises on purpose: one root, one class per phase.

`DecodeError` and `ValidationError` carry the byte offset in the module, `Trap` a code and the guest's frames. Texts of
traps and validation errors use the wording of the specification's test suites. What is our own fault is an `EngineBug`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import attrs

__all__ = [
    "DecodeError",
    "EngineBug",
    "ExhaustionError",
    "Frame",
    "GuestException",
    "GuestExit",
    "InstancePoisoned",
    "LinkError",
    "StoreError",
    "Trap",
    "TrapCode",
    "ValidationError",
    "WasmError",
]


class WasmError(Exception):
    """Root of all errors of the runtime."""


@attrs.define(eq=False, init=False, repr=False, slots=False)
class _OffsetError(WasmError):
    """An error at a place in a binary.

    `message` is the wording of the specification's suites, `offset` a byte offset into the module (None: not known).
    """

    message: str
    offset: int | None

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        return self.message if self.offset is None else f"{self.message} (at offset 0x{self.offset:x})"


class DecodeError(_OffsetError):
    """The bytes are no module or component: *malformed* in the specification's terms."""


class ValidationError(_OffsetError):
    """The module or component decodes but breaks a typing rule: *invalid* in the specification's terms."""


class LinkError(WasmError):
    """An import is missing or of another type than the module or component wants."""


class ExhaustionError(WasmError):
    """A limit of the host was reached: fuel, memory, tables, instances, handles."""


class StoreError(WasmError, RuntimeError):
    """A store was used as it may not be: after `close()`, from two threads at once, or with another store's items."""


class EngineBug(WasmError):
    """The runtime broke one of its own rules; please report it."""


@attrs.define(eq=False, init=False, repr=False, slots=False)
class GuestExit(WasmError):
    """The guest asked to end its program with `code` (`wasi:cli/exit`)."""

    code: int

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"guest exited with code {self.code}"


class TrapCode(enum.IntEnum):
    """Why a guest was stopped. The numbers are shared with the C shim and compiled code."""

    STACK_OVERFLOW = 1
    MEMORY_OUT_OF_BOUNDS = 2
    HEAP_MISALIGNED = 3
    TABLE_OUT_OF_BOUNDS = 4
    INDIRECT_CALL_TO_NULL = 5
    BAD_SIGNATURE = 6
    INTEGER_OVERFLOW = 7
    INTEGER_DIVISION_BY_ZERO = 8
    BAD_CONVERSION_TO_INTEGER = 9
    UNREACHABLE = 10
    INTERRUPT = 11
    OUT_OF_FUEL = 12
    NULL_REFERENCE = 13
    NULL_I31 = 14
    ARRAY_OUT_OF_BOUNDS = 15
    CAST_FAILURE = 16
    UNDEFINED_ELEMENT = 17
    UNINITIALIZED_ELEMENT = 18
    NULL_FUNCTION = 19
    NULL_STRUCTURE = 20
    NULL_ARRAY = 21
    ALLOCATION_TOO_LARGE = 22
    ATOMIC_WAIT_NON_SHARED = 23
    UNCAUGHT_EXCEPTION = 24
    CANNOT_ENTER_COMPONENT = 25
    CANNOT_LEAVE_COMPONENT = 26
    CANONICAL_ABI = 27
    DEADLOCK = 28
    UNKNOWN_IMPORT = 29
    HOST = 30

    @property
    def text(self) -> str:
        """The wording of the suites."""
        return _TRAP_TEXT[self]


_TRAP_TEXT = {
    TrapCode.STACK_OVERFLOW: "call stack exhausted",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "out of bounds memory access",
    TrapCode.HEAP_MISALIGNED: "unaligned atomic",
    TrapCode.TABLE_OUT_OF_BOUNDS: "out of bounds table access",
    TrapCode.INDIRECT_CALL_TO_NULL: "uninitialized element",
    TrapCode.BAD_SIGNATURE: "indirect call type mismatch",
    TrapCode.INTEGER_OVERFLOW: "integer overflow",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "integer divide by zero",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "invalid conversion to integer",
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.INTERRUPT: "interrupt",
    TrapCode.OUT_OF_FUEL: "all fuel consumed",
    TrapCode.NULL_REFERENCE: "null reference",
    TrapCode.NULL_I31: "null i31 reference",
    TrapCode.ARRAY_OUT_OF_BOUNDS: "out of bounds array access",
    TrapCode.CAST_FAILURE: "cast failure",
    TrapCode.UNDEFINED_ELEMENT: "undefined element",
    TrapCode.UNINITIALIZED_ELEMENT: "uninitialized element",
    TrapCode.NULL_FUNCTION: "null function reference",
    TrapCode.NULL_STRUCTURE: "null structure reference",
    TrapCode.NULL_ARRAY: "null array reference",
    TrapCode.ALLOCATION_TOO_LARGE: "allocation size too large",
    TrapCode.ATOMIC_WAIT_NON_SHARED: "expected shared memory",
    TrapCode.UNCAUGHT_EXCEPTION: "unhandled exception",
    TrapCode.CANNOT_ENTER_COMPONENT: "cannot enter component instance",
    TrapCode.CANNOT_LEAVE_COMPONENT: "cannot leave component instance",
    TrapCode.CANONICAL_ABI: "canonical ABI violation",
    TrapCode.DEADLOCK: "deadlock detected",
    TrapCode.UNKNOWN_IMPORT: "unknown import called",
    TrapCode.HOST: "host trap",
}


@attrs.frozen
class Frame:
    """One guest frame of a backtrace: innermost first in `Trap.frames`."""

    module: str | None
    """The module's name, from its name section."""
    function: int
    """Index in the module's function index space."""
    name: str | None
    """The function's name, from the name section or its export."""
    offset: int | None
    """Byte offset into the module of the instruction; None where it cannot be told."""

    def __str__(self) -> str:
        where = "" if self.offset is None else f" @ 0x{self.offset:x}"
        label = self.name if self.name is not None else f"function[{self.function}]"
        return f"{self.module or '<module>'}!{label}{where}"


class _FromGuest(WasmError):
    """An error with the guest's frames, which are looked up when first asked for: most such errors are only caught."""

    def __init__(self, args: tuple[object, ...], frames: Sequence[Frame] | Callable[[], Sequence[Frame]]) -> None:
        super().__init__(*args)
        self._frames = frames

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The guest's frames, innermost first."""
        frames = self._frames
        if callable(frames):
            frames = frames()
        self._frames = frames = tuple(frames)
        return frames

    def _with_frames(self, message: str) -> str:
        lines = [message, *(f"  {i}: {frame}" for i, frame in enumerate(self.frames[:32]))]
        if len(self.frames) > 32:
            lines.append(f"  ... {len(self.frames) - 32} more frames")
        return "\n".join(lines)


@attrs.define(eq=False, init=False, repr=False, slots=False)
class Trap(_FromGuest):
    """The guest was stopped: it broke a rule of the specification, or its stack, fuel or time was used up.

    `code` says why, `message` in words (the suites' wording), `frames` where, innermost first.
    """

    code: TrapCode
    message: str

    def __init__(
        self,
        code: TrapCode,
        message: str | None = None,
        frames: Sequence[Frame] | Callable[[], Sequence[Frame]] = (),
    ) -> None:
        super().__init__((code, message), frames)
        self.code = code
        self.message = code.text if message is None else message

    def __str__(self) -> str:
        return self._with_frames(self.message)


@attrs.define(eq=False, init=False, repr=False, slots=False)
class InstancePoisoned(WasmError):
    """The instance trapped earlier and may not be entered again; `first_trap` is what happened then."""

    first_trap: BaseException

    def __init__(self, first_trap: BaseException) -> None:
        super().__init__(first_trap)
        self.first_trap = first_trap

    def __str__(self) -> str:
        first, kind = str(self.first_trap).partition("\n")[0], type(self.first_trap).__name__
        if not isinstance(self.first_trap, WasmError):
            first = f"{kind}: {first}" if first else kind
        return f"the instance cannot be entered after a trap: {first or kind}"


@attrs.define(eq=False, init=False, repr=False, slots=False)
class GuestException(_FromGuest):
    """A WebAssembly exception that no guest frame caught.

    `tag` is the `Tag` it was thrown with, `values` its payload, converted as function results are, `frames` where it was
    thrown (by `throw_ref`, the last time), innermost first.
    """

    tag: object
    values: tuple[object, ...]

    def __init__(
        self, tag: object, values: Sequence[object], frames: Sequence[Frame] | Callable[[], Sequence[Frame]] = ()
    ) -> None:
        super().__init__((tag, tuple(values)), frames)
        self.tag = tag
        self.values = tuple(values)
        self.reference: object = None
        """What the store keeps of an exception that came from a guest, so that raising it again loses nothing."""

    def __str__(self) -> str:
        return self._with_frames(f"uncaught exception {self.tag!r} with {self.values!r}")
