"""A store: the world that instances, functions and memories live in, and the loop that answers a guest.

Theory of operation. A call from the host (`Func.__call__`) is one C call, `vm_call`. It returns when the guest's function has
returned (status 0) or when the guest *left* its stack because it needs the host: a host function, a builtin that
Python does, code that is not compiled yet, an interrupt, a trap. `Store.finish` answers and resumes until the call is
over. So Python never runs on a guest's stack, and an exception raised by a host function only has to drop the fiber.

Invariants:
- `level` is how many host functions of this store are being run right now by this thread, one inside the other. Between
  two statements of Python, `context.depth` (calls entered, in C) is `level`, or `level + 1` while a call is being answered.
  Whoever lets an exception out therefore abandons fibers until depth is level again (`leave`).
- Only the thread that owns the store (`context.owner`, set by `vm_call` while depth > 0) touches it; others get STATUS_BUSY.
- The ValRaw buffer `context.values` is written and read with nothing in between (see `VMStoreContext`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, final

from core_rt import native
from core_rt.errors import EngineBug, ExhaustionError, GuestException, StoreError, Trap, TrapCode, WasmError
from core_rt.limits import Limits
from core_rt.native import ffi
from core_rt.tag import Tag
from core_rt.vm import structs
from core_rt.vm.backtrace import Backtrace
from core_rt.vm.libcalls import LIBCALLS
from core_rt.vm.refs import References

if TYPE_CHECKING:
    from core_rt.engine import Engine
    from core_rt.func import Func
    from core_rt.globals import Global
    from core_rt.instance import Extern, Instance
    from core_rt.memory import Memory
    from core_rt.module import Module
    from core_rt.table import Table
    from core_rt.types import DefType
    from core_rt.vm.template import Template

__all__ = ["PARK", "Store"]

PARK: Final = object()
"""What a raw host function returns to leave its guest suspended: `finish` then returns the parked fiber."""

_RETURNED = structs.STATUS_RETURNED
_HOST_CALL = structs.STATUS_HOST_CALL
_LIBCALL = structs.STATUS_LIBCALL
_COMPILE = structs.STATUS_COMPILE
_INTERRUPT = structs.STATUS_INTERRUPT
_TRAP = structs.STATUS_TRAP
_NO_FIBER = structs.STATUS_NO_FIBER
_BUSY = structs.STATUS_BUSY
_CLOSED = structs.STATUS_CLOSED
_THROWN = -2  # not of the shim: resume, an exception waits there

_DEFAULT_LIMITS = Limits()
_LOOSE = 1 << 31
"""Numbers of what belongs to no instance begin here."""
_M32 = (1 << 32) - 1


@final
class Store:
    """Holds instances and all that belongs to them; a context manager, `close()` frees everything at once.

    `data` is the user's own. A store may be used by one thread at a time (`StoreError` otherwise); stores are
    independent, and guests of different stores run in parallel.
    """

    __slots__ = (
        "__weakref__",
        "_epoch_deadline",
        "_fibers",
        "_host_contexts",
        "_host_word",
        "_hosts",
        "_late_hosts",
        "_loose",
        "_refs",
        "closed",
        "context",
        "data",
        "engine",
        "funcs",
        "globals",
        "instances",
        "level",
        "limits",
        "memories",
        "memory_bytes",
        "memory_count",
        "modules",
        "native",
        "on_interrupt",
        "park_depth",
        "refs",
        "seconds_in_slices",
        "table_count",
        "table_elements",
        "tags",
        "u32",
        "u64",
    )

    refs: References
    """Made when something first asks."""

    def __init__(self, engine: Engine, data: object = None, limits: Limits | None = None) -> None:
        self.engine = engine
        self.data = data
        self.limits = _DEFAULT_LIMITS if limits is None else limits
        self.native = context = native.StoreContext()
        self.context: Any = context.context
        self.context.engine = engine.number
        self.u32, self.u64 = context.pointers
        self.level = self.park_depth = 0
        self.closed = False
        self.instances: list[Instance] = []
        self.modules: dict[Module, None] = {}
        self.memories: list[Memory] = []
        """Those that there is a Python object for."""
        self.tags: list[Tag] = []
        self.globals: dict[int, Global] = {}
        """Those that belong to no instance, by address."""
        self.funcs: list[Func] = []
        self.memory_bytes = self.memory_count = self.table_elements = self.table_count = 0
        self._host_word: memoryview | None = None
        self._hosts: list[Callable[[], object]] = []
        self._host_contexts: list[Any] = []
        self._late_hosts: list[tuple[int, int, Callable[[int], Func]]] = []
        self._loose: list[Any] = []
        self._fibers: native.FiberStacks | None = None
        self._epoch_deadline: int | None = None
        self.on_interrupt: Callable[[], object] | None = None
        """Called when a guest has run into a tick of the epoch; it may answer `PARK` where `can_park`."""
        self.seconds_in_slices = 0.0
        """Processor time that guests have spent in `resume_slice`."""
        self._refs: References | None = None

    def __getattr__(self, name: str) -> Any:
        if name != "refs":
            raise AttributeError(f"a Store has no attribute {name!r}")
        self.refs = self._refs = References(self)
        return self.refs

    @property
    def has_refs(self) -> bool:
        """Whether anything asked for `refs` yet."""
        return self._refs is not None

    # ------------------------------------------------------------------------------------------------ life

    def __enter__(self) -> Store:
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free everything that belongs to the store. Items that user code still holds raise `StoreError` when used."""
        if self.closed:
            return
        if self.context.depth:
            raise StoreError("a store cannot be closed while a guest of it is running")
        self.native.end()
        self.closed = True
        for memory in self.memories:
            memory.release()
        for instance in self.instances:
            instance.release()
        for items in (
            self.instances,
            self.memories,
            self.tags,
            self.funcs,
            self._hosts,
            self._host_contexts,
            self._late_hosts,
            self.globals,
            self._loose,
        ):
            items.clear()
        self.modules.clear()
        if self._refs is not None:
            self._refs.clear()
        self.memory_bytes = self.memory_count = self.table_elements = self.table_count = 0

    def check(self) -> None:
        """Raise `StoreError` if the store was closed."""
        if self.closed:
            raise StoreError("the store is closed")

    def statistics(self) -> dict[str, int]:
        """Counts of what the store holds: instances, memories and bytes in them, tables, live externrefs, fibers ..."""
        return {
            "instances": len(self.instances),
            "memories": self.memory_count,
            "memory_bytes": self.memory_bytes,
            "tables": self.table_count,
            "table_elements": self.table_elements,
            "host_functions": len(self._hosts),
            "fibers": 0 if self._fibers is None or self.closed else self._fibers.count,
            "running": self.context.depth,
            **self.refs.statistics(),
        }

    def collect(self) -> int:
        """Collect garbage now; returns how many references were freed."""
        self.check()
        return self.refs.collect()

    # ------------------------------------------------------------------------------------------------ fuel and epochs

    @property
    def fuel(self) -> int:
        """Fuel left, in instructions; the engine's config must have `consume_fuel`."""
        self._needs_fuel()
        return max(0, int(self.context.fuel))

    @fuel.setter
    def fuel(self, value: int) -> None:
        self._needs_fuel()
        if not 0 <= value < 1 << 63:
            raise ValueError(f"fuel must be in 0..2^63-1, not {value}")
        self.context.fuel = value

    def _needs_fuel(self) -> None:
        self.check()
        if not self.engine.config.consume_fuel:
            raise WasmError("fuel is not counted: use Config(consume_fuel=True)")

    def set_epoch_deadline(self, ticks: int) -> None:
        """Trap guests (`TrapCode.INTERRUPT`) once the engine's epoch has been incremented `ticks` times from now."""
        if not self.engine.config.epoch_interruption:
            raise WasmError("guests do not look at the epoch: use Config(epoch_interruption=True)")
        if ticks < 0:
            raise ValueError("ticks must not be negative")
        self._epoch_deadline = self.engine.epoch + ticks

    # ------------------------------------------------------------------------------------------------ what guests need

    def host(self, function: Callable[[], object]) -> int:
        """Register a host function that finds its arguments in the values buffer; returns its index."""
        self._hosts.append(function)
        return len(self._hosts) - 1

    def view(self, code: str) -> memoryview:
        """The values buffer as numbers of a `struct` code (i I q Q f d), for host functions: quicker than a pointer."""
        return self.native.view(code)

    def late_host(self, make: Callable[[], Callable[[], object]]) -> Callable[[], object]:
        """What to register for a host function that `make()` gives on its first call; from then on it is called directly."""
        hosts = self._hosts
        index = len(hosts)

        def first() -> object:
            hosts[index] = handler = make()
            return handler()

        return first

    def add_fiber(self) -> None:
        """Make one more fiber, because a call found none. Traps where calls are nested too deeply."""
        if self.context.depth > self.limits.nested_calls:
            raise Trap(TrapCode.STACK_OVERFLOW)
        if self._fibers is None:
            self._fibers = native.FiberStacks(self.native, self.engine.config.stack_size)
        self._fibers.new()

    def keep(self, cdata: object) -> None:
        """Keep memory that guests point to as long as the store is open."""
        self._host_contexts.append(cdata)

    def reserve(self, template: Template) -> None:
        """Account for the memories and tables of a template. `ExhaustionError` where the limits do not allow them."""
        limits = self.limits
        if self.memory_count + template.memories > limits.memories:
            raise ExhaustionError(f"more than {limits.memories} memories in one store")
        if self.table_count + template.tables > limits.tables:
            raise ExhaustionError(f"more than {limits.tables} tables in one store")
        if not self.add_memory_bytes(template.memory_bytes):
            raise ExhaustionError(
                f"memory of {template.memory_bytes} bytes is over the store's limit of {limits.memory_bytes}"
            )
        if not self.add_table_elements(template.table_elements):
            self.memory_bytes -= template.memory_bytes
            raise ExhaustionError(
                f"table of {template.table_elements} elements is over the store's limit of {limits.table_elements}"
            )
        self.memory_count += template.memories
        self.table_count += template.tables

    def unreserve(self, template: Template) -> None:
        """The reverse of `reserve`."""
        self.memory_count -= template.memories
        self.memory_bytes -= template.memory_bytes
        self.table_count -= template.tables
        self.table_elements -= template.table_elements

    def make_loose(self, template: Template, item: Memory | Table) -> int:
        """Make a memory or table that belongs to no instance; the address of its context. `ExhaustionError`."""
        self.check()
        self.reserve(template)
        try:
            place = native.instantiate(self.context, template.plan, _LOOSE + len(self._loose), ())
        except ExhaustionError:
            self.unreserve(template)
            raise
        self._loose.append(item)
        return place

    def late_hosts(self, count: int, bind: Callable[[int], Callable[[], object]], face: Callable[[int], Func]) -> int:
        """Register `count` host functions at once; returns the index of the first.

        `bind(i)` gives the handler of the i-th when it is first called, `face(i)` the `Func` when one is asked for.
        """
        hosts, first, view = self._hosts, len(self._hosts), self.native.view

        def unbound() -> object:
            index = view("host_index")[0]
            hosts[index] = handler = bind(index - first)
            return handler()

        hosts += [unbound] * count
        self._late_hosts.append((first, count, face))
        return first

    def func_at(self, address: int) -> Func:
        """The function whose `VMFuncRef` has that address."""
        ref = ffi.cast("VMFuncRef *", address)
        if ref.handle:
            return self.funcs[int(ref.handle) - 1]
        host = ffi.cast("VMHostFuncContext *", ref.vmctx)
        if host.magic != structs.HOST_MAGIC:
            return self.instance_of(ref.vmctx).func(ref.function)
        for first, count, face in self._late_hosts:
            if first <= host.index < first + count:
                return face(host.index - first)
        raise EngineBug(f"nobody knows host function {host.index}")

    def item_at(self, kind: str, address: int) -> Extern:
        """The item whose reference or definition has that address."""
        if kind == "func":
            return self.func_at(address)
        if kind == "memory":
            return self.memory_at(ffi.cast("VMMemoryDefinition *", address).handle)
        if kind == "table":
            return self.table_at(ffi.cast("VMTableDefinition *", address).handle)
        if kind == "tag":
            return self.tags[ffi.cast("VMTagDefinition *", address).handle - 1]  # type: ignore[no-any-return]
        found = self.globals.get(address)
        if found is None:
            instance = next(i for i in self.instances if i.base <= address < i.base + i.module.layout.size)
            found = instance.global_at(address)
        return found

    def memory_at(self, handle: int) -> Memory:
        """The memory whose definition has that handle."""
        number = handle >> 32
        if number >= _LOOSE:
            return self._loose[number - _LOOSE]  # type: ignore[no-any-return]
        return self.instances[number].memory(handle & _M32)

    def table_at(self, handle: int) -> Table:
        """The table whose definition has that handle."""
        number = handle >> 32
        if number >= _LOOSE:
            return self._loose[number - _LOOSE]  # type: ignore[no-any-return]
        return self.instances[number].table(handle & _M32)

    def add_memory_bytes(self, count: int) -> bool:
        """Account for linear memory; False when the limit does not allow it."""
        if self.memory_bytes + count > self.limits.memory_bytes:
            return False
        self.memory_bytes += count
        return True

    def add_table_elements(self, count: int) -> bool:
        """Account for table elements; False when the limit does not allow it."""
        if self.table_elements + count > self.limits.table_elements:
            return False
        self.table_elements += count
        return True

    # ------------------------------------------------------------------------------------------------ calls

    def finish(self, site: Any, status: int) -> object:
        """Answer a guest that left with `status` until its call is over.

        Returns None when the results are in the values buffer, or the parked fiber when a raw host function answered `PARK`.
        Raises what a host function raised, `Trap`, or `StoreError`.
        """
        context = self.context
        level = self.level
        hosts = self._hosts
        word = self._host_word
        resume = native.resume_running
        while True:
            try:
                while status:
                    if status == _HOST_CALL:
                        if word is None:
                            word = self._host_word = self.native.view("host_index")
                        self.level = level + 1
                        answer = hosts[word[0]]()
                        self.level = level
                        if answer is PARK:
                            fiber = ffi.cast("VMFiber *", context.running)
                            native.park(fiber)
                            return fiber
                    elif status == _LIBCALL:
                        fiber = ffi.cast("VMFiber *", context.running)
                        fiber.answer[0] = LIBCALLS[fiber.libcall](self, fiber)
                    elif status == _COMPILE:
                        self._compile(ffi.cast("VMFiber *", context.running))
                    elif status == _INTERRUPT:
                        if self._interrupted() is PARK:
                            fiber = ffi.cast("VMFiber *", context.running)
                            native.park(fiber)
                            return fiber
                    elif status == _NO_FIBER:
                        self.add_fiber()
                        status = native.call(site)
                        continue
                    elif status != _THROWN:
                        raise self._refusal(status)
                    status = resume(context)
                return None
            except BaseException as error:
                if status == _BUSY:
                    raise
                if not (status == _HOST_CALL and isinstance(error, GuestException) and self._throw_into(level, error)):
                    self.leave(level, error)
                    if isinstance(error, RecursionError) and level > 8:
                        raise Trap(TrapCode.STACK_OVERFLOW) from error
                    raise
            status = _THROWN

    def _throw_into(self, level: int, error: GuestException) -> bool:
        """A host function raised an exception of guests: hand it to the guest that called, if a `try_table` there waits for one.

        Resuming the fiber then throws it.
        """
        tag = error.tag
        if not isinstance(tag, Tag) or tag.store is not self:
            return False
        self.level = level
        context = self.context
        if context.depth != level + 1 or not native.catches(ffi.cast("VMFiber *", context.running)):
            return False
        try:
            self.refs.make_room()
            context.exception = self.refs.new_exception(error)
        except Exception as wrong:
            self.leave(level, wrong)
            raise
        return True

    @property
    def can_park(self) -> bool:
        """Whether the guest that has just left was entered by `start` or `resume`, whose callers expect parked fibers."""
        return bool(self.context.depth == self.park_depth)

    def start(self, site: Any, status: int | None = None) -> Any:
        """Call a guest that may be parked: its fiber then, else None with the results in the values buffer.

        With `status` the C call has been made already, and was left with that.
        """
        outer = self.park_depth
        self.park_depth = self.level + 1
        try:
            if status is None:
                status = native.call(site)
            return self.finish(site, status) if status else None
        except BaseException as error:
            self.unwind(error)
            raise
        finally:
            self.park_depth = outer

    def resume(self, fiber: Any) -> Any:
        """Continue a parked fiber; what its host function answers is in the values buffer. Returns as `start` does."""
        outer = self.park_depth
        self.park_depth = self.context.depth + 1
        try:
            status = native.resume(fiber)
            return self.finish(None, status) if status else None
        except BaseException as error:
            self.unwind(error)
            raise
        finally:
            self.park_depth = outer

    def resume_slice(self, fiber: Any) -> int:
        """Continue a parked fiber, on any thread, until it needs the host or runs into the next tick; the status then.

        The fiber is parked again in both cases. `settle` deals with the status, on the thread that the host's functions belong to.
        """
        context = self.context
        try:
            since = time.thread_time()
            status: int = native.resume(fiber)
            self.seconds_in_slices += time.thread_time() - since
            while status:
                if status == _LIBCALL:
                    fiber.answer[0] = LIBCALLS[fiber.libcall](self, fiber)
                elif status == _COMPILE:
                    self._compile(fiber)
                else:
                    if status == _INTERRUPT:
                        self._check_deadline()
                    if status in (_INTERRUPT, _HOST_CALL):
                        native.park(fiber)
                    return status
                since = time.thread_time()
                status = native.resume_running(context)
                self.seconds_in_slices += time.thread_time() - since
        except BaseException as error:
            self.unwind(error)
            raise
        return status

    def settle(self, fiber: Any, status: int) -> Any:
        """Go on after `resume_slice`. Returns as `resume` does."""
        if status == _INTERRUPT:
            return self.resume(fiber)
        if status != _HOST_CALL:
            if status:
                raise self._refusal(status)
            return None
        outer = self.park_depth
        self.park_depth = self.context.depth
        try:
            answer = self._hosts[self.context.host_index]()
        except BaseException as error:
            self.discard(fiber, error)
            raise
        finally:
            self.park_depth = outer
        return fiber if answer is PARK else self.resume(fiber)

    def discard(self, fiber: Any, error: BaseException | None) -> None:
        """Drop a parked fiber, because `error` (which gets its frames as notes) passes through or nobody needs it."""
        if self.closed:
            return
        if error is None:
            native.abandon(fiber)
            return
        frames = Backtrace.of_fiber(self, fiber)
        native.abandon(fiber)
        frames.annotate(error)

    def unwind(self, error: BaseException) -> None:
        """For callers of `vm_call`: an exception passes, perhaps one that came between the C call and the next statement.

        A `StoreError` never does (and may mean that the fibers inside are another thread's).
        """
        if self.context.depth > self.level and not isinstance(error, StoreError):
            self.leave(self.level, error)

    def leave(self, level: int, error: BaseException) -> None:
        """Drop what was entered above `level` because `error` passes through; guest frames go into its notes."""
        self.level = level
        context = self.context
        while context.depth > level:
            fiber = ffi.cast("VMFiber *", context.running)
            frames = Backtrace.of_fiber(self, fiber)
            native.abandon(fiber)
            frames.annotate(error)

    def _refusal(self, status: int) -> BaseException:
        if status == _TRAP:
            return self.trapped()
        if status == _BUSY:
            return StoreError("the store is in use by another thread")
        if status == _CLOSED:
            return StoreError("the store is closed")
        return EngineBug(f"unknown status {status}")

    def trapped(self) -> BaseException:
        """The error for a call that came back with `STATUS_TRAP`."""
        fiber = ffi.cast("VMFiber *", self.context.trapped)
        frames = Backtrace.of_trap(self, fiber)
        code = fiber.trap_code
        try:
            trap_code = TrapCode(code)
        except ValueError:
            return EngineBug(f"fault in guest code at 0x{fiber.trap_pc:x}, address 0x{fiber.trap_address:x}")
        return Trap(trap_code, None, frames)

    def _compile(self, fiber: Any) -> None:
        instance = self.instance_of(fiber.vmctx)
        instance.provide(fiber.function)

    def _interrupted(self) -> object:
        """The guest saw the interrupt word. Python has looked for signals on the way here."""
        self._check_deadline()
        return None if self.on_interrupt is None else self.on_interrupt()

    def _check_deadline(self) -> None:
        self._look_for_better_code()
        deadline = self._epoch_deadline
        if deadline is not None and self.engine.epoch >= deadline:
            raise Trap(TrapCode.INTERRUPT, None, Backtrace.of_fiber(self, ffi.cast("VMFiber *", self.context.running)))

    def _look_for_better_code(self) -> None:
        """Say where the guest is, so that what runs long gets optimised; use what was optimised since the last time.

        Only here, on the store's own thread, may references be changed.
        """
        running = ffi.cast("VMFiber *", self.context.running)
        pcs = native.backtrace(running)
        for module in self.modules:
            module.compiled.heat(pcs)
            if pcs:
                entry = module.compiled.loop_entries.get(pcs[0] + 1)
                if entry is not None and native.divert(running, pcs[0] + 1, entry.bridge, entry.mark_at, entry.mark):
                    module.compiled.loops_left += 1
        stale = [instance for instance in self.instances if instance.generation != instance.module.compiled.generation]
        if stale:
            for instance in stale:
                instance.refresh_functions()
            for instance in self.instances:
                instance.refresh_imports()

    def out_of_fuel(self) -> BaseException:
        """The error for a guest that used up its fuel."""
        self.context.fuel = 0
        return ExhaustionError(TrapCode.OUT_OF_FUEL.text)

    def function_type(self, type_id: int) -> DefType:
        """The type of functions of the store with that `DefType.id`."""
        for module in self.modules:
            for type_ in module.decoded.types:
                if type_.id == type_id:
                    return type_
        for func in self.funcs:
            if func.deftype.id == type_id:
                return func.deftype
        raise EngineBug(f"no function of the store has type {type_id}")

    def instance_of(self, vmctx: Any) -> Instance:
        """The instance whose context `vmctx` (a pointer) is."""
        header = ffi.cast("VMContextHeader *", vmctx)
        if header.magic != structs.CORE_MAGIC:
            raise EngineBug(f"no core context at {vmctx}: magic 0x{header.magic:x}")
        return self.instances[int(header.handle)]
