"""What the engine accepts and how it compiles: `Features` (one switch per WebAssembly proposal) and `Config`."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

__all__ = ["DEFAULT_FEATURES", "Config", "Features", "Tiers"]

Tiers: TypeAlias = Literal["off", "lazy", "eager", "optimized"]

# A proposal on the left makes no sense without those on the right.
_NEEDS: dict[str, tuple[str, ...]] = {
    "relaxed_simd": ("simd",),
    "function_references": ("reference_types",),
    "gc": ("function_references",),
    "exceptions": ("reference_types",),
}


@attrs.frozen(kw_only=True)
class Features:
    """One boolean per WebAssembly proposal. All is on: what a module does not use costs it nothing.

    Raises `ValueError` when a proposal is on whose foundation is off, `TypeError` for anything but booleans.
    """

    mutable_global: bool = True
    """Mutable globals may be imported and exported."""
    sign_extension: bool = True
    saturating_float_to_int: bool = True
    multi_value: bool = True
    """Several results; blocks with parameters."""
    bulk_memory: bool = True
    """`memory.copy` and the like, passive segments, the data count section."""
    reference_types: bool = True
    """`externref`, several tables, `table.get` and the like, typed `select`."""
    tail_call: bool = True
    extended_const: bool = True
    function_references: bool = True
    """Typed references, `call_ref`, non-nullable locals, tables with initial values."""
    gc: bool = True
    exceptions: bool = True
    simd: bool = True
    relaxed_simd: bool = True
    memory64: bool = True
    multi_memory: bool = True
    branch_hinting: bool = True
    """Read the `metadata.code.branch_hint` section. It never changes the meaning of a module."""
    threads: bool = True
    """Shared memories and atomic instructions. From here on: not part of WebAssembly 3.0."""
    custom_page_sizes: bool = True
    wide_arithmetic: bool = True
    """128-bit addition, subtraction and multiplication of i64 pairs."""
    compact_imports: bool = True
    """Groups of imports from one module, in the binary format."""

    def __attrs_post_init__(self) -> None:
        values = _switches(self)
        if {*map(type, values)} != {bool}:
            name, value = next((name, value) for name, value in zip(_FEATURE_NAMES, values) if type(value) is not bool)
            raise TypeError(f"{name} must be True or False, not {value!r}")
        if all(values):
            return
        for name, needs in _NEEDS.items():
            for needed in needs:
                if getattr(self, name) and not getattr(self, needed):
                    raise ValueError(f"{name}=True needs {needed}=True")


_FEATURE_NAMES: Final = tuple(field.name for field in attrs.fields(Features))
_switches: Final[Callable[[Features], tuple[bool, ...]]] = operator.attrgetter(*_FEATURE_NAMES)
DEFAULT_FEATURES: Final = Features()
_DEFAULT_SWITCHES: Final = _switches(DEFAULT_FEATURES)


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value}")


def _cache_setting(value: bool | str | os.PathLike[str]) -> bool | str:
    return value if isinstance(value, bool) else os.fspath(value)


@attrs.frozen(kw_only=True)
class Config(Features):
    """How an `Engine` compiles and runs, and (fields of `Features`) which WebAssembly proposals it takes.

    Raises `ValueError` or `TypeError`, naming the field, for a value that makes no sense.
    """

    opt_level: int = 2
    """LLVM's optimisation level, 0..3, of optimised code."""
    tiers: Tiers = "lazy"
    """"lazy": functions are interpreted at first; those that are called or loop some thousand times are compiled quickly, and where guests
    spend their time code is optimised in the background. "off": functions are compiled quickly at their first call, and that is all.
    "eager": all functions are compiled quickly when the module is made, and optimised as with "lazy". "optimized": the module waits
    for optimised code."""
    cache: bool | str = attrs.field(default=True, converter=_cache_setting)
    """Keep optimised code on disk: in the user's cache folder (True), in this folder (a path), not at all (False)."""
    relaxed_simd_deterministic: bool = False
    """`relaxed_madd` and `relaxed_nmadd` round the product before the sum, as the specification's deterministic profile has it and as any
    processor can. Otherwise they round once where the processor has an instruction for that, which is faster. All other relaxed
    instructions do as the profile says anyway."""
    epoch_interruption: bool = True
    """Guest code looks at its epoch deadline at function entries and loop heads (about 1.5 % of run time)."""
    consume_fuel: bool = False
    """Guest code counts instructions and stops when the store's fuel is used up."""
    max_wasm_stack: int = 1 << 20
    """Bytes of stack of a guest call in machine code. With `tiers="lazy"` it has four times as much, because the frames of interpreted
    functions are larger."""
    memory_reservation: int = 4 << 30
    """Bytes of address space reserved for a linear memory; 32-bit memories need no bounds checks from 4 GiB on."""
    memory_guard: int = 32 << 20
    """Bytes of inaccessible address space behind the reservation; constant offsets below it need no check."""
    tick_seconds: float = 0.01
    """Seconds between two ticks of the engine's epoch."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for name in ("relaxed_simd_deterministic", "epoch_interruption", "consume_fuel"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        _check_int("opt_level", self.opt_level, 0, 3)
        _check_int("max_wasm_stack", self.max_wasm_stack, 1 << 14, 1 << 32)
        _check_int("memory_reservation", self.memory_reservation, 0, 1 << 44)
        _check_int("memory_guard", self.memory_guard, 0, 1 << 44)
        if self.tiers not in ("off", "lazy", "eager", "optimized"):
            raise ValueError(f'tiers must be "off", "lazy", "eager" or "optimized", not {self.tiers!r}')
        if isinstance(self.tick_seconds, bool) or not isinstance(self.tick_seconds, int | float):
            raise TypeError(f"tick_seconds must be a number, not {self.tick_seconds!r}")
        if not 0.0001 <= self.tick_seconds <= 3600:
            raise ValueError(f"tick_seconds must be in 0.0001..3600, not {self.tick_seconds}")

    @property
    def stack_size(self) -> int:
        """Bytes of a guest call's stack."""
        return self.max_wasm_stack * (4 if self.tiers == "lazy" else 1)

    @property
    def features(self) -> Features:
        """The proposals alone."""
        switches = _switches(self)
        return DEFAULT_FEATURES if switches == _DEFAULT_SWITCHES else Features(**dict(zip(_FEATURE_NAMES, switches)))
