"""Streams and futures: one rendezvous object with two thin ends (CanonicalABI.md, "Stream State", "Future State").

Theory of operation. Whoever comes first leaves its buffer with the rendezvous (`pending`); whoever comes second copies.
Nothing is stored in between, and neither side knows whether the other is a guest or the host: both are a `Buffer`.

A buffer of a guest is a range of its memory. Between two guests elements without addresses and handles are copied from memory to
memory (`flat`); others are lifted from one and lowered to the other. The host's buffers hold Python values (`ends`).

`on_copy(reclaim)` tells the waiting side of a stream that something was copied while its buffer stays pending, so that more
may be added until the guest looks; `reclaim` takes the buffer back when it does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from component_rt.handles import trap, trap_if
from component_rt.tasks.states import COPY, CopyState, advance
from component_rt.tasks.waitable import EventCode, Waitable

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance
    from component_rt.tasks.elements import Elements
    from component_rt.tasks.thread import Thread

__all__ = [
    "BLOCKED",
    "MAX_LENGTH",
    "Buffer",
    "CopyEnd",
    "CopyResult",
    "GuestBuffer",
    "ReadableFutureEnd",
    "ReadableStreamEnd",
    "SharedBase",
    "SharedFuture",
    "SharedStream",
    "WritableFutureEnd",
    "WritableStreamEnd",
]

MAX_LENGTH: Final = (1 << 28) - 1
BLOCKED: Final = 0xFFFF_FFFF


class CopyResult(enum.IntEnum):
    """How a copy ended, as guests see it."""

    COMPLETED = 0
    DROPPED = 1
    CANCELLED = 2


OnCopy = Callable[[Callable[[], None]], None]
OnCopyDone = Callable[[CopyResult], None]


class Buffer:
    """Where elements come from or go to. `remain` is how many there are left, or how many more there is room for.

    `inst` is the guest it belongs to, None for the host.
    """

    __slots__ = ()
    inst: ComponentInstance | None
    length: int
    progress: int

    def remain(self) -> int:
        return self.length - self.progress

    def is_zero_length(self) -> bool:
        return not self.length

    def read(self, n: int) -> Any:
        """Take `n` elements, as a sequence."""
        raise NotImplementedError

    def write(self, values: Any, n: int) -> None:
        """Add `n` elements."""
        raise NotImplementedError


class GuestBuffer(Buffer):
    """`length` elements at `address` of a guest's memory; traps unless that is aligned and in bounds."""

    __slots__ = ("address", "elements", "inst", "length", "progress")

    def __init__(self, inst: ComponentInstance, elements: Elements, address: int, length: int) -> None:
        trap_if(length > MAX_LENGTH, "stream read/write count too large")
        self.inst = inst
        self.elements = elements
        self.address = address
        self.length = length
        self.progress = 0
        if length and elements.size:
            trap_if(address & (elements.align - 1), "read pointer not aligned")
            trap_if(address + length * elements.size > elements.memory.length, "read pointer out of bounds of memory")

    def read(self, n: int) -> Any:
        values = self.elements.load(self.address, n)
        self.advance(n)
        return values

    def write(self, values: Any, n: int) -> None:
        self.elements.store(values, self.address, n)
        self.advance(n)

    def advance(self, n: int) -> None:
        self.address += n * self.elements.size
        self.progress += n


def copy(source: Buffer, target: Buffer, n: int) -> None:
    """Move `n` elements."""
    if type(source) is not GuestBuffer or type(target) is not GuestBuffer:
        target.write(source.read(n), n)
        return
    give, take = source.elements, target.elements
    flat = take.flat
    if flat is not None:
        data = give.memory.data
        if (not flat.limits and not flat.chars) or flat.fits(data, source.address, n):
            flat.copy(data, source.address, take.memory.data, target.address, n)
            source.advance(n)
            target.advance(n)
            return
    # Resources travel as bare reps between guests, as in calls.
    take.store(give.load_for_guest(source.address, n), target.address, n, True)
    source.advance(n)
    target.advance(n)


class SharedBase:
    """What both ends refer to. `t` is the type of elements, `resource` what its resource types mean."""

    __slots__ = (
        "dropped",
        "failure",
        "on_drop",
        "pending",
        "pending_on_copy_done",
        "reader_is_pending",
        "resource",
        "source_error",
        "t",
        "wanted",
    )

    def __init__(self, t: Any, resource: Callable[[Any], Any]) -> None:
        self.t = t
        self.resource = resource
        self.dropped = False
        self.on_drop: Callable[[], None] | None = None
        """Called when one end is gone, for a host that has nothing pending."""
        self.failure: BaseException | None = None
        """What ended the guest at one end before it could end the stream."""
        self.source_error: BaseException | None = None
        """What the host's iterable or awaitable raised: whoever reads gets that."""
        self.pending: Buffer | None = None
        self.reader_is_pending = False
        self.pending_on_copy_done: OnCopyDone | None = None
        self.wanted = 0
        """How many elements whoever came last had room for, or to give, when the other side was told of it."""

    def reset_pending(self) -> None:
        self.pending = None
        self.pending_on_copy_done = None

    def reset_and_notify_pending(self, result: CopyResult) -> None:
        done = self.pending_on_copy_done
        assert done is not None
        self.reset_pending()
        done(result)

    def cancel(self) -> None:
        """Whoever waits wants to wait no longer."""
        self.reset_and_notify_pending(CopyResult.CANCELLED)

    def drop(self) -> None:
        """One end is gone."""
        if not self.dropped:
            self.dropped = True
            if self.pending is not None:
                self.reset_and_notify_pending(CopyResult.DROPPED)
            if self.on_drop is not None:
                self.on_drop()

    def fail(self, inst: ComponentInstance, error: BaseException) -> None:
        """The guest `inst`, which has one end, is no more."""
        if self.pending is not None and self.pending.inst is inst:
            self.reset_pending()
        if not self.dropped:
            self.failure = error
            self.drop()

    def copy(self, buffer: Buffer, is_reader: bool, on_copy: OnCopy, on_copy_done: OnCopyDone) -> None:
        """One end reads into (`is_reader`) or writes from `buffer`."""
        raise NotImplementedError

    def check_same_instance(self, buffer: Buffer) -> None:
        """A guest may not talk to itself about anything but numbers (for now, says the specification)."""
        pending = self.pending
        assert pending is not None
        if buffer.inst is not None and buffer.inst is pending.inst and not none_or_number(self.t):
            raise trap("cannot read from and write to intra-component stream or future with this element type")


_NUMBERS = frozenset(["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64"])


def none_or_number(t: Any) -> bool:
    return t is None or t.kind in _NUMBERS


class SharedStream(SharedBase):
    """The rendezvous of a stream."""

    __slots__ = ("pending_on_copy",)

    def copy(self, buffer: Buffer, is_reader: bool, on_copy: OnCopy, on_copy_done: OnCopyDone) -> None:
        pending = self.pending
        if self.dropped:
            if is_reader and self.source_error is not None:
                raise self.source_error
            on_copy_done(CopyResult.DROPPED)
        elif pending is None:
            self._leave(buffer, is_reader, on_copy, on_copy_done)
        else:
            self.check_same_instance(buffer)
            there, here = pending.remain(), buffer.remain()
            if there:
                if here:
                    self._transfer(pending, buffer, is_reader, min(there, here))
                on_copy_done(CopyResult.COMPLETED)
            elif not is_reader and buffer.is_zero_length() and pending.is_zero_length():
                # A writer that only asks whether somebody reads: the waiting reader keeps waiting, so that it cannot starve.
                on_copy_done(CopyResult.COMPLETED)
            else:
                # Whoever is told may go, or come back, at once: the host does that. So this starts anew.
                self.wanted = here
                self.reset_and_notify_pending(CopyResult.COMPLETED)
                self.copy(buffer, is_reader, on_copy, on_copy_done)

    def _leave(self, buffer: Buffer, is_reader: bool, on_copy: OnCopy, on_copy_done: OnCopyDone) -> None:
        self.pending = buffer
        self.reader_is_pending = is_reader
        self.pending_on_copy = on_copy
        self.pending_on_copy_done = on_copy_done

    def _transfer(self, pending: Buffer, buffer: Buffer, is_reader: bool, n: int) -> None:
        if is_reader:
            copy(pending, buffer, n)
        else:
            copy(buffer, pending, n)
        self.pending_on_copy(self.reset_pending)


class SharedFuture(SharedBase):
    """The rendezvous of a future: one value, once."""

    __slots__ = ()

    def copy(self, buffer: Buffer, is_reader: bool, on_copy: OnCopy, on_copy_done: OnCopyDone) -> None:
        pending = self.pending
        if self.dropped:
            if is_reader and self.source_error is not None:
                raise self.source_error
            on_copy_done(CopyResult.DROPPED)
        elif pending is None:
            self.pending = buffer
            self.reader_is_pending = is_reader
            self.pending_on_copy_done = on_copy_done
        else:
            self.check_same_instance(buffer)
            if is_reader:
                copy(pending, buffer, 1)
            else:
                copy(buffer, pending, 1)
            self.reset_and_notify_pending(CopyResult.COMPLETED)
            on_copy_done(CopyResult.COMPLETED)


# ---------------------------------------------------------------------------------------------------- ends of guests


class CopyEnd(Waitable):
    """An end in a guest's handle table."""

    __slots__ = ("shared", "state", "why_done")

    code: EventCode
    is_reader: bool
    of: str
    verb: str

    def __init__(self, shared: SharedBase) -> None:
        super().__init__()
        self.shared = shared
        self.state = CopyState.IDLE
        self.why_done = ""

    def advance(self, event: str) -> None:
        self.state = advance(COPY, self.state, event)

    def copying(self) -> bool:
        return self.state in (CopyState.COPYING, CopyState.CANCELLING_COPY)

    def check_idle(self, verb: str) -> None:
        """Trap unless a copy (or lifting, says `verb`) may begin."""
        if self.state is not CopyState.IDLE:
            if self.state is CopyState.DONE:
                raise trap(f"cannot {verb} {self.why_done}")
            raise trap(f"cannot have concurrent operations active on a future/stream: cannot {verb}")

    def drop(self) -> None:
        trap_if(self.copying(), f"cannot drop busy {self.of}")
        self.shared.drop()
        super().drop()

    def copy(self, index: int, buffer: Buffer, thread: Thread | None, is_async: bool) -> Generator[Any, Any, int]:
        """Begin a copy, and unless `is_async` wait until it is over; the payload or `BLOCKED`."""
        code = self.code

        def stream_event(result: CopyResult, reclaim: Callable[[], None] | None) -> tuple[int, int, int]:
            if reclaim is not None:
                reclaim()
            if result is CopyResult.DROPPED:
                self.why_done = (
                    f"after being notified that the {'writable' if self.is_reader else 'readable'} end dropped"
                )
                self.advance("end")
            else:
                self.advance("complete")
            return code, index, result | buffer.progress << 4

        def future_event(result: CopyResult, reclaim: Callable[[], None] | None) -> tuple[int, int, int]:
            if result is CopyResult.CANCELLED:
                self.advance("complete")
            else:
                self.why_done = f"after previous {'read' if self.is_reader else 'write'} succeeded" + (
                    "" if self.is_reader else " or readable end dropped"
                )
                self.advance("end")
            return code, index, int(result)

        event = stream_event if self.of == "stream" else future_event

        def on_copy(reclaim: Callable[[], None]) -> None:
            def copied() -> tuple[int, int, int]:
                # Only a part was copied and the guest wanted no more: that is what the suite calls cancelled.
                early = self.state is CopyState.CANCELLING_COPY and buffer.remain() > 0
                return event(CopyResult.CANCELLED if early else CopyResult.COMPLETED, reclaim)

            self.set_pending_event(copied)

        def on_copy_done(result: CopyResult) -> None:
            self.set_pending_event(lambda: event(result, None))

        self.advance("copy")
        self.shared.copy(buffer, self.is_reader, on_copy, on_copy_done)
        return self.outcome(thread, is_async)

    def cancel(self, thread: Thread | None, is_async: bool) -> Generator[Any, Any, int]:
        """End a copy early; the payload or `BLOCKED`."""
        self.advance("cancel")
        if not self.has_pending_event():
            self.shared.cancel()
        return self.outcome(thread, is_async)

    def outcome(self, thread: Thread | None, is_async: bool) -> Generator[Any, Any, int]:
        if not self.has_pending_event():
            if is_async:
                return BLOCKED
            assert thread is not None
            yield from self.wait_for_pending_event(thread)
        return self.get_pending_event()[2]


class ReadableStreamEnd(CopyEnd):
    __slots__ = ()
    code, is_reader, of, verb = EventCode.STREAM_READ, True, "stream", "read from stream"


class WritableStreamEnd(CopyEnd):
    __slots__ = ()
    code, is_reader, of, verb = EventCode.STREAM_WRITE, False, "stream", "write to stream"


class ReadableFutureEnd(CopyEnd):
    __slots__ = ()
    code, is_reader, of, verb = EventCode.FUTURE_READ, True, "future", "read from future"


class WritableFutureEnd(CopyEnd):
    __slots__ = ()
    code, is_reader, of, verb = EventCode.FUTURE_WRITE, False, "future", "write to future"

    def drop(self) -> None:
        trap_if(
            self.state is not CopyState.DONE and not self.copying(),
            "cannot drop future write end without first writing a value",
        )
        super().drop()
