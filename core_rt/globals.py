"""Global variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from core_rt import native
from core_rt.errors import WasmError
from core_rt.native import ffi
from core_rt.types import V128, GlobalType, RefType
from core_rt.values import from_raw, raw_to_bits, to_raw
from core_rt.vm import structs

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Global"]

_M64 = (1 << 64) - 1


@final
class Global:
    """A global: `value` as a Python value, `raw` as an unsigned bit pattern (references as objects)."""

    __slots__ = ("address", "definition", "store", "type")

    def __init__(self, store: Store, type_: GlobalType, value: object) -> None:
        store.check()
        self.store = store
        self.type = type_
        self.address = native.keep(store.context, structs.VMGlobalDefinition.size)
        """Of the definition."""
        self.definition: Any = ffi.cast("VMGlobalDefinition *", self.address)
        store.globals[self.address] = self
        self._set(to_raw(store, type_.content, value))
        if isinstance(type_.content, RefType):
            store.refs.add_global(self)

    @classmethod
    def at(cls, store: Store, type_: GlobalType, address: int) -> Global:
        """A global whose `VMGlobalDefinition` is at that address."""
        self = object.__new__(cls)
        self.store = store
        self.type = type_
        self.address = address
        self.definition = ffi.cast("VMGlobalDefinition *", address)
        return self

    @property
    def word(self) -> int:
        """The raw value as guests see it: references compressed or as pointers."""
        self.store.check()
        value = self.definition.value
        return int(value[0] | value[1] << 64 if self.type.content is V128 else value[0])

    def _set(self, raw: int) -> None:
        self.definition.value[0] = raw & _M64
        self.definition.value[1] = raw >> 64

    @property
    def value(self) -> Any:
        """The value. Assigning to an immutable global raises `WasmError`."""
        return from_raw(self.store, self.type.content, self.word)

    @value.setter
    def value(self, value: object) -> None:
        self.store.check()
        if not self.type.mutable:
            raise WasmError("the global is immutable")
        self._set(to_raw(self.store, self.type.content, value))

    @property
    def raw(self) -> Any:
        """The bit pattern, unsigned (exact NaNs); for a reference the object."""
        return raw_to_bits(self.store, self.type.content, self.word)

    def __repr__(self) -> str:
        return "<Global, closed>" if self.store.closed else f"<Global {self.type}>"
