"""`wasi:filesystem` of WASI 0.2: `descriptors` with streams of `wasi:io`.

Errors are `Err` with the name of an `error-code`.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterator
from typing import Any, ClassVar

from component_rt.wasi.clocks import datetime_record
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.descriptors import (
    BaseDescriptor,
    OpenFile,
    append,
    checked_offset,
    entry_type,
    open_directory,
    oserror,
    reporting,
)
from component_rt.wasi.errno_names import filesystem_code
from component_rt.wasi.io import MAX_READ, InputStream, IoError, OutputStream
from component_rt.wasi.stdio import FdInput, FdOutput

__all__ = ["Descriptor", "DirectoryEntryStream", "OpenFile", "Preopens", "Types", "append", "open_directory"]


_reporting = functools.partial(reporting, filesystem_code)


class FileInput(InputStream):
    """Reads a file from an offset on."""

    __slots__ = ("_file", "_position")
    origin: ClassVar[str] = "filesystem"

    def __init__(self, file: OpenFile, position: int) -> None:
        super().__init__()
        self._file = file
        self._position = position

    def _take(self, count: int) -> bytes | None:
        data = os.pread(self._file.fd, count, self._position)
        self._position += len(data)
        return data or None


class FileOutput(OutputStream):
    """Writes a file from an offset on, or at its end (`position` None)."""

    __slots__ = ("_file", "_position")
    origin: ClassVar[str] = "filesystem"

    def __init__(self, file: OpenFile, position: int | None) -> None:
        super().__init__()
        self._file = file
        self._position = position

    def _put(self, data: bytes) -> int:
        position = self._position
        if position is None:
            return append(self._file.fd, data)
        count = os.pwrite(self._file.fd, data, position)
        self._position = position + count
        return count


class DirectoryEntryStream:
    """The resource `directory-entry-stream`: names and types of what is in a directory, without `.` and `..`."""

    __slots__ = ("__weakref__", "_entries", "_file")

    def __init__(self, file: OpenFile) -> None:
        # scandir reads through a duplicate, but its entries are looked up through the descriptor it was given.
        self._file: OpenFile | None = file
        self._entries: Iterator[os.DirEntry[str]] = os.scandir(file.fd)

    @_reporting
    def read_directory_entry(self) -> dict[str, str] | None:
        """The next entry, None after the last. A name that is no UTF-8 is reported as `illegal-byte-sequence`."""
        entry = next(self._entries, None)
        if entry is None:
            return None
        try:
            name = os.fsencode(entry.name).decode()
        except UnicodeDecodeError:
            raise oserror(errno.EILSEQ) from None
        return {"type": entry_type(entry, "unknown"), "name": name}

    def close(self) -> None:
        """The guest dropped its handle."""
        entries: Any = self._entries
        entries.close()
        self._file = None


class Descriptor(BaseDescriptor, code=filesystem_code):
    """The resource `wasi:filesystem/types.descriptor`."""

    __slots__ = ()
    UNKNOWN: ClassVar = "unknown"

    def _reported(self, flags: frozenset[str], mutable: bool) -> frozenset[str]:
        if self.directory and mutable:
            return (flags - {"write"}) | {"mutate-directory"}
        return flags - {"mutate-directory"}

    def _time(self, nanoseconds: int) -> dict[str, int] | None:
        # A datetime has no room for times before 1970.
        return datetime_record(nanoseconds) if nanoseconds >= 0 else None

    def read_via_stream(self, offset: int) -> InputStream:
        """A stream that reads from `offset` on."""
        file = self._open_file("read")
        return FileInput(file, checked_offset(offset)) if self._seekable else FdInput(file.fd, file)

    def write_via_stream(self, offset: int) -> OutputStream:
        """A stream that writes from `offset` on."""
        file = self._open_file("write")
        return FileOutput(file, checked_offset(offset)) if self._seekable else FdOutput(file.fd, file)

    def append_via_stream(self) -> OutputStream:
        """A stream whose every write goes to the end of the file."""
        file = self._open_file("write")
        return FileOutput(file, None) if self._seekable else FdOutput(file.fd, file)

    def read(self, length: int, offset: int) -> tuple[bytes, bool]:
        """Up to `length` bytes at `offset`, and whether the end of the file was reached."""
        file = self._open_file("read")
        wanted = length if length < MAX_READ else MAX_READ
        data = os.pread(file.fd, wanted, checked_offset(offset))
        return data, len(data) < wanted or not wanted

    def write(self, buffer: bytes, offset: int) -> int:
        """Write at `offset`; returns how many bytes were."""
        return os.pwrite(self._open_file("write").fd, buffer, checked_offset(offset))

    def read_directory(self) -> DirectoryEntryStream:
        """A stream of what is in the directory, from its beginning."""
        return DirectoryEntryStream(self._open_entries())


class Types:
    """`wasi:filesystem/types`."""

    Descriptor: ClassVar = Descriptor
    DirectoryEntryStream: ClassVar = DirectoryEntryStream

    def filesystem_error_code(self, err: IoError) -> str | None:
        """The error code behind a stream's error, if a file was the cause."""
        error = err.exception
        return filesystem_code(error) if err.origin == "filesystem" and isinstance(error, OSError) else None


class Preopens:
    """`wasi:filesystem/preopens`. The directories are opened once: what is later renamed over them changes nothing."""

    def __init__(self, config: WasiConfig) -> None:
        self._config = config
        self.directories = [(open_directory(where.path), guest, where.writable) for guest, where in config.preopens]

    def get_directories(self) -> list[tuple[Descriptor, str]]:
        """A descriptor and a guest path for each."""
        return [
            (Descriptor(file, frozenset({"read"}), writable, self._config), guest)
            for file, guest, writable in self.directories
        ]


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"wasi:filesystem/preopens": Preopens(config), "wasi:filesystem/types": Types()}
