"""`wasi:filesystem`: files and directories beneath the directories that were granted.

A descriptor knows what it was opened for. `write` and everything that changes a directory needs a descriptor that came,
however indirectly, from a directory granted as "rw"; below a read-only one these fail with `read-only`. A directory
opened from a mutable one is mutable, whether the guest asked for `mutate-directory` or not: C libraries do not ask.

Errors are `Err` with the name of an `error-code`. No function blocks except `sync` and `sync-data`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as stat_module
from collections.abc import Iterator
from typing import Any, ClassVar

from component_rt.wasi._values import enum_name, field, flag_names, split_case
from component_rt.wasi.beneath import Parent, encode_path, open_beneath
from component_rt.wasi.clocks import datetime_record
from component_rt.wasi.config import Budget, WasiConfig
from component_rt.wasi.dual import Dual
from component_rt.wasi.errno_names import async_filesystem_errors, filesystem_code, filesystem_errors
from component_rt.wasi.io import MAX_READ, InputStream, IoError, OutputStream
from component_rt.wasi.stdio import FdInput, FdOutput

__all__ = ["Descriptor", "DirectoryEntryStream", "OpenFile", "Preopens", "Types", "open_directory"]

_SECRET = os.urandom(32)
"""Keys the metadata hashes, so that a guest cannot compute inode numbers back."""
_MAX_OFFSET = (1 << 63) - 1
_MASK64 = (1 << 64) - 1

_TYPES = {
    stat_module.S_IFBLK: "block-device",
    stat_module.S_IFCHR: "character-device",
    stat_module.S_IFDIR: "directory",
    stat_module.S_IFIFO: "fifo",
    stat_module.S_IFLNK: "symbolic-link",
    stat_module.S_IFREG: "regular-file",
    stat_module.S_IFSOCK: "socket",
}

_ADVICE = {
    "normal": os.POSIX_FADV_NORMAL,
    "sequential": os.POSIX_FADV_SEQUENTIAL,
    "random": os.POSIX_FADV_RANDOM,
    "will-need": os.POSIX_FADV_WILLNEED,
    "dont-need": os.POSIX_FADV_DONTNEED,
    "no-reuse": os.POSIX_FADV_NOREUSE,
}

_SYNC_FLAGS = {
    "file-integrity-sync": os.O_SYNC,
    "data-integrity-sync": os.O_DSYNC,
    "requested-write-sync": os.O_RSYNC,
}

# O_NONBLOCK: opening a fifo must not wait for the other end. O_NOCTTY: no terminal may become ours.
_ALWAYS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def _oserror(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _offset(value: int) -> int:
    if value > _MAX_OFFSET:
        raise _oserror(errno.EINVAL)
    return value


class OpenFile:
    """A file descriptor of the host that is closed when the last guest handle or stream lets go of it."""

    __slots__ = ("__weakref__", "_budget", "fd")

    def __init__(self, fd: int, budget: Budget | None = None) -> None:
        """Takes over `fd`. Raises `OSError` (EMFILE) if that is one too many for `budget`; it is closed then."""
        self.fd = -1
        self._budget: Budget | None = None
        if budget is not None:
            try:
                budget.take()
            except OSError:
                os.close(fd)
                raise
        self.fd = fd
        self._budget = budget

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        if self._budget is not None:
            self._budget.give()


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


def append(fd: int, data: bytes) -> int:
    """Write at the end of a file, atomically where the kernel can (RWF_APPEND); returns the number of bytes."""
    try:
        return os.pwritev(fd, [data], 0, os.RWF_APPEND)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return os.pwrite(fd, data, os.fstat(fd).st_size)


class DirectoryEntryStream:
    """The resource `directory-entry-stream`: names and types of what is in a directory, without `.` and `..`."""

    __slots__ = ("__weakref__", "_entries", "_file")

    def __init__(self, file: OpenFile) -> None:
        # scandir reads through a duplicate, but its entries are looked up through the descriptor it was given.
        self._file: OpenFile | None = file
        self._entries: Iterator[os.DirEntry[str]] = os.scandir(file.fd)

    @filesystem_errors
    def read_directory_entry(self) -> dict[str, str] | None:
        """The next entry, None after the last. A name that is no UTF-8 is reported as `illegal-byte-sequence`."""
        entry = next(self._entries, None)
        if entry is None:
            return None
        try:
            name = os.fsencode(entry.name).decode()
        except UnicodeDecodeError:
            raise _oserror(errno.EILSEQ) from None
        return {"type": _entry_type(entry), "name": name}

    def close(self) -> None:
        """The guest dropped its handle."""
        entries: Any = self._entries
        entries.close()
        self._file = None


def _entry_type(entry: os.DirEntry[str]) -> str:
    """The kind of an entry, from the directory itself where it says (no further system call then)."""
    if entry.is_file(follow_symlinks=False):
        return "regular-file"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    if entry.is_symlink():
        return "symbolic-link"
    try:
        return _TYPES.get(stat_module.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "unknown")
    except OSError:
        return "unknown"


def _timestamp(nanoseconds: int) -> dict[str, int] | None:
    # A datetime has no room for times before 1970.
    return datetime_record(nanoseconds) if nanoseconds >= 0 else None


def stat_record(status: os.stat_result) -> dict[str, object]:
    """The record `descriptor-stat`."""
    return {
        "type": _TYPES.get(stat_module.S_IFMT(status.st_mode), "unknown"),
        "link_count": status.st_nlink,
        "size": status.st_size,
        "data_access_timestamp": _timestamp(status.st_atime_ns),
        "data_modification_timestamp": _timestamp(status.st_mtime_ns),
        "status_change_timestamp": _timestamp(status.st_ctime_ns),
    }


def _metadata_hash(status: os.stat_result) -> dict[str, int]:
    text = f"{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns}"
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16, key=_SECRET).digest())
    return {"lower": digest & _MASK64, "upper": digest >> 64}


def _new_times(status: os.stat_result, access: Any, modification: Any, now: int) -> tuple[int, int]:
    """Nanoseconds for `utime` from two `new-timestamp` values."""

    def pick(value: Any, kept: int) -> int:
        case, payload = split_case(value)
        if case == "no-change":
            return kept
        if case == "now":
            return now
        nanoseconds: int = field(payload, "nanoseconds")
        if nanoseconds >= 1_000_000_000:
            raise _oserror(errno.EINVAL)
        when: int = field(payload, "seconds") * 1_000_000_000 + nanoseconds
        return when

    return pick(access, status.st_atime_ns), pick(modification, status.st_mtime_ns)


def _utime(fd: int, times: tuple[int, int]) -> None:
    """Set the times of what an `O_PATH` descriptor stands for (never a link: the caller has followed it)."""
    # The kernel's way to name an open file; the descriptor pins what is meant.
    os.utime(f"/proc/self/fd/{fd}", ns=times)


class Descriptor:
    """The resource `wasi:filesystem/types.descriptor`."""

    __slots__ = ("__weakref__", "_config", "_file", "_flags", "_mutable", "directory", "type")

    def __init__(self, file: OpenFile, flags: frozenset[str], mutable: bool, config: WasiConfig) -> None:
        self._file: OpenFile | None = file
        self.type = _TYPES.get(stat_module.S_IFMT(os.fstat(file.fd).st_mode), "unknown")
        self.directory = self.type == "directory"
        self._flags = (flags - {"write"}) | {"mutate-directory"} if self.directory and mutable else flags
        if not (self.directory and mutable):
            self._flags -= {"mutate-directory"}
        self._mutable = mutable
        self._config = config

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def fd(self) -> int:
        """The host's descriptor. Raises `OSError` (EBADF) once the handle is dropped."""
        if self._file is None:
            raise _oserror(errno.EBADF)
        return self._file.fd

    def _open_file(self, *needed: str) -> OpenFile:
        """The file behind a descriptor that is no directory and was opened for what is needed."""
        file = self._file
        if file is None:
            raise _oserror(errno.EBADF)
        if self.directory:
            raise _oserror(errno.EISDIR)
        if not self._flags.issuperset(needed):
            raise _oserror(errno.EBADF)
        return file

    def _base(self) -> int:
        """The descriptor as a base for paths."""
        if not self.directory:
            raise _oserror(errno.ENOTDIR)
        return self.fd

    def _mutable_base(self) -> int:
        base = self._base()
        if not self._mutable:
            raise _oserror(errno.EROFS)
        return base

    def _stat_at(self, path_flags: Any, path: str) -> os.stat_result:
        follow = 0 if "symlink-follow" in flag_names(path_flags) else os.O_NOFOLLOW
        fd = open_beneath(self._base(), encode_path(path), os.O_PATH | follow)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    @property
    def _seekable(self) -> bool:
        return self.type in ("regular-file", "block-device")

    def close(self) -> None:
        """The guest dropped its handle; streams made from it go on."""
        self._file = None

    # -- streams -----------------------------------------------------------------------------------------------------

    @filesystem_errors
    def read_via_stream(self, offset: int) -> InputStream:
        """A stream that reads from `offset` on."""
        file = self._open_file("read")
        return FileInput(file, _offset(offset)) if self._seekable else FdInput(file.fd, file)

    @filesystem_errors
    def write_via_stream(self, offset: int) -> OutputStream:
        """A stream that writes from `offset` on."""
        file = self._open_file("write")
        return FileOutput(file, _offset(offset)) if self._seekable else FdOutput(file.fd, file)

    @filesystem_errors
    def append_via_stream(self) -> OutputStream:
        """A stream whose every write goes to the end of the file."""
        file = self._open_file("write")
        return FileOutput(file, None) if self._seekable else FdOutput(file.fd, file)

    # -- the open file -----------------------------------------------------------------------------------------------

    @filesystem_errors
    def advise(self, offset: int, length: int, advice: Any) -> None:
        """Tell how a region will be used."""
        os.posix_fadvise(self._open_file().fd, _offset(offset), _offset(length), _ADVICE[enum_name(advice)])

    @filesystem_errors
    def _sync_data_sync(self) -> None:
        """Wait until the data is on disk."""
        if self.directory or "write" in self._flags:
            os.fdatasync(self.fd)

    @async_filesystem_errors
    async def _sync_data_async(self) -> None:
        import trio

        if self.directory or "write" in self._flags:
            await trio.to_thread.run_sync(os.fdatasync, self.fd)

    sync_data = Dual(_sync_data_sync, _sync_data_async)

    @filesystem_errors
    def _sync_sync(self) -> None:
        """Wait until data and metadata are on disk."""
        if self.directory or "write" in self._flags:
            os.fsync(self.fd)

    @async_filesystem_errors
    async def _sync_async(self) -> None:
        import trio

        if self.directory or "write" in self._flags:
            await trio.to_thread.run_sync(os.fsync, self.fd)

    sync = Dual(_sync_sync, _sync_async)

    @filesystem_errors
    def get_flags(self) -> frozenset[str]:
        """What the descriptor was opened for."""
        _ = self.fd
        return self._flags

    @filesystem_errors
    def get_type(self) -> str:
        """The kind of file."""
        _ = self.fd
        return self.type

    @filesystem_errors
    def set_size(self, size: int) -> None:
        """Cut the file off or fill it with zeroes up to `size` bytes."""
        os.ftruncate(self._open_file("write").fd, _offset(size))

    @filesystem_errors
    def set_times(self, data_access_timestamp: Any, data_modification_timestamp: Any) -> None:
        """Set the times of the open file or directory."""
        fd = self.fd
        if not self._mutable:
            raise _oserror(errno.EROFS)
        times = _new_times(os.fstat(fd), data_access_timestamp, data_modification_timestamp, self._config.wall_clock())
        os.utime(fd, ns=times)

    @filesystem_errors
    def read(self, length: int, offset: int) -> tuple[bytes, bool]:
        """Up to `length` bytes at `offset`, and whether the end of the file was reached."""
        file = self._open_file("read")
        wanted = length if length < MAX_READ else MAX_READ
        data = os.pread(file.fd, wanted, _offset(offset))
        return data, len(data) < wanted or not wanted

    @filesystem_errors
    def write(self, buffer: bytes, offset: int) -> int:
        """Write at `offset`; returns how many bytes were."""
        return os.pwrite(self._open_file("write").fd, buffer, _offset(offset))

    @filesystem_errors
    def stat(self) -> dict[str, object]:
        """The attributes of the open file or directory."""
        return stat_record(os.fstat(self.fd))

    def is_same_object(self, other: Descriptor) -> bool:
        """Whether both are the same file of the host."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))
        except OSError:
            return False

    @filesystem_errors
    def metadata_hash(self) -> dict[str, int]:
        """A hash that changes when the file is modified or replaced."""
        return _metadata_hash(os.fstat(self.fd))

    # -- directories -------------------------------------------------------------------------------------------------

    @filesystem_errors
    def read_directory(self) -> DirectoryEntryStream:
        """A stream of what is in the directory, from its beginning."""
        # An open file of its own: the position in a directory belongs to the open file.
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._base())
        return DirectoryEntryStream(OpenFile(fd, self._config.budget))

    @filesystem_errors
    def create_directory_at(self, path: str) -> None:
        """Create a directory."""
        with Parent(self._mutable_base(), encode_path(path)) as at:
            os.mkdir(at.name, 0o777, dir_fd=at.fd)

    @filesystem_errors
    def stat_at(self, path_flags: Any, path: str) -> dict[str, object]:
        """The attributes of what `path` leads to."""
        return stat_record(self._stat_at(path_flags, path))

    @filesystem_errors
    def metadata_hash_at(self, path_flags: Any, path: str) -> dict[str, int]:
        """The hash of what `path` leads to."""
        return _metadata_hash(self._stat_at(path_flags, path))

    @filesystem_errors
    def set_times_at(
        self, path_flags: Any, path: str, data_access_timestamp: Any, data_modification_timestamp: Any
    ) -> None:
        """Set the times of what `path` leads to."""
        base = self._mutable_base()
        follow = 0 if "symlink-follow" in flag_names(path_flags) else os.O_NOFOLLOW
        fd = open_beneath(base, encode_path(path), os.O_PATH | follow)
        try:
            status = os.fstat(fd)
            times = _new_times(status, data_access_timestamp, data_modification_timestamp, self._config.wall_clock())
            if not stat_module.S_ISLNK(status.st_mode):
                _utime(fd, times)
                return
        finally:
            os.close(fd)
        with Parent(base, encode_path(path)) as at:
            os.utime(at.name, ns=times, dir_fd=at.fd, follow_symlinks=False)

    @filesystem_errors
    def link_at(self, old_path_flags: Any, old_path: str, new_descriptor: Descriptor, new_path: str) -> None:
        """Create a hard link."""
        base, new_base = self._mutable_base(), new_descriptor._mutable_base()
        source = encode_path(old_path)
        follow = "symlink-follow" in flag_names(old_path_flags)
        with Parent(new_base, encode_path(new_path)) as to:
            if follow or source.endswith(b"/"):
                # The kernel would follow the last link wherever it leads: resolve it here, link what is open.
                fd = open_beneath(base, source, os.O_PATH)
                try:
                    os.link(f"/proc/self/fd/{fd}", to.name, dst_dir_fd=to.fd, follow_symlinks=True)
                finally:
                    os.close(fd)
                return
            with Parent(base, source) as at:
                os.link(at.name, to.name, src_dir_fd=at.fd, dst_dir_fd=to.fd, follow_symlinks=False)

    @filesystem_errors
    def open_at(self, path_flags: Any, path: str, open_flags: Any, flags: Any) -> Descriptor:
        """Open a file or directory."""
        base = self._base()
        wanted = flag_names(flags)
        how = flag_names(open_flags)
        if not self._mutable and (wanted & {"write", "mutate-directory"} or how & {"create", "truncate"}):
            raise _oserror(errno.EROFS)
        bits = _ALWAYS
        if "write" in wanted:
            bits |= os.O_RDWR if "read" in wanted else os.O_WRONLY
        if "create" in how:
            if "directory" in how:
                raise _oserror(errno.EINVAL)
            bits |= os.O_CREAT | (os.O_EXCL if "exclusive" in how else 0)
        if "directory" in how:
            bits |= os.O_DIRECTORY
        if "truncate" in how:
            bits |= os.O_TRUNC
        if "symlink-follow" not in flag_names(path_flags):
            bits |= os.O_NOFOLLOW
        for name in wanted & _SYNC_FLAGS.keys():
            bits |= _SYNC_FLAGS[name]
        fd = open_beneath(base, encode_path(path), bits, 0o666 if bits & os.O_CREAT else 0)
        return Descriptor(OpenFile(fd, self._config.budget), wanted, self._mutable, self._config)

    @filesystem_errors
    def readlink_at(self, path: str) -> str:
        """The contents of a symbolic link; `not-permitted` if they are an absolute path."""
        source = encode_path(path)
        fd = open_beneath(self._base(), source, os.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat_module.S_ISLNK(os.fstat(fd).st_mode):
                raise _oserror(errno.EINVAL)
            target = os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        if target.startswith(b"/"):
            raise _oserror(errno.EPERM)
        try:
            return target.decode()
        except UnicodeDecodeError:
            raise _oserror(errno.EILSEQ) from None

    @filesystem_errors
    def remove_directory_at(self, path: str) -> None:
        """Remove an empty directory."""
        with Parent(self._mutable_base(), encode_path(path)) as at:
            os.rmdir(at.name, dir_fd=at.fd)

    @filesystem_errors
    def rename_at(self, old_path: str, new_descriptor: Descriptor, new_path: str) -> None:
        """Rename or move a file or directory."""
        base, new_base = self._mutable_base(), new_descriptor._mutable_base()
        with Parent(base, encode_path(old_path)) as at, Parent(new_base, encode_path(new_path)) as to:
            os.rename(at.name, to.name, src_dir_fd=at.fd, dst_dir_fd=to.fd)

    @filesystem_errors
    def symlink_at(self, old_path: str, new_path: str) -> None:
        """Create a symbolic link with the contents `old_path`; `not-permitted` if that is absolute."""
        target = encode_path(old_path)
        if target.startswith(b"/"):
            raise _oserror(errno.EPERM)
        with Parent(self._mutable_base(), encode_path(new_path)) as at:
            os.symlink(target, at.name, dir_fd=at.fd)

    @filesystem_errors
    def unlink_file_at(self, path: str) -> None:
        """Remove a file; `is-directory` if it is a directory."""
        with Parent(self._mutable_base(), encode_path(path)) as at:
            os.unlink(at.name, dir_fd=at.fd)


class Types:
    """`wasi:filesystem/types`."""

    Descriptor: ClassVar = Descriptor
    DirectoryEntryStream: ClassVar = DirectoryEntryStream

    def filesystem_error_code(self, err: IoError) -> str | None:
        """The error code behind a stream's error, if a file was the cause."""
        error = err.exception
        return filesystem_code(error) if err.origin == "filesystem" and isinstance(error, OSError) else None


def open_directory(path: str) -> OpenFile:
    """Open a directory of the host to be granted. Raises `OSError`."""
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return OpenFile(os.open(path, os.O_RDONLY | flags))
    except PermissionError:
        # Searching may be allowed where listing is not.
        return OpenFile(os.open(path, os.O_PATH | flags))


class Preopens:
    """`wasi:filesystem/preopens`. The directories are opened once: what is later renamed over them changes nothing."""

    def __init__(self, config: WasiConfig) -> None:
        self._config = config
        self._directories = [(open_directory(where.path), guest, where.writable) for guest, where in config.preopens]

    def get_directories(self) -> list[tuple[Descriptor, str]]:
        """A descriptor and a guest path for each."""
        return [
            (Descriptor(file, frozenset({"read"}), writable, self._config), guest)
            for file, guest, writable in self._directories
        ]


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"wasi:filesystem/preopens": Preopens(config), "wasi:filesystem/types": Types()}
