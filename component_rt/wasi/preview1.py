"""WASI 0.1 (`wasi_snapshot_preview1`) for core modules, over the same files, streams and clocks as WASI 0.2.

    wasi = Preview1(WasiConfig(args=["tool"], stdout="inherit"))
    wasi.define(linker)                          # core_rt.Linker
    instance = linker.instantiate(store, module)
    code = wasi.run(instance)                    # _start; returns the exit code

The functions read and write the memory that the module exports as `memory`, which `attach` (or `run`) finds. Every
pointer is checked: what lies outside the memory is the error `fault`, never an exception. One `Preview1` serves one
instance: it holds the table of file descriptors. Blocking calls block the thread.
"""

from __future__ import annotations

import os
import stat as stat_module
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from component_rt.wasi._values import Case, Err
from component_rt.wasi.beneath import encode_path, open_beneath
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.filesystem import _TYPES, Descriptor, Preopens, append
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.pollable import Deadline, Source, wait_any_sync
from component_rt.wasi.preview1_abi import (
    DIRENT,
    ERRNO,
    EVENT,
    FDSTAT,
    FILE_TYPES,
    FILESTAT,
    NEEDED,
    OS_ERRORS,
    RIGHTS,
    SIGNATURES,
    SUBSCRIPTION_SIZE,
)
from component_rt.wasi.preview1_support import Fail, error_number, follow, list_directory, new_timestamps
from component_rt.wasi.stdio import input_stream, is_terminal, output_stream
from core_rt.errors import GuestExit, LinkError

if TYPE_CHECKING:
    import core_rt

__all__ = ["MODULE", "Preview1"]

MODULE = "wasi_snapshot_preview1"

_M32 = 0xFFFF_FFFF
_M64 = 0xFFFF_FFFF_FFFF_FFFF
_MOST_FDS = 4096
"""Descriptors that one guest may have open."""
_MOST_SUBSCRIPTIONS = 4096
_IO_CHUNK = 1 << 20

_APPEND, _DSYNC, _NONBLOCK, _RSYNC, _SYNC = 1, 2, 4, 8, 16
_READ_RIGHT, _WRITE_RIGHT = RIGHTS["fd_read"], RIGHTS["fd_write"]
_ALL_RIGHTS = (1 << len(RIGHTS)) - 1
_FILE_RIGHTS = sum(bit for name, bit in RIGHTS.items() if name.startswith(("fd_", "poll_")) and name != "fd_readdir")
_DIRECTORY_RIGHTS = sum(bit for name, bit in RIGHTS.items() if name.startswith("path_")) | sum(
    RIGHTS[name] for name in ("fd_readdir", "fd_filestat_get", "fd_filestat_set_times", "fd_sync", "fd_datasync")
)
_STREAM_RIGHTS = RIGHTS["poll_fd_readwrite"] | RIGHTS["fd_filestat_get"] | RIGHTS["fd_fdstat_set_flags"]


@attrs.define(eq=False)
class _Fd:
    """An entry of the descriptor table: a stream of the standard handles, a file, or a directory."""

    descriptor: Descriptor | None = None
    input: InputStream | None = None
    output: OutputStream | None = None
    terminal: bool = False
    preopen: bytes | None = None
    """The guest path of a granted directory."""
    flags: int = 0
    rights: int = 0
    inheriting: int = 0
    dropped: int = 0
    """Rights that the guest gave up with `fd_fdstat_set_rights`: what needs one of them is refused. Rights that were
    never asked for are not missed, for programs have long been written for hosts that look at none."""
    dropped_inheriting: int = 0
    position: int = 0
    listing: list[tuple[int, int, bytes]] = attrs.field(factory=list)
    """Inode, type and name of a directory's entries, read when the guest begins to list it."""


class Preview1:
    """The functions of WASI 0.1 for one instance. Blocks the calling thread where the guest asks to wait."""

    def __init__(self, config: WasiConfig | None = None) -> None:
        self.config = config = WasiConfig() if config is None else config
        self.memory: core_rt.Memory | None = None
        self._rights_dropped = False
        """Whether the guest ever gave up rights: until then nothing needs to be checked."""
        self._args = [arg.encode() + b"\0" for arg in config.args]
        self._environ = [f"{name}={value}".encode() + b"\0" for name, value in config.env]
        readable, writable = _STREAM_RIGHTS | _READ_RIGHT, _STREAM_RIGHTS | _WRITE_RIGHT
        self._fds: dict[int, _Fd] = {
            0: _Fd(input=input_stream(config.stdin, 0), terminal=is_terminal(config.stdin, 0), rights=readable),
            1: _Fd(output=output_stream(config.stdout, 1, "stdout"), terminal=is_terminal(config.stdout, 1)),
            2: _Fd(output=output_stream(config.stderr, 2, "stderr"), terminal=is_terminal(config.stderr, 2)),
        }
        self._fds[1].rights = self._fds[2].rights = writable
        for descriptor, guest in Preopens(config).get_directories():
            self._add(
                _Fd(descriptor, preopen=guest.encode(), rights=_DIRECTORY_RIGHTS, inheriting=_ALL_RIGHTS), first=3
            )

    # -- for the host ------------------------------------------------------------------------------------------------

    def define(self, linker: core_rt.Linker, module: str = MODULE) -> None:
        """Define every function under the module's name."""
        from core_rt import I32, I64, FuncType

        kinds = {"i": I32, "I": I64}
        for name, signature in SIGNATURES.items():
            type_ = FuncType([kinds[kind] for kind in signature], [I32])
            linker.define_func(module, name, type_, self._guarded(name))
        linker.define_func(module, "proc_exit", FuncType([I32], []), self.proc_exit)

    def attach(self, instance: core_rt.Instance) -> None:
        """Use this instance's memory. Raises `LinkError` if it exports none as `memory`."""
        from core_rt import Memory

        memory = instance.exports.get("memory")
        if not isinstance(memory, Memory):
            raise LinkError("a module that uses WASI must export its memory as `memory`")
        self.memory = memory

    def run(self, instance: core_rt.Instance) -> int:
        """Run `_start` and return the exit code. Raises `LinkError` if there is none, `Trap` if the guest traps."""
        self.attach(instance)
        start = instance.exports.get("_start")
        if start is None:
            raise LinkError("the module exports no function `_start`: it is no WASI command")
        call: Any = start
        try:
            call()
        except GuestExit as exited:
            return exited.code
        return 0

    # -- inside ------------------------------------------------------------------------------------------------------

    def _guarded(self, name: str) -> Callable[..., int]:
        """The function as the linker wants it: unsigned arguments, errors as numbers."""
        kinds = SIGNATURES[name]
        first, second = NEEDED.get(name, (0, 0))
        # `path_symlink` has its target first; of two descriptors, the second stands behind the first path.
        at_first, at_second = (2 if name == "path_symlink" else 0), len(kinds) - 3
        args = ", ".join(f"a{index}" for index in range(len(kinds)))
        unsigned = ", ".join(f"a{index} & {_M32 if kind == 'i' else _M64}" for index, kind in enumerate(kinds))
        checks = [f"check(a{at} & {_M32}, {need})" for at, need in ((at_first, first), (at_second, second)) if need]
        # Written out for each signature: a loop over arguments would cost more than many of the functions do.
        source = f"def call({args}):\n try:\n"
        if checks:
            source += f"  if wasi._rights_dropped: {'; '.join(checks)}\n"
        source += f"  function({unsigned})\n except BaseException as error: return failed(error)\n return 0\n"
        scope: dict[str, Any] = {
            "wasi": self,
            "check": self._check_rights,
            "failed": _failed,
            "function": getattr(self, name),
        }
        exec(compile(source, f"<wasi {name}>", "exec"), scope)
        call: Callable[..., int] = scope["call"]
        return call

    def _check_rights(self, number: int, needed: int) -> None:
        entry = self._fds.get(number)
        if entry is not None and entry.dropped & needed:
            raise Fail("notcapable")

    def _data(self) -> memoryview:
        if self.memory is None:
            raise Fail("fault")
        return self.memory.data

    def _span(self, pointer: int, length: int) -> memoryview:
        """A piece of guest memory. Ends the call with `fault` if it lies outside."""
        data = self._data()
        if pointer + length > len(data):
            raise Fail("fault")
        return data[pointer : pointer + length]

    def _u32(self, pointer: int, value: int) -> None:
        struct.pack_into("<I", self._data(), pointer, value & _M32)

    def _u64(self, pointer: int, value: int) -> None:
        struct.pack_into("<Q", self._data(), pointer, value & _M64)

    def _path(self, pointer: int, length: int) -> str:
        try:
            return bytes(self._span(pointer, length)).decode()
        except UnicodeDecodeError:
            raise Fail("ilseq") from None

    def _vectors(self, pointer: int, count: int) -> list[memoryview]:
        """The buffers of an iovec array."""
        if count > 1024:
            raise Fail("inval")
        pairs = struct.iter_unpack("<II", bytes(self._span(pointer, 8 * count)))
        return [self._span(start, length) for start, length in pairs]

    def _fd(self, number: int) -> _Fd:
        entry = self._fds.get(number)
        if entry is None:
            raise Fail("badf")
        return entry

    def _descriptor(self, number: int) -> Descriptor:
        descriptor = self._fd(number).descriptor
        if descriptor is None:
            raise Fail("notsup")
        return descriptor

    def _directory(self, number: int) -> Descriptor:
        descriptor = self._fd(number).descriptor
        if descriptor is None or not descriptor.directory:
            raise Fail("notdir")
        return descriptor

    def _file(self, number: int) -> tuple[_Fd, Descriptor]:
        """An entry that is a file with a position."""
        entry = self._fd(number)
        if entry.descriptor is None:
            raise Fail("spipe")
        if entry.descriptor.directory:
            raise Fail("isdir")
        return entry, entry.descriptor

    def _add(self, entry: _Fd, first: int = 0) -> int:
        if len(self._fds) >= _MOST_FDS:
            raise Fail("mfile")
        number = first
        while number in self._fds:
            number += 1
        self._fds[number] = entry
        return number

    # -- arguments, clocks, randomness, the process ------------------------------------------------------------------

    def _strings(self, strings: list[bytes], pointers: int, buffer: int) -> None:
        data = self._data()
        for index, text in enumerate(strings):
            struct.pack_into("<I", data, pointers + 4 * index, buffer)
            self._span(buffer, len(text))[:] = text
            buffer += len(text)

    def args_get(self, argv: int, buffer: int) -> None:
        self._strings(self._args, argv, buffer)

    def args_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._args))
        self._u32(size, sum(map(len, self._args)))

    def environ_get(self, environ: int, buffer: int) -> None:
        self._strings(self._environ, environ, buffer)

    def environ_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._environ))
        self._u32(size, sum(map(len, self._environ)))

    def _clock(self, number: int) -> Callable[[], int]:
        clocks = (self.config.wall_clock, self.config.monotonic_clock, time.process_time_ns, time.thread_time_ns)
        if number >= len(clocks):
            raise Fail("inval")
        return clocks[number]

    def clock_res_get(self, clock: int, result: int) -> None:
        self._clock(clock)
        ids = (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_PROCESS_CPUTIME_ID, time.CLOCK_THREAD_CPUTIME_ID)
        self._u64(result, max(round(time.clock_getres(ids[clock]) * 1e9), 1))

    def clock_time_get(self, clock: int, precision: int, result: int) -> None:
        self._u64(result, self._clock(clock)())

    def random_get(self, buffer: int, length: int) -> None:
        # The span first: bytes that fit nowhere are not made.
        span = self._span(buffer, length)
        span[:] = self.config.random_bytes(length)

    def sched_yield(self) -> None:
        time.sleep(0)

    def proc_exit(self, code: int) -> None:
        raise GuestExit(code & _M32)

    def proc_raise(self, signal: int) -> None:
        raise Fail("nosys")

    # -- descriptors -------------------------------------------------------------------------------------------------

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
        if (flags ^ entry.flags) & ~(_APPEND | _NONBLOCK):
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

    def _filestat(self, result: int, status: os.stat_result) -> None:
        kind = FILE_TYPES[_TYPES.get(stat_module.S_IFMT(status.st_mode), "unknown")]
        times = (max(status.st_atime_ns, 0), max(status.st_mtime_ns, 0), max(status.st_ctime_ns, 0))
        FILESTAT.pack_into(
            self._data(), result, status.st_dev, status.st_ino, kind, status.st_nlink, status.st_size, *times
        )

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

    def _read_stream(self, entry: _Fd, buffers: list[memoryview]) -> int:
        """Fill buffers from a stream: one read, as `readv` does."""
        wanted = sum(map(len, buffers))
        if not wanted:
            return 0
        stream: Any = entry.input
        try:
            if entry.flags & _NONBLOCK:
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
        if entry.flags & _APPEND:
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

    # -- paths -------------------------------------------------------------------------------------------------------

    def path_create_directory(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).create_directory_at(self._path(path, length))

    def path_filestat_get(self, fd: int, flags: int, path: int, length: int, result: int) -> None:
        base = self._directory(fd)
        follow = 0 if flags & 1 else os.O_NOFOLLOW
        found = open_beneath(base.fd, encode_path(self._path(path, length)), os.O_PATH | follow)
        try:
            self._filestat(result, os.fstat(found))
        finally:
            os.close(found)

    def path_filestat_set_times(
        self, fd: int, flags: int, path: int, length: int, access: int, modification: int, which: int
    ) -> None:
        times = new_timestamps(access, modification, which)
        self._directory(fd).set_times_at(follow(flags), self._path(path, length), *times)

    def path_link(
        self, fd: int, flags: int, path: int, length: int, new_fd: int, new_path: int, new_length: int
    ) -> None:
        to = self._directory(new_fd)
        self._directory(fd).link_at(follow(flags), self._path(path, length), to, self._path(new_path, new_length))

    def path_open(
        self,
        fd: int,
        look: int,
        path: int,
        length: int,
        how: int,
        rights: int,
        inheriting: int,
        flags: int,
        result: int,
    ) -> None:
        base = self._directory(fd)
        open_flags = {
            name for bit, name in enumerate(("create", "directory", "exclusive", "truncate")) if how >> bit & 1
        }
        if "create" in open_flags:
            self._check_rights(fd, RIGHTS["path_create_file"])
        if "truncate" in open_flags:
            self._check_rights(fd, RIGHTS["path_filestat_set_size"])
        wanted = set()
        if rights & _READ_RIGHT:
            wanted.add("read")
        if rights & _WRITE_RIGHT:
            wanted.add("write")
        if flags & _SYNC:
            wanted.add("file-integrity-sync")
        if flags & _DSYNC:
            wanted.add("data-integrity-sync")
        if flags & _RSYNC:
            wanted.add("requested-write-sync")
        self._u32(result, 0)
        descriptor = base.open_at(follow(look), self._path(path, length), open_flags, wanted)
        if descriptor.directory:
            entry = _Fd(descriptor, rights=rights & _DIRECTORY_RIGHTS, inheriting=inheriting)
        else:
            entry = _Fd(descriptor, rights=rights & _FILE_RIGHTS, inheriting=0)
        above = self._fd(fd).dropped_inheriting
        entry.dropped = entry.dropped_inheriting = above
        entry.rights &= ~above
        entry.inheriting &= ~above
        entry.flags = flags & 31
        self._u32(result, self._add(entry))

    def path_readlink(self, fd: int, path: int, length: int, buffer: int, size: int, result: int) -> None:
        target = self._directory(fd).readlink_at(self._path(path, length)).encode()[:size]
        self._span(buffer, len(target))[:] = target
        self._u32(result, len(target))

    def path_remove_directory(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).remove_directory_at(self._path(path, length))

    def path_rename(self, fd: int, path: int, length: int, new_fd: int, new_path: int, new_length: int) -> None:
        to = self._directory(new_fd)
        self._directory(fd).rename_at(self._path(path, length), to, self._path(new_path, new_length))

    def path_symlink(self, target: int, target_length: int, fd: int, path: int, length: int) -> None:
        self._directory(fd).symlink_at(self._path(target, target_length), self._path(path, length))

    def path_unlink_file(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).unlink_file_at(self._path(path, length))

    # -- waiting -----------------------------------------------------------------------------------------------------

    def poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> None:
        if not count or count > _MOST_SUBSCRIPTIONS:
            raise Fail("inval")
        data = bytes(self._span(subscriptions, SUBSCRIPTION_SIZE * count))
        self._span(events, EVENT.size * count)
        waits: list[Source] = []
        heads: list[tuple[int, int, _Fd | None]] = []
        failed = bytearray()
        for start in range(0, len(data), SUBSCRIPTION_SIZE):
            userdata, kind = struct.unpack_from("<QB", data, start)
            try:
                source, entry = self._subscription(kind, data, start)
            except Fail as failure:
                failed += EVENT.pack(userdata, failure.number, kind, 0, 0)
                continue
            waits.append(source)
            heads.append((userdata, kind, entry))
        out = failed
        if not failed:
            for index in wait_any_sync(waits):
                userdata, kind, entry = heads[index]
                out += EVENT.pack(userdata, 0, kind, 0 if entry is None else _available(kind, entry), 0)
        self._span(events, len(out))[:] = out
        self._u32(result, len(out) // EVENT.size)

    def _subscription(self, kind: int, data: bytes, start: int) -> tuple[Source, _Fd | None]:
        if kind == 0:
            number, timeout, _, flags = struct.unpack_from("<IxxxxQQH", data, start + 16)
            clock = self._clock(number)
            return Deadline(clock, timeout if flags & 1 else clock() + timeout), None
        if kind > 2:
            raise Fail("inval")
        entry = self._fd(struct.unpack_from("<I", data, start + 16)[0])
        stream = entry.input if kind == 1 else entry.output
        if stream is not None:
            return stream.subscribe().source, entry
        if entry.descriptor is None:
            raise Fail("badf")
        # Files are always ready.
        return Deadline(int, 0), entry

    # -- sockets: none can be granted to a core module ---------------------------------------------------------------

    def _no_socket(self, fd: int) -> None:
        self._fd(fd)
        raise Fail("notsock")

    def sock_accept(self, fd: int, flags: int, result: int) -> None:
        self._no_socket(fd)

    def sock_recv(self, fd: int, vectors: int, count: int, flags: int, result: int, result_flags: int) -> None:
        self._no_socket(fd)

    def sock_send(self, fd: int, vectors: int, count: int, flags: int, result: int) -> None:
        self._no_socket(fd)

    def sock_shutdown(self, fd: int, how: int) -> None:
        self._no_socket(fd)


def _available(kind: int, entry: _Fd) -> int:
    """What an event says about how much can be moved at once."""
    descriptor = entry.descriptor
    if kind == 1 and descriptor is not None and not descriptor.directory:
        return max(os.fstat(descriptor.fd).st_size - entry.position, 0)
    return 1


def _failed(error: BaseException) -> int:
    """The number for what a function raised; what is no error of the guest's goes on."""
    if isinstance(error, Fail):
        return error.number
    if isinstance(error, OSError):
        return OS_ERRORS.get(error.errno or 0, ERRNO["io"])
    if isinstance(error, Err):
        return error_number(error.value)
    if isinstance(error, struct.error):
        # pack_into and unpack_from refuse offsets outside the memory.
        return ERRNO["fault"]
    if isinstance(error, OverflowError):
        return ERRNO["inval"]
    raise error
