"""The code of adapters (adapter.py), and the stub in front of them, which needs no compiler."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import attrs

from component_rt import types as t
from component_rt.abi.adapter_block import VMAdapter
from component_rt.abi.flat import Flattened, flatten_functype
from core_rt.compile.host import host_machine
from core_rt.compile.image import load
from core_rt.native import CodeArena

if TYPE_CHECKING:
    from core_rt.engine import Engine

__all__ = ["AdapterCode", "AdapterSignature"]


@attrs.frozen
class AdapterSignature:
    """What the code of an adapter depends on."""

    type: t.FuncType
    encoding: str
    post_return: bool
    entered: int
    guarded: bool
    """Something in the tree may throw exceptions, which must not come out of the call."""

    @property
    def flattened(self) -> tuple[Flattened, Flattened]:
        """How the caller passes, and how the callee takes."""
        return (
            flatten_functype(self.type, "lower", 4, False),
            flatten_functype(self.type, "lift", 4, False),
        )


def stub_code() -> bytes:
    """The stub, for any signature: jumps to `callee` of the block that is its first argument, with `data` in place of that."""
    callee, data = VMAdapter["callee"], VMAdapter["data"]
    if host_machine() == "x86_64":
        return struct.pack(
            "<3sI3sI2s", b"\x48\x8b\x87", callee, b"\x48\x8b\xbf", data, b"\xff\xe0"
        )  # mov rax, mov rdi, jmp rax
    load = 0xF9400000  # ldr x9, [x0, #callee]; ldr x0, [x0, #data]; br x9
    return struct.pack("<3I", load | callee // 8 << 10 | 9, load | data // 8 << 10, 0xD61F0000 | 9 << 5)


class AdapterCode:
    """Machine code of adapters by signature, and the stub in front of them; one for each component. Thread-safe."""

    __slots__ = ("_adapters", "_arena", "_lock", "stub")

    def __init__(self) -> None:
        self._adapters: dict[AdapterSignature, int] = {}
        self._arena = CodeArena()
        self._lock = threading.Lock()
        code = stub_code()
        view, self.stub = self._arena.alloc(len(code))
        view[: len(code)] = code
        self._arena.publish()

    def adapter(self, engine: Engine, signature: AdapterSignature) -> int:
        """The address of the adapter for a signature."""
        with self._lock:
            address = self._adapters.get(signature)
            if address is None:
                from component_rt.abi.adapter import adapter_text

                code = engine.compiler.jit.compile(adapter_text(signature), optimise=True)
                address = self._adapters[signature] = load(self._arena, code).entries["adapter"]
            return address
