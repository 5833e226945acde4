"""Byte streams over what a host has at hand: descriptors, bytes, file objects, callables and trio's streams.

`input_stream` and `output_stream` turn what `WasiConfig` was given into streams. The streams of the standard handles
are shared by all who ask for them, and a guest that drops its handle does not close them for others: `close` does
nothing.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any

from component_rt.wasi.io import MAX_WRITE, InputStream, OutputStream
from component_rt.wasi.pollable import READ, WRITE, Wake, fd_ready, needs_trio, wait_fd

__all__ = ["BytesInput", "FdInput", "FdOutput", "input_stream", "is_terminal", "output_stream"]

_PIPE_CHUNK = 4096
"""What a pipe or terminal takes without blocking once poll says it is writable (PIPE_BUF)."""
_READ_CHUNK = 1 << 16


def _pollable_fd(fd: int) -> bool:
    """Whether poll says anything about `fd`: regular files and directories never block."""
    mode = os.fstat(fd).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


class BytesInput(InputStream):
    """Reads from bytes; also the empty stream."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes | bytearray | memoryview = b"") -> None:
        super().__init__()
        self._data = bytes(data)
        self._position = 0

    def _take(self, count: int) -> bytes | None:
        start = self._position
        if start >= len(self._data):
            return None
        self._position = start + count
        return self._data[start : start + count]

    def close(self) -> None:
        pass


class FdInput(InputStream):
    """Reads from a descriptor that belongs to somebody else and may be a file, a pipe, a terminal or a socket."""

    __slots__ = ("_fd", "_owner", "_polls")

    def __init__(self, fd: int, owner: object = None) -> None:
        super().__init__()
        self._fd = fd
        self._owner = owner
        self._polls = _pollable_fd(fd)

    def _take(self, count: int) -> bytes | None:
        if self._polls and not fd_ready(self._fd, READ):
            return b""
        try:
            return os.read(self._fd, min(count, _READ_CHUNK)) or None
        except BlockingIOError:
            return b""

    def ready(self) -> bool:
        return not self._polls or fd_ready(self._fd, READ)

    def wake(self) -> Wake:
        return Wake(self._fd, READ)

    async def wait(self) -> None:
        await wait_fd(self._fd, READ)

    def close(self) -> None:
        pass


class ReaderInput(InputStream):
    """Reads from a file object in memory or on disk, through its `read1` or `read`; text is encoded as UTF-8."""

    __slots__ = ("_read",)

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._read: Callable[[int], bytes | str | None] = getattr(file, "read1", None) or file.read

    def _take(self, count: int) -> bytes | None:
        data = self._read(count)
        if data is None:
            return b""
        return (data.encode() if isinstance(data, str) else bytes(data)) or None

    def close(self) -> None:
        pass


class CallableInput(InputStream):
    """Reads what a callable returns: it gets the number of bytes wanted and gives as many or fewer, none at the end.

    More than was asked for is kept for the next read.
    """

    __slots__ = ("_call", "_rest")

    def __init__(self, call: Callable[[int], bytes]) -> None:
        super().__init__()
        self._call = call
        self._rest = b""

    def _take(self, count: int) -> bytes | None:
        data = self._rest or bytes(self._call(count))
        self._rest = data[count:]
        return data[:count] or None

    def close(self) -> None:
        pass


class TrioInput(InputStream):
    """Reads from a `trio.abc.ReceiveStream`; only in a trio store.

    `wait` receives into a buffer: trio's streams lose nothing when a receive is cancelled, so a wait may be abandoned.
    """

    __slots__ = ("_buffer", "_done", "_error", "_lock", "_stream")

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._buffer = b""
        self._done = False
        self._error: BaseException | None = None
        self._lock: Any = None

    def _take(self, count: int) -> bytes | None:
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        if not data:
            if self._error is not None:
                raise OSError(f"the stream broke: {self._error}")
            if self._done:
                return None
        return data

    def ready(self) -> bool:
        return bool(self._buffer) or self._done

    def wake(self) -> Wake:
        raise needs_trio("an input that is a trio stream")

    async def wait(self) -> None:
        import trio

        if self._lock is None:
            self._lock = trio.Lock()
        async with self._lock:
            if self.ready():
                return
            try:
                self._buffer = bytes(await self._stream.receive_some())
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._error = error
                self._done = True
                return
            self._done = not self._buffer

    def close(self) -> None:
        pass


class FdOutput(OutputStream):
    """Writes to a descriptor that belongs to somebody else; `flush` puts out first what its owner has buffered.

    The descriptor is left in the mode it is in (its open file may be shared with other processes): what cannot be
    written without blocking is held back by `check-write`.
    """

    __slots__ = ("_fd", "_flush", "_owner", "_polls")

    def __init__(self, fd: int, owner: object = None, flush: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._flush = flush
        self._fd = fd
        self._owner = owner
        self._polls = _pollable_fd(fd)

    def _room(self) -> int:
        if not self._polls:
            return MAX_WRITE
        return _PIPE_CHUNK if fd_ready(self._fd, WRITE) else 0

    def _put(self, data: bytes) -> int:
        if self._flush is not None:
            self._flush()
        return os.write(self._fd, data)

    def _put_all_sync(self, contents: bytes) -> None:
        # A thread that would wait for room may as well wait in the write itself, which signals interrupt all the same.
        done = 0
        while done < len(contents) and not self._ended:
            taken = self._step(contents, done, len(contents))
            done += taken
            if not taken:
                break
        if done < len(contents) or self._ended:
            super()._put_all_sync(contents[done:])

    def ready(self) -> bool:
        return not self._polls or fd_ready(self._fd, WRITE)

    def wake(self) -> Wake:
        return Wake(self._fd, WRITE)

    async def wait(self) -> None:
        await wait_fd(self._fd, WRITE)

    def close(self) -> None:
        pass


class SinkOutput(OutputStream):
    """Hands every piece to a callable; `flush` is called, if given, whenever the guest flushes."""

    __slots__ = ("_call", "_flush")

    def __init__(self, call: Callable[[bytes], object], flush: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._call = call
        self._flush = flush

    def _put(self, data: bytes) -> int:
        self._call(bytes(data))
        return len(data)

    def _flush_now(self) -> None:
        if self._flush is not None:
            self._flush()

    def close(self) -> None:
        pass


class TrioOutput(OutputStream):
    """Writes to a `trio.abc.SendStream`; only in a trio store.

    `write` fills a bounded buffer, and the guest's next wait sends it. A piece once begun is sent to its end even if
    the wait is given up, since a send cut short would break the stream; that is why pieces are small.
    """

    __slots__ = ("_buffer", "_error", "_lock", "_stream")

    LIMIT = 1 << 16

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._buffer = bytearray()
        self._error: BaseException | None = None
        self._lock: Any = None

    def _room(self) -> int:
        if self._error is not None:
            return -1
        return self.LIMIT - len(self._buffer)

    def _put(self, data: bytes) -> int:
        self._buffer += data
        return len(data)

    def _flush_now(self) -> None:
        if self._error is not None:
            raise BrokenPipeError

    def _flushed(self) -> bool:
        return not self._buffer or self._error is not None

    def ready(self) -> bool:
        return len(self._buffer) < self.LIMIT or self._error is not None

    def wake(self) -> Wake:
        raise needs_trio("an output that is a trio stream")

    async def wait(self) -> None:
        import trio

        if self._lock is None:
            self._lock = trio.Lock()
        async with self._lock:
            if not self._buffer:
                return
            try:
                await self._stream.wait_send_all_might_not_block()
                with trio.CancelScope(shield=True):
                    piece = bytes(self._buffer[:_PIPE_CHUNK])
                    await self._stream.send_all(piece)
                    del self._buffer[: len(piece)]
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._error = error
                self._buffer.clear()

    def close(self) -> None:
        pass


def _descriptor(file: Any) -> int | None:
    """The descriptor of a file object if it can block, so that waiting for it must go through poll."""
    try:
        fd = file.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return fd if isinstance(fd, int) and _pollable_fd(fd) else None


def _is_open(fd: int) -> bool:
    """Whether this process has the descriptor: a daemon may have been started without standard streams."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def input_stream(what: Any, inherited: int) -> InputStream:
    """The stream for a configured input: None, `"inherit"`, bytes, a file object, a callable or a trio stream.

    A pipe, terminal or socket is read through its descriptor: what Python's own buffer has taken in already is not
    seen. Raises `TypeError` for anything else.
    """
    if what is None:
        return BytesInput()
    if isinstance(what, InputStream):
        return what
    if isinstance(what, str):
        if what == "inherit":
            return FdInput(inherited) if _is_open(inherited) else BytesInput()
        raise TypeError(f"stdin: wanted bytes, a file, a callable, a trio stream or 'inherit', not the text {what!r}")
    if isinstance(what, (bytes, bytearray, memoryview)):
        return BytesInput(what)
    if hasattr(what, "receive_some"):
        return TrioInput(what)
    if hasattr(what, "read"):
        fd = _descriptor(what)
        return ReaderInput(getattr(what, "buffer", what)) if fd is None else FdInput(fd, what)
    if callable(what):
        return CallableInput(what)
    raise TypeError(f"stdin: wanted bytes, a file, a callable, a trio stream or 'inherit', not {type(what).__name__}")


def output_stream(what: Any, inherited: int, name: str) -> OutputStream:
    """The stream for a configured output: None (discard), `"inherit"`, a bytearray, file, callable or trio stream."""
    if what is None:
        return SinkOutput(len)
    if isinstance(what, OutputStream):
        return what
    if isinstance(what, str) and what == "inherit":
        return FdOutput(inherited) if _is_open(inherited) else SinkOutput(len)
    if isinstance(what, bytearray):
        return SinkOutput(what.extend)
    if hasattr(what, "send_all"):
        return TrioOutput(what)
    if hasattr(what, "write"):
        flush = getattr(what, "flush", None)
        fd = _descriptor(what)
        if fd is not None:
            return FdOutput(fd, what, flush)
        if isinstance(what, io.TextIOBase) and getattr(what, "buffer", None) is None:
            return SinkOutput(_TextWriter(what), flush)
        return SinkOutput(_ByteWriter(what), flush)
    if callable(what):
        return SinkOutput(what)
    kind = type(what).__name__
    raise TypeError(f"{name}: wanted a file, a callable, a bytearray, a trio stream or 'inherit', not {kind}")


class _ByteWriter:
    """Writes whole pieces to a binary file object (or to the binary side of a text one)."""

    __slots__ = ("_file",)

    def __init__(self, file: Any) -> None:
        self._file = file
        if isinstance(file, io.TextIOBase):
            # What was printed before must come out before.
            file.flush()
            self._file = getattr(file, "buffer", file)

    def __call__(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            taken = self._file.write(data[done:] if done else data)
            # Raw files may take a part; most others return the length, some nothing.
            if not isinstance(taken, int) or taken == 0:
                return
            done += taken


class _TextWriter:
    """Writes to a text file object without a binary side; characters split between pieces are put together again."""

    __slots__ = ("_decode", "_file")

    def __init__(self, file: Any) -> None:
        import codecs

        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def __call__(self, data: bytes) -> None:
        self._file.write(self._decode(data))


def is_terminal(what: Any, inherited: int) -> bool:
    """Whether a configured handle is a terminal: `wasi:cli/terminal-*` are given then."""
    if what is None or isinstance(what, (bytes, bytearray, memoryview)):
        return False
    if isinstance(what, str):
        return what == "inherit" and os.isatty(inherited)
    try:
        return bool(what.isatty())
    except (AttributeError, ValueError):
        return False
