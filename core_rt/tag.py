"""Exception tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from core_rt import native
from core_rt.native import ffi
from core_rt.types import FuncType, TagType
from core_rt.vm import structs

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Tag"]


@final
class Tag:
    """An exception tag: tags are told apart by identity, `type` says what values an exception carries."""

    __slots__ = ("address", "definition", "store", "type")

    def __init__(self, store: Store, type_: TagType | FuncType) -> None:
        store.check()
        place = native.keep(store.context, structs.VMTagDefinition.size)
        self._begin(store, type_ if isinstance(type_, TagType) else TagType(type_), place)

    @classmethod
    def at(cls, store: Store, type_: TagType, address: int) -> Tag:
        """A new tag whose `VMTagDefinition` is at that address."""
        self = object.__new__(cls)
        self._begin(store, type_, address)
        return self

    def _begin(self, store: Store, type_: TagType, address: int) -> None:
        self.store = store
        self.type = type_
        self.address = address
        """Of the definition."""
        self.definition: Any = ffi.cast("VMTagDefinition *", address)
        store.tags.append(self)
        self.definition.type_id = type_.type.id
        self.definition.handle = len(store.tags)

    def __repr__(self) -> str:
        return f"<Tag {self.type}>"
