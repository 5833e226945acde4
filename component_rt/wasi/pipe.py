"""A bounded queue of bytes between a guest and whoever moves them: a thread, a trio task, another guest.

Rules: one side puts and finishes, the other takes and may abandon. `readable` is up exactly while there are bytes or the
end has come; `writable` exactly while there is room or the taker has gone. Both can be waited for by threads, trio tasks
and pollables, and all methods may be called from any thread.
"""

from __future__ import annotations

import collections
import threading
from typing import ClassVar

from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.pollable import Notice, Wake, wait_any, wait_any_sync

__all__ = ["Pipe", "PipeInput", "PipeOutput"]


class Pipe:
    """Bytes in order, at most about `limit` of them."""

    LIMIT: ClassVar[int] = 1 << 16

    def __init__(self, limit: int = LIMIT) -> None:
        self.readable = Notice()
        self.writable = Notice()
        self.writable.set()
        self.limit = limit
        self.ended = False
        self.abandoned = False
        self.error: Exception | None = None
        """Why the bytes ended early; raised by `take` after the last of them."""
        self._lock = threading.Lock()
        self._pieces: collections.deque[bytes] = collections.deque()
        self._size = 0

    # -- the side that puts ------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many bytes may be put now; -1 if nobody will take them."""
        if self.abandoned:
            return -1
        return 0 if self.ended else max(self.limit - self._size, 0)

    def put(self, data: bytes) -> None:
        """Add bytes, beyond the limit if it must be. Ignored once either side has given up.

        Raises `ValueError` after a regular end.
        """
        with self._lock:
            if self.abandoned or self.error is not None or not data:
                return
            if self.ended:
                raise ValueError("bytes after the end")
            self._pieces.append(bytes(data))
            self._size += len(data)
            self.readable.set()
            if self._size >= self.limit:
                self.writable.clear()

    def put_sync(self, data: bytes) -> bool:
        """Wait for room, then put; False if the taker has gone."""
        wait_any_sync((self.writable,))
        self.put(data)
        return not self.abandoned

    async def put_async(self, data: bytes) -> bool:
        """`put_sync` for a trio task."""
        await wait_any((self.writable,))
        self.put(data)
        return not self.abandoned

    def finish(self, error: Exception | None = None) -> None:
        """No more bytes come. A second call changes nothing."""
        with self._lock:
            if not self.ended:
                self.ended = True
                self.error = error
                self.readable.set()
                self.writable.set()

    # -- the side that takes -----------------------------------------------------------------------------------------

    @property
    def drained(self) -> bool:
        """Whether a regular end has come and there are no bytes before it."""
        return self.ended and self.error is None and not self._size

    def take(self, count: int) -> bytes | None:
        """Up to `count` bytes, `b""` if none are there yet, None at the end. Raises `error` in place of None."""
        with self._lock:
            if not self._pieces:
                if not self.ended:
                    return b""
                if self.error is not None:
                    raise self.error
                return None
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            self._size -= len(piece)
            if not self._pieces and not self.ended:
                self.readable.clear()
            if self._size < self.limit:
                self.writable.set()
            return piece

    def take_sync(self, count: int = LIMIT) -> bytes | None:
        """Wait for bytes or the end."""
        while (data := self.take(count)) == b"":
            wait_any_sync((self.readable,))
        return data

    async def take_async(self, count: int = LIMIT) -> bytes | None:
        """`take_sync` for a trio task."""
        while (data := self.take(count)) == b"":
            await wait_any((self.readable,))
        return data

    def abandon(self) -> None:
        """Nobody takes any more: what is put from now on is dropped."""
        with self._lock:
            self.abandoned = True
            self._pieces.clear()
            self._size = 0
            self.writable.set()


class PipeInput(InputStream):
    """The end of a pipe from which a guest reads; `last` if nobody will read after it."""

    __slots__ = ("_pipe", "last")
    origin: ClassVar[str] = "http"

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe
        self.last = False

    def close(self) -> None:
        super().close()
        if self.last:
            self._pipe.abandon()

    def _take(self, count: int) -> bytes | None:
        return self._pipe.take(count)

    def ready(self) -> bool:
        return self._pipe.readable.ready()

    def wake(self) -> Wake:
        return self._pipe.readable.wake()

    async def wait(self) -> None:
        await self._pipe.readable.wait()


class PipeOutput(OutputStream):
    """The end of a pipe into which a guest writes; `written` counts the bytes, `expected` bounds them."""

    __slots__ = ("_pipe", "expected", "written")
    origin: ClassVar[str] = "http"

    def __init__(self, pipe: Pipe, expected: int | None = None) -> None:
        super().__init__()
        self._pipe = pipe
        self.expected = expected
        self.written = 0

    def _room(self) -> int:
        return self._pipe.room()

    def _put(self, data: bytes) -> int:
        self.written += len(data)
        if self.expected is not None and self.written > self.expected:
            raise ValueError(f"the body is longer than its Content-Length of {self.expected}")
        self._pipe.put(data)
        return len(data)

    def ready(self) -> bool:
        return self._pipe.writable.ready()

    def wake(self) -> Wake:
        return self._pipe.writable.wake()

    async def wait(self) -> None:
        await self._pipe.writable.wait()
