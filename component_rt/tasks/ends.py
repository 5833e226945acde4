"""Ends of streams and futures that Python holds: plain, synchronous halves. `channels` puts trio's faces on them.

A `Reader` takes what a guest writes as soon as it writes it, a `Writer` feeds a guest from an iterable, one chunk at a time:
the next chunk is asked for when the guest has taken the last, so a stream of any length needs the memory of one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from component_rt.handles import trap
from component_rt.tasks.scheduler import Tree
from component_rt.tasks.streams import Buffer, CopyResult, SharedBase, SharedFuture, SharedStream
from component_rt.tasks.thread import once
from core_rt.errors import InstancePoisoned, StoreError

if TYPE_CHECKING:
    from component_rt.store import Store

__all__ = ["BYTES", "ITEMS", "Offered", "Reader", "Writer", "chunks_of", "reader_of", "shared_of"]

BYTES: Final = 1 << 18
"""Most bytes that are taken from a guest, or asked of a file-like source, at a time."""
ITEMS: Final = 4096
"""Most elements of an iterable that are given at a time."""


class Source(Buffer):
    """Values of the host on their way to a guest."""

    __slots__ = ("inst", "length", "progress", "values")

    def __init__(self, values: Any) -> None:
        self.inst = None
        self.values = values
        self.length = len(values)
        self.progress = 0

    def read(self, n: int) -> Any:
        start = self.progress
        self.progress = start + n
        return self.values if n == self.length else self.values[start : start + n]


class Sink(Buffer):
    """Room for values that come from a guest."""

    __slots__ = ("inst", "length", "parts", "progress")

    def __init__(self, room: int) -> None:
        self.inst = None
        self.length = room
        self.progress = 0
        self.parts: list[Any] = []

    def write(self, values: Any, n: int) -> None:
        self.parts.append(values)
        self.progress += n

    def take(self) -> Any:
        """What has come: bytes, or a list."""
        parts = self.parts
        if len(parts) == 1:
            return parts[0]
        if parts and isinstance(parts[0], bytes):
            return b"".join(parts)
        return [value for part in parts for value in part]


class End:
    """What ends have in common. `wake` is called when something has happened that the user waits for."""

    __slots__ = ("_closed", "_counted", "failure", "of", "shared", "store", "wake")

    def __init__(self, store: Store, of: Any, shared: SharedBase) -> None:
        self._counted = True
        self.store = store
        self.of = of
        self.shared = shared
        self._closed = False
        self.failure: BaseException | None = None
        self.wake: Callable[[], None] = _nothing
        store.ends += 1

    @property
    def closed(self) -> bool:
        return self._closed

    def _finished(self) -> None:
        """From now on the end is closed."""
        if not self._closed:
            self._closed = True
            self.be_passive()

    def be_passive(self) -> None:
        """Nobody does anything with this end unless its guest or a task of the store does: it gives no hope to who waits."""
        if self._counted:
            self._counted = False
            self.store.ends -= 1

    def may_copy(self) -> bool:
        """Whether the guest at the other end may be touched now. A guest that is being computed may not."""
        tree = self.tree()
        return tree is None or (tree.aside is None and not self.store.working)

    def tree(self) -> Tree | None:
        pending = self.shared.pending
        return None if pending is None or pending.inst is None else Tree.of(pending.inst)


def _nothing() -> None:
    return None


def _no_more() -> Any:
    raise StopIteration


def _reclaim_nothing(reclaim: Callable[[], None]) -> None:
    """Of nothing nothing is copied."""


class Reader(End):
    """The readable end of a stream or future that a guest gave to the host."""

    __slots__ = ("_sink", "at_end", "given")

    def __init__(self, store: Store, of: Any, shared: SharedBase) -> None:
        super().__init__(store, of, shared)
        self._sink: Sink | None = None
        self.at_end = False
        self.given: list[Any] = []
        """Chunks that have come and were not asked for yet."""

    @property
    def reading(self) -> bool:
        return self._sink is not None

    def start(self, room: int) -> None:
        """Begin to read; `given` or `at_end` change, now or later."""
        assert self._sink is None
        self._sink = Sink(room)
        try:
            self.shared.copy(self._sink, True, self._on_copy, self._on_done)
        except BaseException:
            self._sink = None
            raise

    def _on_copy(self, reclaim: Callable[[], None]) -> None:
        reclaim()
        self._on_done(CopyResult.COMPLETED)

    def _on_done(self, result: CopyResult) -> None:
        sink, self._sink = self._sink, None
        if sink is not None and sink.progress:
            self.given.append(sink.take())
        if result is CopyResult.DROPPED:
            self.at_end = True
        self.wake()

    def stop(self) -> None:
        """Read no more for now; what has come is in `given`."""
        if self._sink is not None and self.shared.pending is self._sink:
            self.shared.cancel()

    def close(self) -> None:
        """Drop the end: the guest learns that nobody reads."""
        if not self.closed:
            self._finished()
            self.stop()
            self.given.clear()
            self.shared.drop()
            self.wake()

    def detach(self) -> SharedBase:
        """The rendezvous, to be given to a guest; this end is closed."""
        if self.closed:
            raise ValueError(f"the {self.of.kind} is closed")
        if self.given or self._sink is not None:
            raise ValueError(f"a {self.of.kind} that is being read cannot be given away")
        self._finished()
        return self.shared


class Writer(End):
    """The writable end of a stream or future whose readable end a guest has. `more()` is called for the next chunk.

    `more` answers a chunk (bytes or a list, not empty), None when there is none yet (then `offer` or `finish` are called later),
    or raises `StopIteration`. If `lazy`, it is called when somebody reads, not ahead.
    """

    __slots__ = ("_asked", "_ended", "_lazy", "_left", "_more", "_source", "_working")

    def __init__(
        self, store: Store, of: Any, shared: SharedBase, more: Callable[[], Any], *, lazy: bool = False
    ) -> None:
        super().__init__(store, of, shared)
        self._more = more
        self._lazy = lazy
        self._asked = not lazy
        """Whether somebody reads; `more` is not called before."""
        self._source: Source | None = None
        self._left = False
        self._working = False
        self._ended = False

    @property
    def idle(self) -> bool:
        """Whether everything that was offered has been taken."""
        return self._source is None

    def offer(self, values: Any) -> None:
        """Give a chunk: the last one has been taken."""
        assert self._source is None
        if len(values):
            self._source = Source(values)
            self._work()

    def put(self, values: Any) -> None:
        """As `offer`; later, if the guest at the other end cannot be entered just now."""
        if self.may_copy():
            self.offer(values)
        else:
            tree = self.tree()
            assert tree is not None
            self.hold(values)
            self.store.scheduler.post(tree, once(self.release))

    def hold(self, values: Any) -> None:
        """As `offer`, but nothing is copied before `release`: the guest at the other end cannot be entered just now."""
        assert self._source is None
        self._source = Source(values)
        self._working = True

    def release(self) -> None:
        self._working = False
        self._work()

    def finish(self) -> None:
        """There is no more: the end is dropped when everything has been taken."""
        self._ended = True
        self._work()

    def start(self) -> None:
        """Begin: the first chunk is asked for."""
        self._work()

    def _work(self) -> None:
        if self._working:
            return
        self._working = True
        try:
            while not self.closed and not self._left and self._step():
                pass
        finally:
            self._working = False
        self.wake()

    def _step(self) -> bool:
        """One copy, or the next chunk. False: nothing to do for now."""
        source = self._source
        if source is None:
            if self._ended:
                self.close()
                return False
            if not self._asked:
                self._left = True
                self.shared.copy(Source(b""), False, _reclaim_nothing, self._on_asked)
                return not self._left
            try:
                values = self._more()
            except StopIteration:
                self._ended = True
                return True
            if values is None:
                return False
            source = self._source = Source(values)
        self._left = True
        self._asked = not self._lazy
        try:
            self.shared.copy(source, False, self._on_copy, self._on_done)
        except Exception:
            self._left = False
            raise
        return not self._left

    def _on_copy(self, reclaim: Callable[[], None]) -> None:
        source = self._source
        assert source is not None
        if source.remain() == 0:
            reclaim()
            self._left = False
            self._source = None
            self._work()

    def _on_asked(self, result: CopyResult) -> None:
        """Somebody reads, or nobody ever will."""
        self._left = False
        if result is CopyResult.DROPPED:
            self._finished()
            self.wake()
            return
        self._asked = True
        self._work()

    def _on_done(self, result: CopyResult) -> None:
        self._left = False
        source = self._source
        if result is CopyResult.DROPPED:
            self._source = None
            self._finished()
            self.wake()
            return
        if source is not None and source.remain() == 0:
            self._source = None
            if isinstance(self.shared, SharedFuture):
                self._finished()
        self._work()

    def close(self) -> None:
        """Drop the end: the guest learns that there is no more."""
        if not self.closed:
            self._finished()
            if self._left:
                self._left = False
                self.shared.reset_pending()
            self._source = None
            self.shared.drop()
            self.wake()

    def _finished(self) -> None:
        super()._finished()
        self._more = _no_more  # lets go of the source

    def fail(self, error: BaseException) -> None:
        """The source raised. A guest that waits for it cannot be told why: its instance ends with `error`."""
        self.failure = self.shared.source_error = error
        tree = self.tree()
        self.close()
        if tree is not None and tree.root is not None and not tree.killed:
            self.store.scheduler.kill(tree, error)


# ---------------------------------------------------------------------------------------------------- chunks


def chunks_of(value: Any, of: Any) -> Iterator[Any] | None:
    """An iterable as chunks of a stream's elements; None if it is none that can be iterated at once."""
    byte = of.t is not None and of.t.kind == "u8"
    if byte:
        try:
            view = memoryview(value).cast("B")
        except TypeError:
            pass
        else:
            return iter([bytes(view)] if len(view) else [])
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    if isinstance(value, list | tuple):
        return _sliced(value, byte)
    return _gathered(iter(value), byte)


def _sliced(values: Any, byte: bool) -> Iterator[Any]:
    if byte:
        yield from _gathered(iter(values), True)
        return
    for start in range(0, len(values), ITEMS):
        yield list(values[start : start + ITEMS])


def _gathered(values: Iterator[Any], byte: bool) -> Iterator[Any]:
    """Elements gathered to chunks; of bytes-like things one chunk each."""
    gathered: list[Any] = []
    for value in values:
        if byte and not isinstance(value, int):
            if gathered:
                yield bytes(gathered)
                gathered = []
            chunk = bytes(value)
            if chunk:
                yield chunk
            continue
        gathered.append(value)
        if len(gathered) >= ITEMS:
            yield bytes(gathered) if byte else gathered
            gathered = []
    if gathered:
        yield bytes(gathered) if byte else gathered


# ---------------------------------------------------------------------------------------------------- both directions


class Offered:
    """What the host gives as a stream or future and that feeds its end itself, in stores of both kinds (`supplies`)."""

    __slots__ = ()

    def begin(self, store: Store, of: Any, shared: SharedBase) -> None:
        """A guest gets the readable end of `shared`, of type `of`."""
        raise NotImplementedError


def reader_of(store: Store, of: Any) -> Callable[[SharedBase], Any]:
    """`wrap(shared)`: the object that Python gets for a stream or future of type `of`."""
    if store.is_async:
        from component_rt.tasks import channels

        return channels.reader_of(store, of)
    cls = BlockingFuture if of.kind == "future" else BlockingStream
    return lambda shared: cls(Reader(store, of, shared))


def shared_of(store: Store, of: Any, resource: Callable[[Any], Any]) -> Callable[[Any], SharedBase]:
    """`give(value)`: the rendezvous for a value that Python gives as a stream or future of type `of`."""
    made: type[SharedBase] = SharedFuture if of.kind == "future" else SharedStream
    if store.is_async:
        from component_rt.tasks import channels

        return channels.shared_of(store, of, lambda: made(of.t, resource))

    def give(value: Any) -> SharedBase:
        if isinstance(value, BlockingStream | BlockingFuture):
            return value._reader.detach()
        shared = made(of.t, resource)
        if isinstance(value, Offered):
            value.begin(store, of, shared)
            return shared
        if of.kind == "future":
            chunks: Iterator[Any] | None = iter([[value]])
            if hasattr(value, "__await__"):
                raise TypeError(f"{value!r} must be awaited, which a synchronous store cannot do: use open_store")
        else:
            chunks = chunks_of(value, of)
            if chunks is None:
                raise TypeError(f"{value!r} is no iterable (wanted a {of}); asynchronous ones need open_store")
        Writer(store, of, shared, chunks.__next__).start()  # type: ignore[union-attr]
        return shared

    return give


class BlockingStream:
    """A stream from a guest, in a synchronous store: an iterator of elements (of chunks of bytes, for `u8`).

    Reading runs guests until there is something; when nothing can ever come that is a `Trap` that says deadlock.
    """

    __slots__ = ("_items", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._items: list[Any] = []

    def __iter__(self) -> BlockingStream:
        return self

    def __next__(self) -> Any:
        reader = self._reader
        byte = reader.of.t is not None and reader.of.t.kind == "u8"
        if not self._items:
            chunk = read_blocking(reader, BYTES if byte else ITEMS)
            if chunk is None:
                raise StopIteration
            if byte:
                return chunk
            self._items = list(reversed(chunk))
        return self._items.pop()

    def close(self) -> None:
        """Read no more."""
        self._reader.close()


class BlockingFuture:
    """A future from a guest, in a synchronous store: `get()` runs guests until the value is there."""

    __slots__ = ("_reader", "_value")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._value: list[Any] = []

    def get(self) -> Any:
        """The value. Raises `Trap` when it can never come."""
        if not self._value:
            chunk = read_blocking(self._reader, 1)
            if chunk is None:
                raise trap("the future was dropped without a value")
            self._value = [chunk[0]]
        return self._value[0]

    def close(self) -> None:
        """Let go of the future."""
        self._reader.close()


def read_blocking(reader: Reader, room: int) -> Any:
    """The next chunk, or None at the end."""
    from component_rt.tasks.blocking import deadlock, run_until

    if reader.closed:
        raise StoreError(f"the {reader.of.kind} is closed")
    reader.store.core.check()
    if not reader.given and not reader.at_end:
        if not reader.reading:
            reader.start(room)
        if not run_until(reader.store, lambda: bool(reader.given) or reader.at_end):
            raise deadlock()
    if not reader.given and reader.shared.source_error is not None:
        raise reader.shared.source_error
    if not reader.given and reader.shared.failure is not None:
        raise InstancePoisoned(reader.shared.failure)
    return reader.given.pop(0) if reader.given else None
