"""`wasi:filesystem` of WASI 0.3: the same `descriptors` as in 0.2, with streams and futures.

Files are read when the guest reads. In a trio store what the kernel has in memory is read at once, anything else in a thread; writing
goes into the kernel's memory at once, and into a thread for descriptors that were opened for synchronized writing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, Final

from component_rt.tasks.ends import BYTES
from component_rt.tasks.later import Later
from component_rt.tasks.supplies import Drain, Supply, refuse
from component_rt.wasi._values import Case, Err, Ok
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.descriptors import (
    SYNC_FLAGS,
    BaseDescriptor,
    OpenFile,
    append,
    checked_offset,
    entry_type,
    oserror,
)
from component_rt.wasi.errno_names import FILESYSTEM
from component_rt.wasi.filesystem import Preopens as OlderPreopens
from component_rt.wasi.p3 import Host
from component_rt.wasi.p3.clocks import instant
from component_rt.wasi.p3.streams import InputSupply, OutputDrain
from component_rt.wasi.stdio import FdInput, FdOutput

__all__ = ["Descriptor", "DirectorySupply", "FileDrain", "FileSupply", "Preopens"]

_ENTRIES: Final = 256
"""Directory entries in one chunk."""
_CANNOT_TELL: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system says that cannot read without waiting."""
_NAMES: Final = {
    number: name
    for number, name in FILESYSTEM.items()
    if name != "would-block" and number not in (errno.EMFILE, errno.ENFILE)
}


def _code(error: BaseException) -> str | Case:
    """The `error-code` for an error of the host; `other` with the kernel's words if there is no name for it."""
    if not isinstance(error, OSError) or error.errno is None:
        return "io"
    name = _NAMES.get(error.errno)
    return Case("other", os.strerror(error.errno)) if name is None else name


def _failed(error: OSError) -> Later:
    later = Later()
    later.set(Err(_code(error)))
    return later


class _Nothing(Supply):
    """A stream that ends at once."""

    __slots__ = ()

    def next(self) -> None:
        return None


class FileSupply(Supply):
    """A `stream<u8>` of a file from an offset on; `result` becomes its outcome."""

    __slots__ = ("_buffer", "_file", "_outcome", "_position", "result")

    def __init__(self, file: OpenFile, position: int) -> None:
        super().__init__()
        self._file: OpenFile | None = file
        self._position = position
        self._buffer = bytearray()
        self._outcome: Any = Ok(None)
        self.result = Later()

    def next(self) -> bytes | None:
        assert self._file is not None
        try:
            return self._came(os.pread(self._file.fd, self._room(), self._position))
        except OSError as error:
            self._fail(error)
            return None

    def next_async(self) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        assert self._file is not None
        room = self._room()
        if len(self._buffer) < room:
            self._buffer = bytearray(room)
        buffer = memoryview(self._buffer)[:room]
        try:
            count = os.preadv(self._file.fd, [buffer], self._position, os.RWF_NOWAIT)
        except BlockingIOError:
            return self._in_thread()
        except OSError as error:
            if error.errno in _CANNOT_TELL:
                return self._in_thread()
            self._fail(error)
            return None
        return self._came(bytes(buffer[:count]))

    async def _in_thread(self) -> bytes | None:
        import trio

        file = self._file
        assert file is not None
        try:
            return self._came(await trio.to_thread.run_sync(os.pread, file.fd, self._room(), self._position))
        except OSError as error:
            self._fail(error)
            return None

    def _room(self) -> int:
        return min(self.wanted or BYTES, BYTES)

    def _came(self, data: bytes) -> bytes | None:
        self._position += len(data)
        return data or None

    def _fail(self, error: OSError) -> None:
        self._outcome = Err(_code(error))

    def over(self) -> None:
        self._file = None
        self._buffer = bytearray()
        self.result.set(self._outcome)


class FileDrain(Drain):
    """Writes a guest's `stream<u8>` to a file from an offset on, or at its end (`position` None)."""

    __slots__ = ("_file", "_outcome", "_position", "_synchronized", "result")

    def __init__(self, file: OpenFile, position: int | None, synchronized: bool) -> None:
        """`synchronized`: a write waits for the disk."""
        super().__init__()
        self._file: OpenFile | None = file
        self._position = position
        self._synchronized = synchronized
        self._outcome: Any = Ok(None)
        self.result = Later()

    def put(self, chunk: bytes) -> bool:
        try:
            self._write(chunk)
        except OSError as error:
            self._outcome = Err(_code(error))
            return False
        return True

    def put_async(self, chunk: bytes) -> bool | Coroutine[Any, Any, bool]:
        return self._in_thread(chunk) if self._synchronized else self.put(chunk)

    async def _in_thread(self, chunk: bytes) -> bool:
        import trio

        return await trio.to_thread.run_sync(self.put, chunk)

    def _write(self, chunk: bytes) -> None:
        assert self._file is not None
        left = memoryview(chunk)
        while left:
            if self._position is None:
                done = append(self._file.fd, left)
            else:
                done = os.pwrite(self._file.fd, left, checked_offset(self._position))
                self._position += done
            left = left[done:]

    def over(self) -> None:
        self._file = None
        self.result.set(self._outcome)


class DirectorySupply(Supply):
    """A `stream<directory-entry>`, without `.` and `..`; `result` becomes its outcome.

    Names that are no UTF-8 are left out and make that `illegal-byte-sequence`, when all others have been told.
    """

    __slots__ = ("_entries", "_file", "_outcome", "result")

    def __init__(self, file: OpenFile) -> None:
        super().__init__()
        # scandir reads through a duplicate, but its entries are looked up through the descriptor it was given.
        self._file: OpenFile | None = file
        self._entries: Iterator[os.DirEntry[str]] = os.scandir(file.fd)
        self._outcome: Any = Ok(None)
        self.result = Later()

    def next(self) -> list[dict[str, Any]] | None:
        chunk: list[dict[str, Any]] = []
        try:
            while len(chunk) < _ENTRIES and (entry := next(self._entries, None)) is not None:
                try:
                    name = os.fsencode(entry.name).decode()
                except UnicodeDecodeError:
                    self._outcome = Err("illegal-byte-sequence")
                    continue
                chunk.append({"type": entry_type(entry, Descriptor.UNKNOWN), "name": name})
        except OSError as error:
            self._outcome = Err(_code(error))
        return chunk or None

    def over(self) -> None:
        entries: Any = self._entries
        entries.close()
        self._file = None
        self.result.set(self._outcome)


class Descriptor(BaseDescriptor, code=_code):
    """The resource `wasi:filesystem/types.descriptor`."""

    __slots__ = ()
    UNKNOWN: ClassVar = Case("other")

    def _reported(self, flags: frozenset[str], mutable: bool) -> frozenset[str]:
        unfit = set()
        if not self.directory or not mutable:
            unfit.add("mutate-directory")
        if self.directory:
            unfit.add("write")
        return flags - unfit

    def _wanted(self, flags: frozenset[str], how: frozenset[str]) -> frozenset[str]:
        if "write" not in flags:
            flags |= {"read"}
        return flags | {"write"} if "create" in how else flags

    def _time(self, nanoseconds: int) -> dict[str, int]:
        return instant(nanoseconds)

    def read_via_stream(self, offset: int) -> tuple[Supply, Later]:
        """The bytes from `offset` on, and how reading them ended."""
        supply: FileSupply | InputSupply
        try:
            file = self._open_file("read")
            supply = (
                FileSupply(file, checked_offset(offset))
                if self._seekable
                else InputSupply(FdInput(file.fd, file), _code)
            )
        except OSError as error:
            return _Nothing(), _failed(error)
        return supply, supply.result

    def write_via_stream(self, data: Any, offset: int) -> Later:
        """Write what comes from `data`, from `offset` on; the future is resolved when all of it is written."""
        return self._drain(data, offset)

    def append_via_stream(self, data: Any) -> Later:
        """Write what comes from `data`, each piece at the end of the file."""
        return self._drain(data, None)

    def _drain(self, data: Any, offset: int | None) -> Later:
        drain: FileDrain | OutputDrain
        try:
            file = self._open_file("write")
            if self._seekable:
                position = None if offset is None else checked_offset(offset)
                drain = FileDrain(file, position, not self._flags.isdisjoint(SYNC_FLAGS))
            else:
                drain = OutputDrain(FdOutput(file.fd, file), _code)
        except OSError as error:
            refuse(data)
            return _failed(error)
        drain.begin(data)
        return drain.result

    def read_directory(self) -> tuple[Supply, Later]:
        """What is in the directory, from its beginning, and how reading it ended."""
        try:
            supply = DirectorySupply(self._open_entries())
        except OSError as error:
            return _Nothing(), _failed(error)
        return supply, supply.result

    def advise(self, offset: int, length: int, advice: Any) -> None:
        """Tell how a region of a file will be used."""
        if self.directory:
            raise oserror(errno.EBADF)
        super().advise(offset, length, advice)


class Types:
    """`wasi:filesystem/types`."""

    Descriptor: ClassVar = Descriptor


class Preopens:
    """`wasi:filesystem/preopens`: the directories that WASI 0.2 has opened."""

    def __init__(self, config: WasiConfig, older: OlderPreopens) -> None:
        self._config = config
        self._directories = older.directories

    def get_directories(self) -> list[tuple[Descriptor, str]]:
        """A descriptor and a guest path for each."""
        flags = frozenset({"read", "mutate-directory"})
        return [(Descriptor(file, flags, writable, self._config), guest) for file, guest, writable in self._directories]


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"preopens": Preopens(host.config, host.older["wasi:filesystem/preopens"]), "types": Types()}
