"""What lifting and lowering need at run time: `LiftLowerContext` of the reference semantics.

Generated code binds to a context once per function: the context hands out closures (`load_string`, `lift_own(...)`) that
know memory, `realloc` and handle table. A context comes in two kinds: values that meet Python, and values that go from
one guest to another, where resources travel as bare reps and strings remember how the source held them.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from component_rt import resources
from component_rt.abi.blocks import NEAR, far
from component_rt.abi.mismatch import Mismatch
from component_rt.abi.site import Entry, LiftedSite, Refused
from component_rt.abi.strings import string_loader, string_storer, text_encoder
from component_rt.abi.unit import MAX_LIFTED, over_budget
from component_rt.abi.words import GUEST_WORDS, HOST_WORDS, Words
from component_rt.handles import CallScope, ResourceHandle, remove_own, resource_handle, trapped
from core_rt.errors import StoreError, Trap, TrapCode
from core_rt.native import call_int, lifted_int
from core_rt.vm.structs import CALL_LEFT_MOST, MODE_VALUE, RESULT_U32

if TYPE_CHECKING:
    from component_rt.handles import ResourceType
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.plan import Options
    from component_rt.types import ResourceId, ValType
    from core_rt.func import Func

__all__ = ["GUEST_WORDS", "HOST_WORDS", "LiftLowerContext", "Words", "context_key"]


class NoMemory:
    """Stands for the memory of functions that have none: validation made sure that nothing asks for it."""

    __slots__ = ()
    data: Final = memoryview(b"")


NO_MEMORY: Final = NoMemory()
_PACK_BLOCK = struct.Struct("32s16xI4x").pack
_PACK_REALLOC = {4: struct.Struct("16sI12xI12xI12xI12x").pack, 8: struct.Struct("16sQ8xQ8xQ8xQ8x").pack}
_VIEWS = {"u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}


def context_key(instance: int, owner: Any, options: Options, between_guests: bool) -> Hashable:
    """What tells the contexts of a component's instances apart. `owner`: see `LiftLowerContext.of`."""
    return instance, owner, options.memory, options.realloc, options.encoding, options.pointer, between_guests


M = TypeVar("M", bound=Callable[..., Any])


def _once(make: M) -> M:
    """A method of a context that makes something for its argument (None by default), and keeps it."""
    name = make.__name__

    @functools.wraps(make)
    def method(self: LiftLowerContext, what: Any = None) -> Any:
        key = name, what
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make(self, what)
        return found

    return cast(M, method)


class LiftLowerContext:
    """Options of one canonical definition bound to one instance.

    `between_guests` chooses how resources and strings travel, `resource` finds the resource type that a `ResourceId` means
    to the component that wrote the function's type. Definitions of an instance with the same options share a context (`of`), and
    what a context hands out is made when it is first asked for: a fresh instance binds dozens of functions, each on its first call.
    """

    __slots__ = (
        "_made",
        "_options",
        "between_guests",
        "budget",
        "encode_text",
        "encoding",
        "f32",
        "f64",
        "i32",
        "i64",
        "instance",
        "load_counted_string",
        "load_string",
        "make_map",
        "memory",
        "pointer",
        "realloc_func",
        "resource",
        "store_string",
        "u32",
        "u64",
        "words",
    )

    instance: ComponentInstance
    resource: Callable[[ResourceId], ResourceType]
    encoding: str
    pointer: int
    between_guests: bool
    memory: Any
    realloc_func: Func | None
    load_string: Callable[[Any, int, int], str]
    load_counted_string: Callable[[Any, int, int], str]
    """As `load_string`, charged to `budget`."""
    store_string: Callable[[Any], tuple[int, int]]
    encode_text: Callable[[Any], tuple[bytes, int]]
    words: Words
    make_map: Callable[[list[Any]], Any]
    """What a list of pairs becomes: between guests it stays as it is, for a guest may repeat a key."""

    def __init__(
        self,
        instance: ComponentInstance,
        options: RuntimeOptions,
        owner: ComponentInstance,
        between_guests: bool,
    ) -> None:
        self._options = options
        self.instance = instance
        self.resource = owner.resource
        self.encoding = options.encoding
        self.pointer = options.pointer
        self.between_guests = between_guests
        self.budget = [MAX_LIFTED]
        """Bytes of lists and strings that the present call may still carry."""
        self._made: dict[tuple[str, Any], Any] = {}

    @staticmethod
    def of(
        instance: ComponentInstance,
        options: RuntimeOptions,
        owner: ComponentInstance,
        between_guests: bool,
    ) -> LiftLowerContext:
        """The context of a definition with these options; `owner` is the instance of the component that wrote the function's type."""
        return options.context(instance, owner, between_guests)

    def __getattr__(self, name: str) -> Any:
        """What is made when it is first asked for, and the store's buffer of core values as typed views: `u32`, `i32` ..."""
        code = _VIEWS.get(name)
        if code is not None:
            found = self.instance.store.core.view(code)
        else:
            make = _LATE.get(name)
            if make is None:
                raise AttributeError(f"a context has no attribute {name!r}")
            found = make(self)
        setattr(self, name, found)
        return found

    def _memory(self) -> Any:
        memory = self._options.memory
        return NO_MEMORY if memory is None else memory

    def _load_counted_string(self) -> Callable[[Any, int, int], str]:
        load, budget, width = self.load_string, self.budget, 2 if self.encoding == "utf16" else 1

        def load_counted(mem: Any, address: int, units: int) -> str:
            text = load(mem, address, units)
            budget[0] -= width * len(text)
            if budget[0] < 0:
                over_budget()
            return text

        return load_counted

    def _store_string(self) -> Callable[[Any], tuple[int, int]]:
        realloc = self.reallocator(self.words.string_out_of_bounds)
        store = self.block_storer(1 if self.encoding == "utf8" else 2)
        return string_storer(self.memory, self.encoding, self.pointer, realloc, store)

    @_once
    def reallocator(self, out_of_bounds: str | None = None) -> Callable[[int, int, int, int], int]:
        """`realloc(old, old_size, align, new_size)` of the guest, its answer checked."""
        func = self.realloc_func
        if func is None:
            return _no_realloc
        words = self.words
        unaligned = words.realloc_unaligned
        oob = words.realloc_out_of_bounds if out_of_bounds is None or not self.between_guests else out_of_bounds
        memory, instance = self.memory, self.instance
        flags = instance.flags
        store, head, go_on = func.store, func.head, func.go_on
        pack = _PACK_REALLOC[self.pointer]
        unsigned = (1 << 8 * self.pointer) - 1

        def realloc(old: int, old_size: int, align: int, new_size: int) -> int:
            flags[1] = 0
            packed = pack(head, old, old_size, align, new_size)
            try:
                address = call_int(packed)
                if address <= CALL_LEFT_MOST:
                    address = go_on(packed, address)
            except StoreError:  # closed, or in use by another thread
                flags[1] = 1
                raise
            except BaseException as error:
                store.unwind(error)
                error = trapped(error)
                instance.poison(error)
                raise error
            address &= unsigned
            flags[1] = 1
            if address & (align - 1):
                raise Trap(TrapCode.CANONICAL_ABI, unaligned)
            if address + new_size > memory.length:
                raise Trap(TrapCode.CANONICAL_ABI, oob)
            return address

        return self.instance.store.scheduler.with_fresh_storage(realloc) if instance.uses_tasks else realloc

    @_once
    def block_storer(self, align: int) -> Callable[[Any, int], int]:
        """`store(data, size)`: the address of a copy of a buffer in the guest, by `realloc`."""
        func, instance = self.realloc_func, self.instance
        if func is None or self.between_guests or self.pointer != 4:
            return self._block_in_steps(align)
        entry = Entry(params=1, result=RESULT_U32, mode=MODE_VALUE, size=0, align=1, blocks=((0, align),), direct=False)
        site = LiftedSite(instance, None, entry)
        site.use(self.memory, func, None)
        head, answer, core = site.head, site.answer, func.store

        def store_block(data: Any, size: int) -> int:
            if size <= NEAR:
                packed = _PACK_BLOCK(head, size) + data
            elif size >= 1 << 32:
                raise Mismatch
            else:
                packed, _kept = far(_PACK_BLOCK(head, size), data)
            try:
                address = lifted_int(packed)
                return answer(packed, address) if address <= CALL_LEFT_MOST else address
            except Refused as refused:
                raise refused.reason from None
            except BaseException as error:
                core.unwind(error)
                error = trapped(error)
                instance.poison(error)
                raise error

        return instance.store.scheduler.with_fresh_storage(store_block) if instance.uses_tasks else store_block

    def _block_in_steps(self, align: int) -> Callable[[Any, int], int]:
        realloc, memory = self.reallocator(), self.memory

        def store_block(data: Any, size: int) -> int:
            address = realloc(0, 0, align, size)
            if size:
                memory.data[address : address + size] = data
            return address

        return store_block

    # ------------------------------------------------------------------------------------------------ handles

    @_once
    def lift_own(self, rid: ResourceId) -> Callable[[int, CallScope], Any]:
        """`lift(index, scope)`: the resource behind an `own` handle, which leaves the table."""
        handles, rt = self.instance.handles, self.resource(rid)
        if self.between_guests:
            return lambda index, scope: remove_own(handles, index, rt)
        wrap = resources.lift_own(rt)
        return lambda index, scope: wrap(remove_own(handles, index, rt))

    @_once
    def lift_borrow(self, rid: ResourceId) -> Callable[[int, CallScope], Any]:
        """`lift(index, scope)`: the resource behind a handle, lent until `scope` is released."""
        handles, rt = self.instance.handles, self.resource(rid)

        def lift(index: int, scope: CallScope) -> int:
            handle = resource_handle(handles, index, rt)
            scope.add_lender(handle)
            return handle.rep

        if self.between_guests:
            return lift
        wrap = resources.lift_borrow(rt)
        return lambda index, scope: wrap(lift(index, scope), scope)

    @_once
    def lower_own(self, rid: ResourceId) -> Callable[[Any, CallScope], int]:
        """`lower(value, scope)`: a new `own` handle."""
        handles, rt = self.instance.handles, self.resource(rid)
        if self.between_guests:
            return lambda rep, scope: handles.add(ResourceHandle(rt, rep, True))
        unwrap = resources.lower_own(rt)

        def lower(value: Any, scope: CallScope) -> int:
            index = handles.add(ResourceHandle(rt, unwrap(value, scope), True))
            scope.moved.append(lambda: handles.remove(index))
            return index

        return lower

    @_once
    def lower_borrow(self, rid: ResourceId) -> Callable[[Any, CallScope], int]:
        """`lower(value, scope)`: a borrow handle for the time of the call, or the rep where the instance defines the type."""
        instance, rt = self.instance, self.resource(rid)
        handles = instance.handles

        def lend(rep: int, scope: CallScope) -> int:
            scope.num_borrows += 1
            return handles.add(ResourceHandle(rt, rep, False, scope))

        if self.between_guests:
            return (lambda rep, scope: rep) if instance is rt.impl else lend
        unwrap = resources.lower_borrow(rt)
        return unwrap if instance is rt.impl else lambda value, scope: lend(unwrap(value, scope), scope)

    # ------------------------------------------------------------------------------------------------ async values

    def lift_async(self, of: ValType) -> Callable[[int], Any]:
        """`lift(index)` for a stream, future or error-context."""
        return self.instance.store.async_values.lift(self, of)  # type: ignore[no-any-return]

    def lower_async(self, of: ValType) -> Callable[[Any], int]:
        """`lower(value)` for a stream, future or error-context."""
        return self.instance.store.async_values.lower(self, of)  # type: ignore[no-any-return]


_LATE: Final[dict[str, Callable[[LiftLowerContext], Any]]] = {
    "memory": LiftLowerContext._memory,
    "realloc_func": lambda cx: cx._options.realloc,
    "words": lambda cx: GUEST_WORDS if cx.between_guests else HOST_WORDS,
    "make_map": lambda cx: list if cx.between_guests else dict,
    "load_string": lambda cx: string_loader(cx.encoding, cx.pointer, cx.words, cx.between_guests),
    "load_counted_string": LiftLowerContext._load_counted_string,
    "store_string": LiftLowerContext._store_string,
    "encode_text": lambda cx: text_encoder(cx.encoding, cx.pointer),
}


def _no_realloc(old: int, old_size: int, align: int, new_size: int) -> int:
    raise AssertionError("validation demands realloc where it is used")
