"""Streams and futures as trio has them: `ReceiveStream`, `SendStream`, `ReceiveChannel`, `SendChannel`, awaitables.

Each is a thin face over a `Reader` or `Writer` of `ends`. Waiting and what cancels it is all there is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, final

import trio

from component_rt import types as t
from component_rt.tasks.ends import BYTES, ITEMS, Offered, Reader, Writer, chunks_of
from component_rt.tasks.streams import SharedBase, SharedStream
from core_rt.errors import StoreError

if TYPE_CHECKING:
    from component_rt.store import Store

__all__ = [
    "GuestFuture",
    "ReceiveBytes",
    "ReceiveItems",
    "SendBytes",
    "SendItems",
    "open_channel",
    "open_stream",
    "reader_of",
    "shared_of",
    "telling",
]


class _Waiting:
    """A task that waits at `end` until `done()`."""

    __slots__ = ("_done", "_sleeping", "_task", "give_up", "problem", "store")
    call = None

    def __init__(self, end: Reader | Writer, done: Callable[[], bool], ours: bool) -> None:
        self.store: Any = end.store
        self._done = done
        self._sleeping = False
        self._task = trio.lowlevel.current_task()
        self.problem: BaseException | None = None
        self.give_up: Callable[[BaseException], None] | None = None if ours else self._stuck

    def wake(self) -> None:
        """It may be done."""
        if self._sleeping and self._done():
            self._sleeping = False
            trio.lowlevel.reschedule(self._task)

    def _stuck(self, error: BaseException) -> None:
        if self._sleeping:
            self._sleeping, self.problem = False, error
            trio.lowlevel.reschedule(self._task)

    def _abort(self, raise_cancel: object) -> trio.lowlevel.Abort:
        self._sleeping = False
        return trio.lowlevel.Abort.SUCCEEDED

    async def sleep(self) -> None:
        self._sleeping = True
        watch = self.store.watch
        watch.waits(self._task, self)
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            watch.goes_on(self._task)
        if self.problem is not None:
            raise self.problem


async def _wait(
    end: Reader | Writer, done: Callable[[], bool], give_up: Callable[[], None], ours: bool = False
) -> None:
    """Wait until `done()`; `end.wake` says when to look. `ours`: in a task of the store.

    Raises `Trap` if it can never be, unless `ours`.
    """
    waiting = _Waiting(end, done, ours)
    end.wake = waiting.wake
    try:
        if done():
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await waiting.sleep()
    except BaseException:
        give_up()
        raise
    finally:
        end.wake = _nothing


def _nothing() -> None:
    return None


# ---------------------------------------------------------------------------------------------------- from guests


class _Receiver:
    """Reads chunks, one task at a time."""

    __slots__ = ("_busy", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._busy = False

    def detach(self, of: Any, resource: Callable[[Any], Any]) -> SharedBase:
        """The rendezvous, to be given to a guest."""
        shared = self._reader.detach()
        if shared.resource is _unknown:
            shared.t, shared.resource = of.t, resource
        return shared

    async def _chunk(self, room: int) -> Any:
        """The next chunk, or None at the end."""
        reader = self._reader
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._busy:
            raise trio.BusyResourceError("another task is already receiving from this stream")
        if reader.closed:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if reader.store.closed and not reader.given:
            raise trio.BrokenResourceError("the store was closed")
        self._busy = True
        try:
            if not reader.given and not reader.at_end and not reader.reading:
                reader.start(room)
            await _wait(reader, lambda: bool(reader.given) or reader.at_end or reader.closed, reader.stop)
        finally:
            self._busy = False
        if reader.closed:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if reader.given:
            return reader.given.pop(0)
        if reader.shared.source_error is not None:
            raise reader.shared.source_error  # no guest in between: the host reads what it gave itself
        if reader.shared.failure is not None:
            raise trio.BrokenResourceError("the guest that wrote this was ended") from reader.shared.failure
        return None

    async def aclose(self) -> None:
        """Read no more; the guest learns that at its next write."""
        self._reader.close()
        await trio.lowlevel.checkpoint()

    def __del__(self) -> None:
        # The collector may run anywhere, in the middle of a guest's call or in a worker thread.
        reader = self._reader
        token = getattr(reader.store, "token", None)
        if token is not None and not reader.closed and not reader.store.closed:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(reader.close)


@final
class ReceiveBytes(_Receiver, trio.abc.ReceiveStream):
    """A `stream<u8>` from a guest."""

    __slots__ = ()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes as they come, at most `max_bytes`; `b""` at the end."""
        if max_bytes is not None:
            if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
                raise TypeError("max_bytes must be an integer >= 1")
            if max_bytes < 1:
                raise ValueError("max_bytes must be >= 1")
        room = BYTES if max_bytes is None else min(max_bytes, BYTES)
        chunk: bytes | None = await self._chunk(room)
        if chunk is None:
            return b""
        if len(chunk) > room:
            self._reader.given.insert(0, chunk[room:])
            return chunk[:room]
        return chunk


@final
class ReceiveItems(_Receiver, trio.abc.ReceiveChannel[Any]):
    """A `stream<T>` from a guest; an asynchronous iterator."""

    __slots__ = ("_items",)

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._items: list[Any] = []

    async def receive(self) -> Any:
        """The next element. Raises `trio.EndOfChannel` at the end."""
        if not self._items:
            chunk = await self._chunk(ITEMS)
            if chunk is None:
                raise trio.EndOfChannel
            self._items = list(reversed(chunk))
        else:
            if self._reader.closed:
                raise trio.ClosedResourceError("this end of the stream was closed")
            await trio.lowlevel.checkpoint()
        return self._items.pop()

    def detach(self, of: Any, resource: Callable[[Any], Any]) -> SharedBase:
        if self._items:
            raise ValueError("a stream that is being read cannot be given away")
        return super().detach(of, resource)


@final
class GuestFuture(_Receiver):
    """A `future<T>` from a guest: `await` gives the value, as often as it is asked."""

    __slots__ = ("_others", "_value")

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._value: list[Any] = []
        self._others = trio.lowlevel.ParkingLot()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._get().__await__()

    async def _get(self) -> Any:
        while not self._value:
            if self._busy:
                await self._others.park()  # until whoever reads has the value, or gives up
                continue
            try:
                chunk = await self._chunk(1)
            finally:
                self._others.unpark_all()
            if chunk is None:
                raise trio.BrokenResourceError("the future was dropped without a value")
            self._value = [chunk[0]]
            self._reader.close()
            return chunk[0]
        await trio.lowlevel.checkpoint()
        return self._value[0]


def reader_of(store: Store, of: Any) -> Callable[[SharedBase], Any]:
    """`wrap(shared)`: the object for a stream or future that a guest gave."""
    cls: Any = ReceiveItems
    if of.kind == "future":
        cls = GuestFuture
    elif of.t is not None and of.t.kind == "u8":
        cls = ReceiveBytes
    return lambda shared: cls(Reader(store, of, shared))


# ---------------------------------------------------------------------------------------------------- to guests


def shared_of(store: Any, of: Any, make: Callable[[], SharedBase]) -> Callable[[Any], SharedBase]:
    """`give(value)`: the rendezvous for what Python gives as a stream or future."""

    def give(value: Any) -> SharedBase:
        shared = make()
        if isinstance(value, _Receiver):
            return value.detach(of, shared.resource)
        if isinstance(value, Offered):
            value.begin(store, of, shared)
            return shared
        if of.kind == "future":
            _give_future(store, of, shared, value)
            return shared
        chunks = chunks_of(value, of)
        if chunks is not None:
            Writer(store, of, shared, chunks.__next__).start()
        elif isinstance(value, trio.abc.ReceiveStream | AsyncIterable):
            writer = Writer(store, of, shared, _nothing_yet)
            store.start_task(_feed, writer, value, name=f"feed a {of}")
        else:
            raise TypeError(f"{value!r} is neither iterable nor asynchronously iterable (wanted a {of})")
        return shared

    return give


def _nothing_yet() -> None:
    return None


@contextlib.contextmanager
def telling(fail: Callable[[BaseException], None]) -> Generator[None, None, None]:
    """What goes wrong inside is told to `fail` and goes no further, unless it is no `Exception`: that ends the store as well."""
    try:
        yield
    except trio.Cancelled:
        raise
    except BaseException as error:
        fail(error)
        if not isinstance(error, Exception):
            raise


def _give_future(store: Any, of: Any, shared: SharedBase, value: Any) -> None:
    if not isinstance(value, Awaitable):
        Writer(store, of, shared, iter([[value]]).__next__).start()
        return
    writer = Writer(store, of, shared, _nothing_yet)

    async def wait() -> None:
        with telling(writer.fail):
            await _offer(writer, [await value], ours=True)

    store.start_task(wait, name=f"await a {of}")


async def _feed(writer: Writer, source: Any) -> None:
    """Give a guest what an asynchronous source brings, as fast as the guest takes it."""
    byte = writer.of.t is not None and writer.of.t.kind == "u8"
    try:
        with telling(writer.fail):
            async for value in source:
                chunk = value if byte and not isinstance(value, int) else bytes([value]) if byte else [value]
                if not await _offer(writer, bytes(chunk) if byte else chunk, ours=True):
                    break
            else:
                writer.finish()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await close()


async def _offer(writer: Writer, chunk: Any, ours: bool = False) -> bool:
    """Give a chunk and wait until it is taken. False: nobody reads any more."""
    if not writer.closed and len(chunk):
        writer.put(chunk)
        await _wait(writer, lambda: writer.idle or writer.closed, _nothing, ours)
    return not writer.closed or (writer.idle and writer.of.kind == "future")


# ---------------------------------------------------------------------------------------------------- pairs


def _unknown(rid: Any) -> Any:
    """Stands for the resources of a stream whose type is not known yet."""
    raise StoreError("the type of this stream is not known before it is given to a guest")


class _Sender:
    __slots__ = ("_busy", "_writer")

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._busy = False

    async def _send(self, chunk: Any) -> None:
        writer = self._writer
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._busy:
            raise trio.BusyResourceError("another task is already sending to this stream")
        if writer.store.closed:
            raise trio.BrokenResourceError("the store was closed")
        self._check()
        self._busy = True
        try:
            if not writer.idle:
                await _wait(writer, lambda: writer.idle or writer.closed, _nothing)
            if not writer.closed and len(chunk):
                await _offer(writer, chunk)
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._busy = False
        self._check()

    def _check(self) -> None:
        if self._writer.failure is not None:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if self._writer.closed:
            raise trio.BrokenResourceError("nobody reads this stream any more")

    async def aclose(self) -> None:
        """No more: the reader comes to the end of the stream."""
        if self._writer.failure is None:
            self._writer.failure = trio.ClosedResourceError()
        self._writer.close()
        await trio.lowlevel.checkpoint()


@final
class SendBytes(_Sender, trio.abc.SendStream):
    """The sending end of `AsyncStore.open_stream`."""

    __slots__ = ()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and wait until the reader has taken everything."""
        await self._send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the reader has taken everything that was sent."""
        writer = self._writer
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._busy:
            raise trio.BusyResourceError("another task is already sending to this stream")
        if writer.failure is not None:
            raise trio.ClosedResourceError("this end of the stream was closed")
        self._busy = True
        try:
            await _wait(writer, lambda: _has_reader(writer), _nothing)
        finally:
            self._busy = False
        if writer.failure is not None:
            raise trio.ClosedResourceError("this end of the stream was closed")


def _has_reader(writer: Writer) -> bool:
    return writer.closed or writer.idle


@final
class SendItems(_Sender, trio.abc.SendChannel[Any]):
    """The sending end of `AsyncStore.open_channel`."""

    __slots__ = ()

    async def send(self, value: Any) -> None:
        """Send one element, and wait until the reader has taken it."""
        await self._send([value])


def open_stream(store: Store) -> tuple[SendBytes, ReceiveBytes]:
    """Two ends of a `stream<u8>`."""
    of = t.StreamType(t.U8)
    shared = SharedStream(of.t, _unknown)
    return SendBytes(Writer(store, of, shared, _nothing_yet)), ReceiveBytes(Reader(store, of, shared))


def open_channel(store: Store) -> tuple[SendItems, ReceiveItems]:
    """Two ends of a `stream<T>`."""
    of = t.StreamType(None)
    shared = SharedStream(None, _unknown)
    return SendItems(Writer(store, of, shared, _nothing_yet)), ReceiveItems(Reader(store, of, shared))
