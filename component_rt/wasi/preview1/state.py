"""What an instance that uses WASI 0.1 has: its memory, its table of descriptors, its clocks."""

from __future__ import annotations

import os
import stat as stat_module
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from component_rt.wasi.config import WasiConfig
from component_rt.wasi.descriptors import TYPES
from component_rt.wasi.filesystem import Descriptor, Preopens
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.preview1.abi import FILE_TYPES, FILESTAT, RIGHTS
from component_rt.wasi.preview1.support import Fail
from component_rt.wasi.stdio import input_stream, is_terminal, output_stream

if TYPE_CHECKING:
    import core_rt

__all__ = [
    "APPEND",
    "DIRECTORY_RIGHTS",
    "DSYNC",
    "FILE_RIGHTS",
    "M32",
    "M64",
    "NONBLOCK",
    "READ_RIGHT",
    "RSYNC",
    "SYNC",
    "WRITE_RIGHT",
    "Fd",
    "State",
]

M32 = 0xFFFF_FFFF
M64 = 0xFFFF_FFFF_FFFF_FFFF
_MOST_FDS = 4096
"""Descriptors that one guest may have open."""
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16
READ_RIGHT, WRITE_RIGHT = RIGHTS["fd_read"], RIGHTS["fd_write"]
_ALL_RIGHTS = (1 << len(RIGHTS)) - 1
FILE_RIGHTS = sum(bit for name, bit in RIGHTS.items() if name.startswith(("fd_", "poll_")) and name != "fd_readdir")
DIRECTORY_RIGHTS = sum(bit for name, bit in RIGHTS.items() if name.startswith("path_")) | sum(
    RIGHTS[name] for name in ("fd_readdir", "fd_filestat_get", "fd_filestat_set_times", "fd_sync", "fd_datasync")
)
_STREAM_RIGHTS = RIGHTS["poll_fd_readwrite"] | RIGHTS["fd_filestat_get"] | RIGHTS["fd_fdstat_set_flags"]


@attrs.define(eq=False)
class Fd:
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


class State:
    """Everything that the functions read and write. Helpers that find something wrong end the call with `Fail`."""

    def __init__(self, config: WasiConfig | None = None) -> None:
        self.config = config = WasiConfig() if config is None else config
        self.memory: core_rt.Memory | None = None
        self._rights_dropped = False
        """Whether the guest ever gave up rights: until then nothing needs to be checked."""
        self._args = [arg.encode() + b"\0" for arg in config.args]
        self._environ = [f"{name}={value}".encode() + b"\0" for name, value in config.env]
        readable, writable = _STREAM_RIGHTS | READ_RIGHT, _STREAM_RIGHTS | WRITE_RIGHT
        self._fds: dict[int, Fd] = {
            0: Fd(input=input_stream(config.stdin, 0), terminal=is_terminal(config.stdin, 0), rights=readable),
            1: Fd(output=output_stream(config.stdout, 1, "stdout"), terminal=is_terminal(config.stdout, 1)),
            2: Fd(output=output_stream(config.stderr, 2, "stderr"), terminal=is_terminal(config.stderr, 2)),
        }
        self._fds[1].rights = self._fds[2].rights = writable
        for descriptor, guest in Preopens(config).get_directories():
            self._add(Fd(descriptor, preopen=guest.encode(), rights=DIRECTORY_RIGHTS, inheriting=_ALL_RIGHTS), first=3)

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
        struct.pack_into("<I", self._data(), pointer, value & M32)

    def _u64(self, pointer: int, value: int) -> None:
        struct.pack_into("<Q", self._data(), pointer, value & M64)

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

    def _fd(self, number: int) -> Fd:
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

    def _file(self, number: int) -> tuple[Fd, Descriptor]:
        """An entry that is a file with a position."""
        entry = self._fd(number)
        if entry.descriptor is None:
            raise Fail("spipe")
        if entry.descriptor.directory:
            raise Fail("isdir")
        return entry, entry.descriptor

    def _add(self, entry: Fd, first: int = 0) -> int:
        if len(self._fds) >= _MOST_FDS:
            raise Fail("mfile")
        number = first
        while number in self._fds:
            number += 1
        self._fds[number] = entry
        return number

    def _clock(self, number: int) -> Callable[[], int]:
        clocks = (self.config.wall_clock, self.config.monotonic_clock, time.process_time_ns, time.thread_time_ns)
        if number >= len(clocks):
            raise Fail("inval")
        return clocks[number]

    def _filestat(self, result: int, status: os.stat_result) -> None:
        kind = FILE_TYPES[TYPES.get(stat_module.S_IFMT(status.st_mode), "unknown")]
        times = (max(status.st_atime_ns, 0), max(status.st_mtime_ns, 0), max(status.st_ctime_ns, 0))
        FILESTAT.pack_into(
            self._data(), result, status.st_dev, status.st_ino, kind, status.st_nlink, status.st_size, *times
        )
