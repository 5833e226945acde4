"""The `VMComponentContext`: what compiled code needs of a component's instances, in one contiguous block.

```
InstanceHeader | VMComponentHeader | instance flags | lowerings | trampolines | memories | tables | reallocs | callbacks
               | post-returns | destructors
^ block        ^ vmctx
```

One block serves a root component with everything nested in it; a static instance is known by its index. Pointers hold
`POISON` until they are set, and each is set once: `set` asserts both. The flags words of an instance are the only place
where `may_enter` and `may_leave` are kept: Python reads and writes them here too.
"""

from __future__ import annotations

from typing import Any, Final

from core_rt import native
from core_rt.errors import EngineBug
from core_rt.native import ffi
from core_rt.vm.structs import COMPONENT_MAGIC, POISON, InstanceHeader, Struct

__all__ = ["MAY_ENTER", "MAY_LEAVE", "ComponentContext", "ComponentLayout"]

VMComponentHeader: Final = Struct(
    "VMComponentHeader",
    # `may_block`: whether the running task may block (0 while a synchronous task of a host that cannot wait runs).
    "u32 magic,u32 instances,ptr store,ptr builtins,u32 may_block,u32 reserved",
)
VMInstanceFlags: Final = Struct("VMInstanceFlags", "u32 may_enter,u32 may_leave")
VMLowering: Final = Struct("VMLowering", "ptr callee,ptr data")
VMRuntimeMemory: Final = Struct("VMRuntimeMemory", "ptr definition")
VMRuntimeFunc: Final = Struct("VMRuntimeFunc", "ptr funcref")
VMRuntimeTable: Final = Struct("VMRuntimeTable", "ptr definition")

MAY_ENTER: Final = 0
MAY_LEAVE: Final = 1

_REGIONS: tuple[tuple[str, Struct], ...] = (
    ("lowerings", VMLowering),
    ("trampolines", VMRuntimeFunc),
    ("memories", VMRuntimeMemory),
    ("tables", VMRuntimeTable),
    ("reallocs", VMRuntimeFunc),
    ("callbacks", VMRuntimeFunc),
    ("post_returns", VMRuntimeFunc),
    ("destructors", VMRuntimeFunc),
)


class ComponentLayout:
    """Byte offsets from the context pointer for a plan with so many of each."""

    __slots__ = ("counts", "instances", "offsets", "size", "template")

    instances: int
    counts: dict[str, int]
    offsets: dict[str, int]
    size: int
    template: bytes
    """Header and context as they begin: flags on, pointers poisoned, those to the store still missing."""

    def __init__(self, instances: int, counts: dict[str, int]) -> None:
        self.instances = instances
        self.counts = counts
        offsets = {"flags": VMComponentHeader.size}
        at = VMComponentHeader.size + self.instances * VMInstanceFlags.size
        for name, struct in _REGIONS:
            offsets[name] = at
            at += self.counts.get(name, 0) * struct.size
        self.offsets = offsets
        self.size = (at + 15) & -16
        header = COMPONENT_MAGIC.to_bytes(4, "little") + (InstanceHeader.size + self.size).to_bytes(4, "little")
        begin = COMPONENT_MAGIC.to_bytes(4, "little") + self.instances.to_bytes(4, "little")
        flags = b"\1\0\0\0" * (2 * self.instances)
        body = begin.ljust(VMComponentHeader.size, b"\0") + flags
        poison = POISON.to_bytes(8, "little") * ((self.size - len(body)) // 8)
        self.template = header.ljust(InstanceHeader.size, b"\0") + body + poison


class ComponentContext:
    """The block, which lives as long as the store's context. `address` is the context pointer."""

    __slots__ = ("address", "layout")

    def __init__(self, layout: ComponentLayout, store: Any, handle: int) -> None:
        self.layout = layout
        self.address = native.component(store.context, layout.template, handle)

    @property
    def _words(self) -> Any:
        return ffi.cast("uint64_t *", self.address)

    def flags(self, instance: int) -> Any:
        """The flags words of a static instance: a `uint32_t *`."""
        return ffi.cast("uint32_t *", self.address + self.layout.offsets["flags"] + instance * VMInstanceFlags.size)

    def forbid_entry(self) -> None:
        """Switch `may_enter` of every instance off."""
        flags = self.flags(0)
        for instance in range(self.layout.instances):
            flags[2 * instance + MAY_ENTER] = 0

    def set(self, region: str, index: int, *pointers: int) -> None:
        """Set entry `index` of a region, once."""
        at = self.layout.offsets[region] // 8 + index * len(pointers)
        words = self._words
        for place, pointer in enumerate(pointers, at):
            if words[place] != POISON:
                raise EngineBug(f"{region}[{index}] of a component context set twice")
            words[place] = pointer

    def get(self, region: str, index: int, word: int = 0, width: int = 1) -> int:
        """A pointer that was set."""
        pointer = int(self._words[self.layout.offsets[region] // 8 + index * width + word])
        if pointer == POISON:
            raise EngineBug(f"{region}[{index}] of a component context read before it was set")
        return pointer
