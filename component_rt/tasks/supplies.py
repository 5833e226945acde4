"""Streams and futures of host interfaces that work in stores of both kinds: what WASI 0.3 is made of.

A `Supply` gives a guest chunks when it reads, a `Drain` takes what a guest writes. Both live from what the other end does: no task
waits for a guest, so that a guest that waits for ever is found out.
In a trio store `next_async` and `put_async` may answer coroutines; these run in the store's nursery, one at a time for each stream.
In a synchronous store `next` and `put` may, if they wait for `waits.Sources` only; anything else they do holds the guests up.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from component_rt.tasks.ends import BYTES, ITEMS, Offered, Reader, Writer
from component_rt.tasks.streams import SharedBase
from component_rt.tasks.thread import once

if TYPE_CHECKING:
    from component_rt.store import Store
    from component_rt.tasks.waits import Wait

__all__ = ["Drain", "Supply", "refuse"]

_ROUNDS: Final = 64
"""Chunks that a drain takes from a source which always has some, before the trio loop has a turn."""


class Supply(Offered):
    """A stream that is asked for its next chunk when a guest reads; given to a guest once."""

    __slots__ = ("__weakref__", "_ended", "_under_way", "_writer", "store")

    store: Store

    def __init__(self) -> None:
        self._ended = False
        self._under_way: Any = None
        """What can be cancelled of the coroutine that brings the next chunk."""
        self._writer: Writer | None = None

    @property
    def wanted(self) -> int:
        """How many elements the guest has room for; 0 if it wants to know only whether there are some."""
        assert self._writer is not None
        return self._writer.shared.wanted

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def next(self) -> Any:
        """The next chunk (bytes or a list, not empty), or None at the end. What is more than `wanted` is kept for the next read.

        May answer a coroutine, one that waits for `Sources` only.
        """
        raise NotImplementedError

    def next_async(self) -> Any:
        """`next` in a trio store; may answer any coroutine. It is cancelled when nobody reads any more."""
        return self.next()

    def over(self) -> None:
        """There is no more, or nobody reads; called once."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def begin(self, store: Store, of: Any, shared: SharedBase) -> None:
        if of.kind != "stream":
            raise TypeError(f"a supply is no {of}")
        if self._writer is not None:
            raise ValueError("a supply can be given once")
        self.store = store
        writer = self._writer = Writer(store, of, shared, self._more, lazy=True)
        writer.be_passive()
        writer.wake = self._woken
        shared.on_drop = self._dropped
        store.stop_at_end(self)
        writer.start()

    def _more(self) -> Any:
        store: Any = self.store
        found = self.next_async() if store.is_async else self.next()
        if inspect.iscoroutine(found):
            if store.is_async:
                import trio

                self._under_way = trio.CancelScope()
                store.start_task(self._later, found, self._under_way, name="supply a stream")
                return None
            wait = store.waits.begin(found)
            if not wait.done:
                self._under_way = wait
                wait.on_done = self._waited
                return None
            found = wait.result()
        if found is None:
            raise StopIteration
        return found

    def _waited(self) -> None:
        """The coroutine of a synchronous store has ended."""
        wait, writer = self._under_way, self._writer
        assert writer is not None
        if wait.cancelled:
            return
        try:
            found = wait.result()
        except BaseException as error:
            writer.fail(error)
            if not isinstance(error, Exception):
                raise
            return
        self._arrived(found)

    def _arrived(self, found: Any) -> None:
        writer = self._writer
        assert writer is not None
        if writer.closed:  # by the guest, or because something failed
            return
        if found is None:
            writer.finish()
        else:
            writer.put(found)

    async def _later(self, coroutine: Coroutine[Any, Any, Any], scope: Any) -> None:
        from component_rt.tasks.channels import telling

        writer, found = self._writer, None
        assert writer is not None
        with scope:
            with telling(writer.fail):
                found = await coroutine
            self._arrived(found)

    def _dropped(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def _woken(self) -> None:
        assert self._writer is not None
        if self._writer.closed:
            self.stop()

    def stop(self) -> None:
        """It is over; or the store is closed."""
        if not self._ended:
            self._ended = True
            if self._under_way is not None:
                self._under_way.cancel()
            self.over()


class Drain:
    """Takes a stream from a guest, chunk by chunk; what a chunk needs is over before the next is taken."""

    __slots__ = ("__weakref__", "_busy", "_ended", "_reader", "_stream", "store")

    store: Store

    def __init__(self) -> None:
        self._busy = False
        self._ended = False

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def put(self, chunk: Any) -> bool | Coroutine[Any, Any, bool]:
        """Take a chunk (bytes or a list). False: no more is wanted, and the guest is told so.

        May answer a coroutine, one that waits for `Sources` only.
        """
        raise NotImplementedError

    def put_async(self, chunk: Any) -> bool | Coroutine[Any, Any, bool]:
        """`put` in a trio store; may answer any coroutine, which `open_store` lets end when it is left."""
        return self.put(chunk)

    def over(self) -> None:
        """There is no more, or no more is wanted; called once."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def begin(self, stream: Any) -> None:
        """Take `stream`, as host functions get them, from here on."""
        reader: Reader = stream._reader
        self._stream = stream  # it closes its end when it is collected
        self._reader = reader
        self.store = reader.store
        self.store.stop_at_end(self)
        reader.be_passive()
        reader.wake = self._work
        self._work()

    def _work(self) -> None:
        if self._busy or self._ended:
            return
        self._busy = True
        try:
            going = self._rounds()
        except BaseException:
            self._end()
            raise
        self._busy = going

    def _rounds(self) -> bool:
        """Take what is there. True: a task goes on with it."""
        reader, store = self._reader, self.store
        room = BYTES if reader.of.t is not None and reader.of.t.kind == "u8" else ITEMS
        for _ in range(_ROUNDS if store.is_async else 1 << 60):
            if reader.given:
                chunk = reader.given.pop(0)
                more: Any = self.put_async(chunk) if store.is_async else self.put(chunk)
                if inspect.iscoroutine(more):
                    more = self._start(more)
                    if more is None:
                        return True
                if not more:
                    self._end()
                    return False
            elif reader.at_end:
                self._end()
                return False
            elif reader.reading:
                return False
            elif reader.may_copy():
                reader.start(room)
            else:
                tree = reader.tree()
                assert tree is not None
                store.scheduler.post(tree, once(self._go_on))
                return True
        self._start(_turn())
        return True

    def _start(self, coroutine: Coroutine[Any, Any, bool]) -> bool | None:
        """Have a coroutine run; what it answers, or None if it is not over yet."""
        store: Any = self.store
        if store.is_async:
            store.start_last(self._later, coroutine, name="drain a stream")
            return None
        wait = store.waits.begin(coroutine)
        if wait.done:
            return bool(wait.result())
        wait.on_done = lambda: self._waited(wait)
        return None

    def _waited(self, wait: Wait) -> None:
        """The coroutine of a synchronous store has ended."""
        if wait.cancelled:
            return
        try:
            more = wait.result()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
            return
        self._continue(more)

    def _continue(self, more: bool) -> None:
        if more:
            self._go_on()
        else:
            self._end()

    async def _later(self, coroutine: Coroutine[Any, Any, bool]) -> None:
        from component_rt.tasks.channels import telling

        with telling(self._fail):
            self._continue(await coroutine)

    def _go_on(self) -> None:
        self._busy = False
        self._work()

    def _fail(self, error: BaseException) -> None:
        """A guest cannot be told why: its instance ends with `error`, if it waits for this."""
        reader = self._reader
        reader.failure = reader.shared.source_error = error
        tree = reader.tree()
        self._end()
        if tree is not None and tree.root is not None and not tree.killed:
            self.store.scheduler.kill(tree, error)

    def _end(self) -> None:
        if not self._ended:
            self._busy = True
            self._reader.close()
            self.stop()

    def stop(self) -> None:
        """It is over; or the store is closed."""
        if not self._ended:
            self._busy = self._ended = True
            self.over()


async def _turn() -> bool:
    import trio

    await trio.lowlevel.checkpoint()
    return True


def refuse(stream: Any) -> None:
    """Drop a stream that a guest gave: it learns that nobody reads."""
    stream._reader.close()
