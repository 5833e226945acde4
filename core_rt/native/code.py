"""Memory for machine code: written through one mapping, run through another, so that nothing is ever both."""

from __future__ import annotations

import os
import threading
import weakref

from core_rt.errors import EngineBug
from core_rt.native.lib import CData, address, exhausted, ffi, lib
from core_rt.record import mutable

__all__ = ["CodeArena", "enter_code", "processor_words", "register_code", "unregister_code"]

_CHUNK_LEAST = 64 << 10
_CHUNK_MOST = 8 << 20
_MOST = 1 << 30


@mutable
class _Chunk:
    arena: CData
    rx: int
    size: int
    pid: int
    used: int = 0
    flushed: int = 0


def _free(chunks: list[_Chunk]) -> None:
    while chunks:
        lib.vm_code_arena_free(chunks.pop().arena)


class CodeArena:
    """Grows by chunks (each at least as large as all before it, so there are few), frees all at once. Thread-safe.

    Faults of code in it are traps.

    The caller keeps it open as long as its code may run or views of it are used.
    """

    __slots__ = ("__weakref__", "_chunks", "_dirty", "_finalizer", "_lock", "_size")

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._dirty: list[_Chunk] = []
        self._size = 0
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _free, self._chunks)
        self._finalizer.atexit = False

    def alloc(self, size: int, align: int = 16) -> tuple[memoryview, int]:
        """`size` bytes: a view to write them through, and the address to run them at (`align` is at most 4096).

        `publish` must be called between writing and running. `ExhaustionError` when there is no memory.
        """
        if not 0 <= size <= _MOST or not 0 < align <= 4096 or align & (align - 1):
            raise EngineBug(f"code of {size} bytes aligned to {align}")
        with self._lock:
            if not self._finalizer.alive:
                raise EngineBug("the code arena is closed")
            chunk = self._chunks[-1] if self._chunks else None
            # After a fork both processes see the same pages: what is free belongs to the parent.
            if chunk is not None and chunk.pid == os.getpid():
                at = (chunk.used + align - 1) & -align
                if at + size <= chunk.size:
                    return self._take(chunk, at, size)
            arena = lib.vm_code_arena_new(max(size, min(max(self._size, _CHUNK_LEAST), _CHUNK_MOST)))
            if arena == ffi.NULL:
                exhausted(f"no memory for {size} bytes of code")
            chunk = _Chunk(arena, address(arena.rx), arena.size, os.getpid())
            self._chunks.append(chunk)
            self._size += chunk.size
            return self._take(chunk, 0, size)

    def _take(self, chunk: _Chunk, at: int, size: int) -> tuple[memoryview, int]:
        if chunk.flushed == chunk.used:
            self._dirty.append(chunk)
        chunk.used = at + size
        view = memoryview(ffi.buffer(chunk.arena.rw + at, size)) if size else memoryview(bytearray())
        return view, chunk.rx + at

    def write(self, code: bytes | bytearray | memoryview, align: int = 16) -> int:
        """Copy code that needs no relocation, ready to run; returns its address."""
        view, rx = self.alloc(len(code), align)
        view[:] = code
        self.publish()
        return rx

    def map(self, fd: int, offset: int, size: int) -> int:
        """Map code that lies in a file, at a multiple of the page size, ready to run and never written; returns its address.

        `OSError` where that is not possible: the file system may forbid it.
        """
        with self._lock:
            if not self._finalizer.alive:
                raise EngineBug("the code arena is closed")
            arena = lib.vm_code_arena_map(fd, offset, size)
            if arena == ffi.NULL:
                raise OSError(ffi.errno, os.strerror(ffi.errno))
            # In front: `alloc` looks at the last one for room.
            self._chunks.insert(0, _Chunk(arena, address(arena.rx), arena.size, os.getpid(), size, size))
            return self._chunks[0].rx

    def publish(self) -> None:
        """Make what was written since the last time fit to run (instruction caches on aarch64)."""
        with self._lock:
            for chunk in self._dirty:
                lib.vm_code_flush(chunk.arena.rx + chunk.flushed, chunk.used - chunk.flushed)
                chunk.flushed = chunk.used
            self._dirty.clear()

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(first address, bytes in use) of each chunk."""
        with self._lock:
            return [(chunk.rx, chunk.used) for chunk in self._chunks]

    def statistics(self) -> dict[str, int]:
        """`chunks`, `bytes` reserved, bytes `used`."""
        with self._lock:
            chunks = list(self._chunks)
        return {"chunks": len(chunks), "bytes": sum(c.size for c in chunks), "used": sum(c.used for c in chunks)}

    def close(self) -> None:
        """Unmap everything. May be repeated."""
        with self._lock:
            self._dirty.clear()
            self._finalizer()


def enter_code(table: int, offsets: memoryview, base: int) -> int:
    """Write `base` + offset to each entry of the code table at `table` whose offset (u32) is not 0xffffffff; returns how many."""
    return lib.vm_code_enter(ffi.cast("uint64_t *", table), ffi.from_buffer("uint32_t[]", offsets), len(offsets), base)


def processor_words() -> list[int]:
    """What code for this very processor depends on: its identity and features, the same on all its cores."""
    words = ffi.new("uint64_t[16]")
    return list(words[0 : lib.vm_processor(words, 16)])


def register_code(start: int, size: int) -> int:
    """Treat faults of code that stands elsewhere as traps too; returns a number for `unregister_code`."""
    index = lib.vm_code_register(ffi.cast("void *", start), size)
    if index < 0:
        exhausted("too many ranges of code")
    return index


def unregister_code(index: int) -> None:
    """Undo `register_code`."""
    lib.vm_code_unregister(index)
