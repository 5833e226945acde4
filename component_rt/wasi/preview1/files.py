"""Descriptors: what they are, where they stand, reading and writing."""

from __future__ import annotations

import os
import struct
from typing import Any

from component_rt.wasi._values import Case, Err
from component_rt.wasi.filesystem import Descriptor, append
from component_rt.wasi.preview1.abi import DIRENT, FDSTAT, FILE_TYPES, FILESTAT
from component_rt.wasi.preview1.state import APPEND, NONBLOCK, Fd, State
from component_rt.wasi.preview1.support import Fail, list_directory, new_timestamps

__all__ = ["Files"]


class Files(State):
    """`fd_*`."""

    def fd_close(self, fd: int) -> None:
        descriptor = self._fd(fd).descriptor
        del self._fds[fd]
        if descriptor is not None:
            descriptor.close()

    def fd_renumber(self, fd: int, to: int) -> None:
        entry = self._fd(fd)
        old = self._fd(to)
        if entry is old:
            return
        if old.descriptor is not None:
            old.descriptor.close()
        self._fds[to] = entry
        del self._fds[fd]

    def fd_prestat_get(self, fd: int, result: int) -> None:
        name = self._fd(fd).preopen
        if name is None:
            raise Fail("badf")
        struct.pack_into("<BxxxI", self._data(), result, 0, len(name))

    def fd_prestat_dir_name(self, fd: int, path: int, length: int) -> None:
        name = self._fd(fd).preopen
        if name is None:
            raise Fail("badf")
        if length < len(name):
            raise Fail("nametoolong")
        self._span(path, len(name))[:] = name

    def fd_fdstat_get(self, fd: int, result: int) -> None:
        entry = self._fd(fd)
        kind = "character-device" if entry.terminal else "unknown"
        if entry.descriptor is not None:
            kind = entry.descriptor.type
        FDSTAT.pack_into(self._data(), result, FILE_TYPES[kind], entry.flags, entry.rights, entry.inheriting)

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> None:
        entry = self._fd(fd)
        if (flags ^ entry.flags) & ~(APPEND | NONBLOCK):
            # The kernel cannot change these on an open file either.
            raise Fail("inval" if flags >> 5 else "notsup")
        entry.flags = flags

    def fd_fdstat_set_rights(self, fd: int, base: int, inheriting: int) -> None:
        entry = self._fd(fd)
        if base & ~entry.rights or inheriting & ~entry.inheriting:
            raise Fail("notcapable")
        self._rights_dropped = True
        entry.dropped |= entry.rights & ~base
        entry.dropped_inheriting |= entry.inheriting & ~inheriting
        entry.rights, entry.inheriting = base, inheriting

    def fd_advise(self, fd: int, offset: int, length: int, advice: int) -> None:
        names = ("normal", "sequential", "random", "will-need", "dont-need", "no-reuse")
        if advice >= len(names):
            raise Fail("inval")
        self._file(fd)[1].advise(offset, length, names[advice])

    def fd_allocate(self, fd: int, offset: int, length: int) -> None:
        _, descriptor = self._file(fd)
        if "write" not in descriptor.get_flags():
            raise Fail("badf")
        if not length:
            raise Fail("inval")
        os.posix_fallocate(descriptor.fd, offset, length)

    def fd_sync(self, fd: int) -> None:
        self._descriptor(fd).sync()

    def fd_datasync(self, fd: int) -> None:
        self._descriptor(fd).sync_data()

    def fd_filestat_get(self, fd: int, result: int) -> None:
        entry = self._fd(fd)
        if entry.descriptor is None:
            kind = FILE_TYPES["character-device" if entry.terminal else "unknown"]
            FILESTAT.pack_into(self._data(), result, 0, 0, kind, 1, 0, 0, 0, 0)
        else:
            self._filestat(result, os.fstat(entry.descriptor.fd))

    def fd_filestat_set_size(self, fd: int, size: int) -> None:
        self._file(fd)[1].set_size(size)

    def fd_filestat_set_times(self, fd: int, access: int, modification: int, flags: int) -> None:
        self._descriptor(fd).set_times(*new_timestamps(access, modification, flags))

    def fd_seek(self, fd: int, offset: int, whence: int, result: int) -> None:
        entry, descriptor = self._file(fd)
        if whence > 2:
            raise Fail("inval")
        base = (0, entry.position, os.fstat(descriptor.fd).st_size if whence == 2 else 0)[whence]
        position = base + (offset - (1 << 64) if offset >> 63 else offset)
        if not 0 <= position < 1 << 63:
            raise Fail("inval")
        entry.position = position
        self._u64(result, position)

    def fd_tell(self, fd: int, result: int) -> None:
        self._u64(result, self._file(fd)[0].position)

    # -- reading and writing -----------------------------------------------------------------------------------------

    def fd_read(self, fd: int, vectors: int, count: int, result: int) -> None:
        entry = self._fd(fd)
        buffers = self._vectors(vectors, count)
        if entry.input is not None:
            self._u32(result, self._read_stream(entry, buffers))
            return
        if entry.output is not None:
            raise Fail("badf")
        entry, descriptor = self._file(fd)
        self._u32(result, moved := self._read_at(descriptor, buffers, entry.position))
        entry.position += moved

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, result: int) -> None:
        _, descriptor = self._file(fd)
        self._u32(result, self._read_at(descriptor, self._vectors(vectors, count), offset))

    def _read_at(self, descriptor: Descriptor, buffers: list[memoryview], offset: int) -> int:
        if "read" not in descriptor.get_flags():
            raise Fail("badf")
        if offset >> 63:
            raise Fail("inval")
        if descriptor.type == "fifo":
            return os.readv(descriptor.fd, buffers) if buffers else 0
        return os.preadv(descriptor.fd, buffers, offset) if buffers else 0

    def _read_stream(self, entry: Fd, buffers: list[memoryview]) -> int:
        """Fill buffers from a stream: one read, as `readv` does."""
        wanted = sum(map(len, buffers))
        if not wanted:
            return 0
        stream: Any = entry.input
        try:
            if entry.flags & NONBLOCK:
                data = stream.read(wanted)
                if not data:
                    raise Fail("again")
            else:
                data = stream.blocking_read(wanted)
        except Err as error:
            if error.value == Case("closed"):
                return 0
            raise
        rest = memoryview(data)
        for buffer in buffers:
            piece = rest[: len(buffer)]
            buffer[: len(piece)] = piece
            rest = rest[len(piece) :]
        return len(data)

    def fd_write(self, fd: int, vectors: int, count: int, result: int) -> None:
        entry = self._fd(fd)
        buffers = self._vectors(vectors, count)
        if entry.output is not None:
            # One piece for all buffers, so that a line stays a line.
            data = b"".join(buffers)
            if data:
                entry.output.blocking_write_and_flush(data)
            self._u32(result, len(data))
            return
        if entry.input is not None:
            raise Fail("badf")
        entry, descriptor = self._file(fd)
        if "write" not in descriptor.get_flags():
            raise Fail("badf")
        if entry.flags & APPEND:
            moved = append(descriptor.fd, b"".join(buffers)) if buffers else 0
            entry.position = os.fstat(descriptor.fd).st_size
        else:
            moved = self._write_at(descriptor, buffers, entry.position)
            entry.position += moved
        self._u32(result, moved)

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, result: int) -> None:
        _, descriptor = self._file(fd)
        if "write" not in descriptor.get_flags():
            raise Fail("badf")
        self._u32(result, self._write_at(descriptor, self._vectors(vectors, count), offset))

    def _write_at(self, descriptor: Descriptor, buffers: list[memoryview], offset: int) -> int:
        if offset >> 63:
            raise Fail("inval")
        if descriptor.type == "fifo":
            return os.writev(descriptor.fd, buffers) if buffers else 0
        return os.pwritev(descriptor.fd, buffers, offset) if buffers else 0

    def fd_readdir(self, fd: int, buffer: int, length: int, cookie: int, result: int) -> None:
        entry = self._fd(fd)
        descriptor = self._directory(fd)
        if not cookie or not entry.listing:
            entry.listing = list_directory(descriptor)
        out = bytearray()
        for index in range(cookie, len(entry.listing)):
            inode, kind, name = entry.listing[index]
            out += DIRENT.pack(index + 1, inode, len(name), kind) + name
            if len(out) >= length:
                break
        out = out[:length]
        self._span(buffer, len(out))[:] = out
        self._u32(result, len(out))
