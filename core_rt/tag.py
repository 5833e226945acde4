"""Exception tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from core_rt.native import ffi
from core_rt.types import FuncType, TagType

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Tag"]


@final
class Tag:
    """An exception tag: tags are told apart by identity, `type` says what values an exception carries."""

    __slots__ = ("definition", "store", "type")

    def __init__(self, store: Store, type_: TagType | FuncType) -> None:
        self._create(store, type_ if isinstance(type_, TagType) else TagType(type_), ffi.new("VMTagDefinition *"))
        store.keep(self.definition)

    @classmethod
    def at(cls, store: Store, type_: TagType, definition: Any) -> Tag:
        """A tag that lies in an instance's context."""
        self = object.__new__(cls)
        self._create(store, type_, definition)
        return self

    def _create(self, store: Store, type_: TagType, definition: Any) -> None:
        store.check()
        self.store = store
        self.type = type_
        self.definition: Any = definition
        store.tags.append(self)
        definition.type_id = type_.type.id
        definition.handle = len(store.tags)

    def __repr__(self) -> str:
        return f"<Tag {self.type}>"
