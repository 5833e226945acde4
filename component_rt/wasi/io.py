"""`wasi:io`: errors, pollables and byte streams.

A stream's class says how bytes move at once (`_take`, `_room`, `_put`, `_flush_now`) and, as a `Source`, how to wait
until more can move; everything that the guest sees, blocking calls included, is built here from those.

Rules that the base classes keep (wasi:io/streams):
- a stream that failed or ended stays closed: each later call is `closed`;
- `write` may not exceed what the last `check-write` allowed: a guest that tries is stopped by a trap.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ClassVar, NoReturn

from component_rt.tasks.waits import Sources, driving
from component_rt.wasi._values import Err, variant
from component_rt.wasi.dual import Dual
from component_rt.wasi.pollable import Pollable, Source, Wake, ready_indices, sources_of, wait_any, wait_any_sync, watch
from core_rt.errors import Trap, TrapCode

__all__ = [
    "CLOSED",
    "MAX_READ",
    "ErrorInterface",
    "InputStream",
    "IoError",
    "OutputStream",
    "Poll",
    "StreamFailure",
    "Streams",
]

MAX_READ = 1 << 20
"""Bytes that one read hands out at most, whatever the guest asks for."""
MAX_WRITE = 1 << 20
"""Bytes that one write to something that never blocks may carry."""

CLOSED = variant("closed")


class StreamFailure(Exception):
    """A stream's own error, next to `OSError` and `ValueError`: what a subclass's methods may raise."""


FAILURES = (OSError, ValueError, StreamFailure)
_ZEROES = bytes(1 << 16)


class IoError:
    """The resource `wasi:io/error.error`: what went wrong, for people.

    `exception` and `origin` (the package whose stream failed, `""` if none) are for that package's downcast.
    """

    __slots__ = ("__weakref__", "exception", "origin")

    def __init__(self, exception: BaseException, origin: str = "") -> None:
        self.exception = exception
        self.origin = origin

    def to_debug_string(self) -> str:
        """Words for a person, without the host's paths."""
        error = self.exception
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error) or type(error).__name__


class InputStream:
    """The resource `wasi:io/streams.input-stream`. A subclass gives `_take` and the three methods of a `Source`."""

    __slots__ = ("__weakref__", "_ended")
    origin: ClassVar[str] = ""

    def __init__(self) -> None:
        self._ended = False

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes | None:
        """Up to `count` (> 0) bytes that are there now; `b""` if none are yet; None at the end. May raise."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether `_take` has something to say: bytes, the end or an error."""
        return True

    def wake(self) -> Wake:
        return Wake(remaining=0)

    async def wait(self) -> None:
        return None

    def close(self) -> None:
        """The guest dropped its handle."""
        self._ended = True

    # -- what the guest calls ----------------------------------------------------------------------------------------

    def read(self, len: int) -> bytes:
        """Bytes that are there now, at most `len`; empty if none are yet. Raises `Err(stream-error)`."""
        if self._ended:
            raise Err(CLOSED)
        if not len:
            return b""
        try:
            data = self._take(len if len < MAX_READ else MAX_READ)
        except FAILURES as error:
            self._fail(error)
        if data is None:
            self._ended = True
            raise Err(CLOSED)
        return data

    def _blocking_read_sync(self, len: int) -> bytes:
        """At least one byte, waiting for it; at most `len`. Raises `Err(stream-error)`."""
        while True:
            data = self.read(len)
            if data or not len:
                return data
            wait_any_sync((self,))

    def _blocking_read_async(self, len: int) -> bytes | Coroutine[Any, Any, bytes]:
        data = self.read(len)
        return data if data or not len else self._read_later(len)

    async def _read_later(self, len: int) -> bytes:
        while True:
            await wait_any((self,))
            if data := self.read(len):
                return data

    blocking_read = Dual(_blocking_read_sync, _blocking_read_async)

    def skip(self, len: int) -> int:
        """Drop bytes that are there now, at most `len`; returns how many. Raises `Err(stream-error)`."""
        return self.read(len).__len__()

    def _blocking_skip_sync(self, len: int) -> int:
        """Drop at least one byte, waiting for it; returns how many. Raises `Err(stream-error)`."""
        return self._blocking_read_sync(len).__len__()

    async def _blocking_skip_async(self, len: int) -> int:
        data: bytes = await self.blocking_read.awaited(len)
        return data.__len__()

    blocking_skip = Dual(_blocking_skip_sync, _blocking_skip_async)

    def subscribe(self) -> Pollable:
        """A pollable that is ready when reading has something to say."""
        return Pollable(_Open(self))

    def _fail(self, error: Exception) -> NoReturn:
        self._ended = True
        raise Err(variant("last-operation-failed", IoError(error, self.origin))) from None


class _Open:
    """A stream as a source: a closed one is always ready."""

    __slots__ = ("stream",)

    def __init__(self, stream: InputStream | OutputStream) -> None:
        self.stream = stream

    def ready(self) -> bool:
        return self.stream._ended or self.stream.ready()

    def wake(self) -> Wake:
        return Wake(remaining=0) if self.stream._ended else self.stream.wake()

    async def wait(self) -> None:
        if not self.stream._ended:
            await self.stream.wait()


class OutputStream:
    """The resource `wasi:io/streams.output-stream`. A subclass gives `_room`, `_put` and the methods of a `Source`."""

    __slots__ = ("__weakref__", "_ended", "_permit")
    origin: ClassVar[str] = ""

    def __init__(self) -> None:
        self._ended = False
        self._permit = 0

    # -- what a subclass gives ---------------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many bytes `_put` would take now without blocking. May raise."""
        return MAX_WRITE

    def _put(self, data: bytes) -> int:
        """Take bytes (never more than `_room` said) and return how many were taken. May raise."""
        raise NotImplementedError

    def _flush_now(self) -> None:
        """Push on what is buffered, without blocking. May raise."""

    def _flushed(self) -> bool:
        """Whether nothing is buffered any more; if something is, `wait` and `wake` are for its progress too."""
        return True

    def ready(self) -> bool:
        """Whether `_room` is above zero or has an error to tell, and no flush is under way."""
        return True

    def wake(self) -> Wake:
        return Wake(remaining=0)

    async def wait(self) -> None:
        return None

    def close(self) -> None:
        """The guest dropped its handle."""
        self._ended = True

    # -- what the guest calls ----------------------------------------------------------------------------------------

    def check_write(self) -> int:
        """How many bytes the next `write` may carry; 0 if it would block. Raises `Err(stream-error)`."""
        if self._ended:
            raise Err(CLOSED)
        try:
            permit = self._room()
        except FAILURES as error:
            self._fail(error)
        if permit < 0:
            self._ended = True
            raise Err(CLOSED)
        self._permit = permit
        return permit

    def write(self, contents: bytes) -> None:
        """Write what `check-write` allowed. Raises `Err(stream-error)`; `Trap` if it is more than that."""
        if self._ended:
            raise Err(CLOSED)
        if len(contents) > self._permit:
            raise Trap(TrapCode.HOST, f"write of {len(contents)} bytes, but check-write allowed {self._permit}")
        self._permit -= len(contents)
        try:
            taken = self._put(contents)
            while taken < len(contents):
                # `_room` promised; a kernel may still take less at once.
                taken += self._put(contents[taken:])
        except BlockingIOError:
            # The kernel broke the promise made by poll: waiting here is the lesser evil against losing bytes.
            self._put_all_sync(contents[taken:])
        except FAILURES as error:
            self._fail(error)

    def flush(self) -> None:
        """Ask for buffered bytes to be pushed on; never blocks. Raises `Err(stream-error)`."""
        if self._ended:
            raise Err(CLOSED)
        try:
            self._flush_now()
        except FAILURES as error:
            self._fail(error)

    def _blocking_write_and_flush_sync(self, contents: bytes) -> None:
        """Write everything and wait until it is flushed. Raises `Err(stream-error)`."""
        self._put_all_sync(contents)
        self.blocking_flush.sync()

    def _blocking_write_and_flush_async(self, contents: bytes) -> Coroutine[Any, Any, None] | None:
        done = self._put_now(contents, 0)
        return self._blocking_flush_async() if done == len(contents) else self._write_later(contents, done)

    async def _write_later(self, contents: bytes, done: int) -> None:
        while done < len(contents):
            await wait_any((_Open(self),))
            done = self._put_now(contents, done)
        await self.blocking_flush.awaited()

    blocking_write_and_flush = Dual(_blocking_write_and_flush_sync, _blocking_write_and_flush_async)

    def _blocking_flush_sync(self) -> None:
        """Wait until everything written is flushed. Raises `Err(stream-error)`."""
        self.flush()
        while not self._flushed():
            watch((self.wake(),))
            self.flush()

    def _blocking_flush_async(self) -> Coroutine[Any, Any, None] | None:
        self.flush()
        return None if self._flushed() else self._flush_later()

    async def _flush_later(self) -> None:
        while not self._flushed():
            if driving():
                await Sources((self,), wait_any_sync)
            else:
                await self.wait()
            self.flush()

    blocking_flush = Dual(_blocking_flush_sync, _blocking_flush_async)

    def subscribe(self) -> Pollable:
        """A pollable that is ready when `check-write` would not say 0."""
        return Pollable(_Open(self))

    def write_zeroes(self, len: int) -> None:
        """Write `len` zero bytes; the same rules as `write`."""
        if len > self._permit and not self._ended:
            raise Trap(TrapCode.HOST, f"write of {len} zeroes, but check-write allowed {self._permit}")
        self.write(bytes(len))

    def _blocking_write_zeroes_and_flush_sync(self, len: int) -> None:
        """Write `len` zero bytes and wait until they are flushed. Raises `Err(stream-error)`."""
        while len > 0:
            self._put_all_sync(_ZEROES[:len])
            len -= _ZEROES.__len__()
        self.blocking_flush.sync()

    async def _blocking_write_zeroes_and_flush_async(self, len: int) -> None:
        while len > 0:
            await self.blocking_write_and_flush.awaited(_ZEROES[:len])
            len -= _ZEROES.__len__()
        await self.blocking_flush.awaited()

    blocking_write_zeroes_and_flush = Dual(
        _blocking_write_zeroes_and_flush_sync, _blocking_write_zeroes_and_flush_async
    )

    def splice(self, src: InputStream, len: int) -> int:
        """Move bytes that are there now from `src`, at most `len`; returns how many. Raises `Err(stream-error)`."""
        room = self.check_write()
        data = src.read(min(len, room))
        if data:
            self.write(data)
        return data.__len__()

    def _blocking_splice_sync(self, src: InputStream, len: int) -> int:
        """Move at least one byte from `src`, waiting for it and for room; returns how many."""
        if not len:
            return self.splice(src, len)
        while not self.check_write():
            wait_any_sync((_Open(self),))
        while not (count := self.splice(src, len)):
            wait_any_sync((src,))
        return count

    def _blocking_splice_async(self, src: InputStream, len: int) -> int | Coroutine[Any, Any, int]:
        if self.check_write() or not len:
            count = self.splice(src, len)
            if count or not len:
                return count
        return self._splice_later(src, len)

    async def _splice_later(self, src: InputStream, len: int) -> int:
        while not self.check_write():
            await wait_any((_Open(self),))
        while not (count := self.splice(src, len)):
            await wait_any((src,))
        return count

    blocking_splice = Dual(_blocking_splice_sync, _blocking_splice_async)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _step(self, contents: bytes, start: int, room: int) -> int:
        """Write one piece from `start` on, of at most `room` bytes; returns its length, 0 if it would block."""
        piece = contents if not start and len(contents) <= room else contents[start : start + room]
        try:
            return self._put(piece)
        except BlockingIOError:
            return 0
        except FAILURES as error:
            self._fail(error)

    def _put_now(self, contents: bytes, done: int) -> int:
        """Write from `done` on what goes without blocking; returns where that ends."""
        while done < len(contents) and (room := self.check_write()):
            taken = self._step(contents, done, room)
            if not taken:
                break
            done += taken
        return done

    def _put_all_sync(self, contents: bytes) -> None:
        done = self._put_now(contents, 0)
        while done < len(contents):
            wait_any_sync((_Open(self),))
            done = self._put_now(contents, done)

    def _fail(self, error: Exception) -> NoReturn:
        self._ended = True
        if isinstance(error, BrokenPipeError):
            raise Err(CLOSED) from None
        raise Err(variant("last-operation-failed", IoError(error, self.origin))) from None


class ErrorInterface:
    """`wasi:io/error`."""

    Error: ClassVar = IoError


class Poll:
    """`wasi:io/poll`."""

    Pollable: ClassVar = Pollable

    def _poll_sync(self, in_: list[Any]) -> list[int]:
        """Indices of the pollables that are ready, waiting until there is one. Raises `Trap` on an empty list."""
        return wait_any_sync(sources_of(in_))

    def _poll_async(self, in_: list[Any]) -> list[int] | Coroutine[Any, Any, list[int]]:
        sources = sources_of(in_)
        return ready_indices(sources) or wait_any(sources)

    poll = Dual(_poll_sync, _poll_async)


class Streams:
    """`wasi:io/streams`."""

    InputStream: ClassVar = InputStream
    OutputStream: ClassVar = OutputStream


def interfaces() -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"wasi:io/error": ErrorInterface(), "wasi:io/poll": Poll(), "wasi:io/streams": Streams()}


_check_source: type[Source] = InputStream
