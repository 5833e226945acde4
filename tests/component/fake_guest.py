"""A guest made of a bytearray: memory, a bump allocator as `realloc`, the buffer of core values. No engine anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from component_rt import types as t
from component_rt.abi.codegen import CodeCache, Signature
from component_rt.abi.strings import string_loader, string_storer
from component_rt.abi.words import HOST_WORDS, Words
from component_rt.handles import CallScope


class FakeMemory:
    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)
        self.data = memoryview(self.bytes)
        self.length = size


@attrs.define(slots=False)
class FakeContext:
    """Stands for `LiftLowerContext`; handles are numbers that travel unchanged."""

    memory: FakeMemory
    encoding: str = "utf8"
    pointer: int = 4
    words: Words = HOST_WORDS
    next: int = 64
    calls: list[tuple[int, int, int, int]] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        buffer = memoryview(bytearray(64 * 16))
        self.buffer = buffer
        for name, code in {"u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}.items():
            setattr(self, name, buffer.cast(code))

    make_map = staticmethod(dict)
    budget: list[int] = attrs.Factory(lambda: [1 << 30])

    def reallocator(self) -> Callable[[int, int, int, int], int]:
        def realloc(old: int, old_size: int, align: int, new_size: int) -> int:
            self.calls.append((old, old_size, align, new_size))
            address = (self.next + align - 1) & -align
            self.next = address + new_size
            assert self.next <= self.memory.length, "the fake guest is out of memory"
            if old:
                kept = min(old_size, new_size)
                self.memory.bytes[address : address + kept] = self.memory.bytes[old : old + kept]
            return address

        return realloc

    @property
    def load_string(self) -> Any:
        return string_loader(self.encoding, self.pointer, self.words, False)

    load_counted_string = load_string

    @property
    def store_string(self) -> Any:
        store = self.block_storer(1 if self.encoding == "utf8" else 2)
        return string_storer(self.memory, self.encoding, self.pointer, self.reallocator(), store)

    def block_storer(self, align: int) -> Callable[[Any, int], int]:
        realloc = self.reallocator()

        def store_block(data: Any, size: int) -> int:
            address = realloc(0, 0, align, size)
            self.memory.data[address : address + size] = bytes(data)
            return address

        return store_block

    def _handle(self, _: object) -> Any:
        return lambda value, scope=None: value

    lift_own = lift_borrow = lower_own = lower_borrow = lift_async = lower_async = _handle


class FakeGuest:
    """Lowers and lifts values of given types, as arguments and as results."""

    def __init__(self, size: int = 1 << 20, encoding: str = "utf8", pointer: int = 4) -> None:
        self.cx = FakeContext(FakeMemory(size), encoding, pointer)
        self.code = CodeCache()

    def signatures(self, types: list[t.ValType], result: t.ValType | None) -> tuple[Signature, Signature]:
        func = t.FuncType([(f"p{i}", of) for i, of in enumerate(types)], result)
        return Signature(func, "lift", self.cx.pointer), Signature(func, "lower", self.cx.pointer)

    def pass_arguments(self, types: list[t.ValType], values: list[Any]) -> tuple[Any, ...]:
        """Lower arguments into the guest and lift them out again."""
        lift, lower = self.signatures(types, None)
        lower_args, _ = self.code.get("callee", lift)(self.cx)
        lift_args, _ = self.code.get("caller", lower)(self.cx)
        lower_args(tuple(values), CallScope())
        args, address = lift_args(CallScope())
        assert address is None
        return args  # type: ignore[no-any-return]

    def pass_result(self, of: t.ValType, value: Any, address: int = 1 << 19) -> Any:
        """Lower a result into the guest and lift it out again."""
        lift, lower = self.signatures([], of)
        _, lift_result = self.code.get("callee", lift)(self.cx)
        _, lower_result = self.code.get("caller", lower)(self.cx)
        lower_result(value, address, CallScope())
        if lower.flattened.spilled_result:
            (self.cx.u64 if self.cx.pointer == 8 else self.cx.u32)[0] = address
        return lift_result(CallScope())
